"""The bad rows of a converted partition, kept in its entry of the cache: `quarantine.jsonl.gz`, one JSON object a row.

Rows are written as they come, so that memory does not grow with them. What a run says of them, and above which share
of a split it stops, is decided here too.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import shlex
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from hivemill.common.amounts import share
from hivemill.common.errors import DataNotReadyError
from hivemill.common.storage.atomic import cannot_write
from hivemill.components.hive_example_gen.cache.entries import store_at
from hivemill.components.hive_example_gen.cache.partition_record import PartitionRecord
from hivemill.components.hive_example_gen.formats.bad_rows import BadRow, added, in_words, quoted
from hivemill.components.hive_example_gen.planning.window import PlannedPartition, WindowPlan

FILE_NAME = "quarantine.jsonl.gz"
_NUM_PLACES = 3
_PRINTED_BY = {"s3://": "aws s3 cp {} -", "gs://": "gcloud storage cat {}"}


class QuarantineWriter:
    """Writes the file of one partition; without a bad row there is none.

    Raises InfrastructureError where it cannot be written, never OSError: readers take that for a fault of their file.
    """

    def __init__(self, folder: Path):
        self.path = folder / FILE_NAME
        self._text: TextIO | None = None

    def __enter__(self) -> QuarantineWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._text is None:
            return
        try:
            self._text.close()
        except OSError as error:
            if kind is None:
                raise cannot_write(self.path, error) from error

    def add(self, row: BadRow) -> None:
        try:
            if self._text is None:
                # Without the time of day in the header: the same rows give the same bytes.
                packed = gzip.GzipFile(self.path, "wb", compresslevel=1, mtime=0)
                self._text = io.TextIOWrapper(cast(BinaryIO, packed), encoding="utf-8", errors="backslashreplace")
            self._text.write(row.to_json() + "\n")
        except OSError as error:
            raise cannot_write(self.path, error) from error


def read(partitions_path: str, fingerprint: str) -> Iterator[BadRow]:
    """The rows kept for a converted partition; those up to the damage of a file that was damaged, none without one."""
    with (
        contextlib.suppress(OSError, EOFError, zlib.error, ValueError, TypeError),
        store_at(partitions_path).open(fingerprint, FILE_NAME) as packed,
        gzip.open(packed, "rt", encoding="utf-8") as file,
    ):
        for line in file:
            yield BadRow.from_json(line)


def place_of(partitions_path: str, record: PartitionRecord) -> str:
    """Path or URL of the file."""
    return store_at(partitions_path).place_of(record.fingerprint, FILE_NAME)


def shown_by(place: str) -> str:
    """The shell command that shows the file at `place`."""
    for scheme, command in _PRINTED_BY.items():
        if place.startswith(scheme):
            return f"{command.format(shlex.quote(place))} | zcat"
    return f"zcat {place}"


def check_shares(
    plan: WindowPlan, records: Mapping[str, PartitionRecord], max_share: float, partitions_path: str
) -> None:
    """Raises DataNotReadyError where more than `max_share` of the rows of a split could not be read."""
    for split, partitions in plan.splits.items():
        of_split = [records[partition.fingerprint] for partition in partitions]
        counts = added(record.bad_rows for record in of_split)
        bad = sum(counts.values())
        rows = bad + sum(record.rows_read for record in of_split)
        if bad > max_share * rows:
            hurt = [record for record in of_split if record.bad_rows]
            first = itertools.chain.from_iterable(read(partitions_path, record.fingerprint) for record in hurt)
            raise DataNotReadyError(
                f"{bad:,} of the {rows:,} rows of split {split!r} ({share(bad / rows)}) cannot be read, more than "
                f"source.bad_rows.max_share allows ({share(max_share)}): {in_words(counts)}{quoted(first)}"
                f"\n{_places(hurt, partitions_path)}",
                hint=f"`hivemill data quarantine --date {plan.date}` shows them. Correct them and load them again, "
                "correct the columns, or allow more; what is converted is kept.",
            )


def _places(records: list[PartitionRecord], partitions_path: str) -> str:
    worst = sorted(records, key=lambda record: -record.num_bad_rows)
    shown = [
        f"  kept of {record.partition} ({record.num_bad_rows:,}): {shown_by(place_of(partitions_path, record))}"
        for record in worst[:_NUM_PLACES]
    ]
    more = len(worst) - _NUM_PLACES
    return "\n".join([*shown, *([f"  and of {more} more partitions"] if more > 0 else [])])


def facts(plan: WindowPlan, records: Mapping[str, PartitionRecord]) -> dict[str, Any]:
    """What the manifest says of bad rows: `bad_rows` and `row_notes` by split, of splits that have some; `rows_read`
    are the good ones of each split."""
    of_splits = {split: [records[p.fingerprint] for p in partitions] for split, partitions in plan.splits.items()}
    bad = {split: added(record.bad_rows for record in found) for split, found in of_splits.items()}
    notes = {split: added(record.row_notes for record in found) for split, found in of_splits.items()}
    return {
        "rows_read": {split: sum(record.rows_read for record in found) for split, found in of_splits.items()},
        "bad_rows": {split: counts for split, counts in bad.items() if counts},
        "row_notes": {split: counts for split, counts in notes.items() if counts},
    }


def partition_facts(partition: PlannedPartition, record: PartitionRecord) -> dict[str, Any]:
    """The same of one partition; `quarantine` is below the folder of converted partitions."""
    place = {"quarantine": f"{partition.fingerprint}/{FILE_NAME}"} if record.bad_rows else {}
    return {"bad_rows": record.bad_rows, "row_notes": record.row_notes, **place}


def summary(manifest: Mapping[str, Any]) -> str | None:
    """One line about the rows of a run that were left out; None where there are none."""
    by_split = {split: sum(counts.values()) for split, counts in manifest.get("bad_rows", {}).items()}
    if not by_split:
        return None
    bad = sum(by_split.values())
    rows = bad + sum(manifest["rows_read"].values())
    splits = ", ".join(f"{split} {count:,}" for split, count in by_split.items())
    return (
        f"{bad:,} of {rows:,} rows ({share(bad / rows)}) cannot be read and are left out ({splits}: "
        f"{in_words(added(manifest['bad_rows'].values()))}); `hivemill data quarantine --date {manifest['date']}`"
    )
