"""The converted partitions that are kept: `<partitions path>/<fingerprint>/partition.json` and its shards.

An entry is complete or absent (it is published by a rename); one that was damaged afterwards counts as absent.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RECORD_NAME = "partition.json"
_VERSION = 1
_LEFTOVER_SECONDS = 24 * 3600
_NOTE_SECONDS = 90 * 86_400
NOTE_SUFFIX = ".reading"


@dataclass(frozen=True)
class Shard:
    name: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class PartitionRecord:
    """`partition.json`: what a conversion wrote.

    Attributes:
        partition: the partition's folder below the table.
        rows: rows converted.
        rows_read: good rows of the files, before any step took some of them out.
        features: flattened name -> [dtype, multivalent], as written.
        absent_columns: declared columns that no file of the partition has.
        bad_rows: rows left out, by cause; the first of them are in the entry's quarantine file.
        row_notes: rows read as Hive reads them although something was wrong with them, by what it was.
        step_counts: rows by what a step before the writing did to them (row_steps.RowSteps.counts).
        dropped_nulls: feature -> number of NULL elements inside arrays and maps, which tf.Example cannot express.
    """

    fingerprint: str
    partition: str
    rows: int
    shards: tuple[Shard, ...]
    features: dict[str, tuple[str, bool]]
    absent_columns: tuple[str, ...] = ()
    dropped_nulls: dict[str, int] | None = None
    rows_read: int = 0
    bad_rows: dict[str, int] = field(default_factory=dict)
    row_notes: dict[str, int] = field(default_factory=dict)
    step_counts: dict[str, int] = field(default_factory=dict)

    @property
    def num_bad_rows(self) -> int:
        return sum(self.bad_rows.values())

    @property
    def bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)

    def to_json(self) -> dict[str, Any]:
        return {"version": _VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> PartitionRecord:
        """Raises KeyError, TypeError or ValueError for another version or a damaged document."""
        values = dict(document)
        if values.pop("version") != _VERSION:
            raise ValueError("another version")
        values["shards"] = tuple(Shard(**shard) for shard in values["shards"])
        values["features"] = {name: (str(dtype), bool(many)) for name, (dtype, many) in values["features"].items()}
        values["absent_columns"] = tuple(values["absent_columns"])
        return cls(**values)


def entry_path(partitions_path: str, fingerprint: str) -> Path:
    return Path(partitions_path) / fingerprint


def find(partitions_path: str, fingerprint: str) -> PartitionRecord | None:
    """The record of a converted partition; None where there is none, or where a shard is gone or has another size."""
    folder = entry_path(partitions_path, fingerprint)
    try:
        record = PartitionRecord.from_json(json.loads((folder / RECORD_NAME).read_text(encoding="utf-8")))
        whole = all(os.stat(folder / shard.name).st_size == shard.bytes for shard in record.shards)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if whole and record.fingerprint == fingerprint else None


def discard(partitions_path: str, fingerprint: str) -> None:
    """Removes an entry if it is damaged; renamed away first, so that nobody finds half of it."""
    folder = entry_path(partitions_path, fingerprint)
    if not folder.exists() or find(partitions_path, fingerprint) is not None:
        return
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.damaged")
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        return
    shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(partitions_path: str) -> None:
    """Removes what killed runs left half-written. Younger ones stay: another run may be writing them now.

    Notes of what was read when a process ended (reading.py) stay for the next run, be it weeks later.
    """
    with contextlib.suppress(OSError):
        for path in Path(partitions_path).glob(".*"):
            with contextlib.suppress(OSError):
                limit = _NOTE_SECONDS if path.suffix == NOTE_SUFFIX else _LEFTOVER_SECONDS
                if time.time() - path.stat().st_mtime > limit:
                    shutil.rmtree(path, ignore_errors=True)
