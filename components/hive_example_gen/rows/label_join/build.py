"""One day of one table as sorted (key, time) pairs, kept beside the converted partitions under its fingerprint.

Of the impressions only those stay that a click follows within the limit: no other can take a click from a neighbour,
and they are about as many as the clicks.
"""

from __future__ import annotations

import datetime
import functools
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from hivemill.common.errors import DataNotReadyError
from hivemill.components.hive_example_gen.cache import base, entries
from hivemill.components.hive_example_gen.cache.base import Kind
from hivemill.components.hive_example_gen.catalog.listing import SourceFile
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.options import BadRowOptions
from hivemill.components.hive_example_gen.rows import event_index, hashing
from hivemill.components.hive_example_gen.rows.deduplication import deduplicator
from hivemill.components.hive_example_gen.rows.event_index import NEVER_AFTER, EventIndex, EventSorter
from hivemill.components.hive_example_gen.rows.label_join import open_indexes, times
from hivemill.components.hive_example_gen.rows.label_join.options import TimeUnit
from hivemill.components.hive_example_gen.rows.projection import projected_batches
from hivemill.components.hive_example_gen.table.spec import TableSpec

# Part of every fingerprint of an index. Raise it with any change that alters what is written.
INDEX_VERSION = 1


@dataclass(frozen=True)
class KeyColumns:
    """Where keys and time of a row are, and the times [first, end), in microseconds, of its partition's day."""

    keys: tuple[str, ...]
    time: str
    time_unit: TimeUnit | None
    first: int
    end: int

    @property
    def names(self) -> tuple[str, ...]:
        """The columns to read; a time that is a key too is read once."""
        return tuple(dict.fromkeys((*self.keys, self.time)))


@dataclass(frozen=True)
class IndexedPartition:
    name: str
    files: tuple[SourceFile, ...]
    spec: TableSpec


@dataclass(frozen=True)
class DayIndex:
    """What one index is built from. `clicks` (for impressions only) are those that a kept impression must have."""

    table: Literal["clicks", "impressions"]
    place: str
    day: datetime.date
    partitions: tuple[IndexedPartition, ...]
    columns: KeyColumns
    bad_rows: BadRowOptions
    deduplicate_by: tuple[str, ...]
    within: int
    clicks: tuple[DayIndex, ...]
    fingerprint: str

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.table} of {self.day}"


@dataclass
class IndexRecord:
    """`index.json`. Rows: `read` = kept or dropped for one of the causes; `pairs` are the different ones kept."""

    fingerprint: str
    table: str
    day: str
    pairs: int = 0
    read: int = 0
    without_key: int = 0
    without_time: int = 0
    outside_day: int = 0
    bad_rows: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class KeyedRows:
    """Keys and times of a batch. bool arrays: `keyed` no key is NULL, `timed` the time is not, `inside` its day."""

    hash1: np.ndarray
    hash2: np.ndarray
    time: np.ndarray
    keyed: np.ndarray
    timed: np.ndarray
    inside: np.ndarray

    @classmethod
    def of(cls, batch: pa.RecordBatch, columns: KeyColumns) -> KeyedRows:
        keys = [batch.column(name) for name in columns.keys]
        hash1, hash2 = hashing.hashes_128(keys)
        time, timed = times.micros(batch.column(columns.time), columns.time_unit)
        inside = ~timed | ((time >= columns.first) & (time < columns.end))
        return cls(hash1, hash2, time, hashing.all_valid(keys), timed, inside)

    @property
    def usable(self) -> np.ndarray:
        return self.keyed & self.timed & self.inside


def _parsed(fingerprint: str, document: dict[str, Any]) -> IndexRecord:
    values = dict(document)
    if values.pop("version") != INDEX_VERSION:
        raise ValueError("another version")
    return IndexRecord(**values)


INDEX = Kind(
    "index.json",
    _parsed,
    lambda record: {"version": INDEX_VERSION, **asdict(record)},
    lambda record: dict.fromkeys(event_index.FILE_NAMES, 8 * record.pairs),
)
"""How an index is kept (cache.base)."""


def ensure(plan: DayIndex, partitions_path: str) -> IndexRecord:
    """The record of the index, found or built now. Raises DataNotReadyError, InfrastructureError."""
    store = entries.store_at(partitions_path)
    return base.ensure(store, INDEX, plan.fingerprint, lambda entry: _build(plan, entry.folder, partitions_path))


def find_all(plans: Iterable[DayIndex], partitions_path: str) -> dict[str, IndexRecord]:
    """The records of the whole indexes among these, by fingerprint."""
    return entries.store_at(partitions_path).find(INDEX, [plan.fingerprint for plan in plans])


def opened(plans: tuple[DayIndex, ...], partitions_path: str) -> list[EventIndex]:
    """The indexes, built where they are not there."""
    return [
        open_indexes.opened(partitions_path, plan.fingerprint, functools.partial(ensure, plan, partitions_path))
        for plan in plans
    ]


def first_at_or_after(indexes: list[EventIndex], hash1: np.ndarray, hash2: np.ndarray, time: np.ndarray) -> np.ndarray:
    """int64: the first time at or after `time` in any of the indexes; NEVER_AFTER where there is none."""
    first = np.full(len(time), NEVER_AFTER, np.int64)
    for index in indexes:
        first = np.minimum(first, index.first_at_or_after(hash1, hash2, time))
    return first


def _build(plan: DayIndex, folder: Path, partitions_path: str) -> IndexRecord:
    record = IndexRecord(plan.fingerprint, plan.table, plan.day.isoformat())
    bad = BadRows(plan.bad_rows)
    clicks = opened(plan.clicks, partitions_path)
    with tempfile.TemporaryDirectory(prefix="buckets.", dir=folder) as buckets:
        sorter = EventSorter(Path(buckets))
        for partition in plan.partitions:
            for batch in _batches(plan, partition, bad, folder):
                _add(KeyedRows.of(batch, plan.columns), plan, clicks, sorter, record)
        record.pairs = sorter.write(folder)
    record.bad_rows = dict(bad.counts)
    if plan.table == "clicks":  # those of the impressions are counted where they are converted
        _check_bad_rows(plan, record, bad)
    return record


def _batches(plan: DayIndex, partition: IndexedPartition, bad: BadRows, folder: Path) -> Iterator[pa.RecordBatch]:
    """An impression that deduplication drops takes no click from the one that it repeats."""
    columns = tuple(dict.fromkeys((*plan.columns.names, *plan.deduplicate_by)))
    source = plan.place, partition.files, partition.spec
    if not plan.deduplicate_by:
        for _, batch in projected_batches(*source, columns, bad):
            yield batch
        return
    with tempfile.TemporaryDirectory(prefix="keys.", dir=folder) as keys:
        first_only = deduplicator(*source, plan.deduplicate_by, plan.bad_rows, Path(keys))
        for _, batch in projected_batches(*source, columns, bad):
            yield first_only.apply(batch)


def _add(rows: KeyedRows, plan: DayIndex, clicks: list[EventIndex], sorter: EventSorter, record: IndexRecord) -> None:
    record.read += len(rows.time)
    record.without_key += int((~rows.keyed).sum())
    record.without_time += int((rows.keyed & ~rows.timed).sum())
    record.outside_day += int((rows.keyed & ~rows.inside).sum())
    kept = rows.usable
    hash1, hash2, time = rows.hash1[kept], rows.hash2[kept], rows.time[kept]
    if plan.table == "impressions":
        followed = first_at_or_after(clicks, hash1, hash2, time) <= time + plan.within
        hash1, hash2, time = hash1[followed], hash2[followed], time[followed]
    sorter.add(hash1, hash2, time)


def _check_bad_rows(plan: DayIndex, record: IndexRecord, bad: BadRows) -> None:
    num_bad, num_rows = bad.total + record.outside_day, record.read + bad.total
    if num_bad <= plan.bad_rows.max_share * num_rows:
        return
    causes = [str(row) for row in bad.kept[:3]]
    if record.outside_day:
        span = f"{times.shown(plan.columns.first)} to {times.shown(plan.columns.end)}"
        causes.insert(0, f"{record.outside_day:,} with a {plan.columns.time} outside {span}")
    raise DataNotReadyError(
        f"{plan.name}: {num_bad:,} of {num_rows:,} rows cannot be used, more than the share of "
        f"{plan.bad_rows.max_share:g} (label.join.clicks.bad_rows.max_share): {'; '.join(causes)}",
        hint="Correct the table, or say how far times may lie outside their day: label.join.partition_slack.",
    )
