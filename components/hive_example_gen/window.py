"""Plans the window of a run: which days, which partitions, what is missing, what is converted already.

Pure but for the listing: no TensorFlow, no Beam, nothing written. The plan's fingerprint covers the files and how they
are read, so that it decides whether a run has anything to do.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from common.errors import ConfigError, DataNotReadyError
from common.files import fingerprint
from components.hive_example_gen import cache
from components.hive_example_gen.options import SourceOptions, WindowOptions
from components.hive_example_gen.table_spec import CONVERTER_VERSION, TableSpec
from components.hive_example_gen.warehouse import catalogue, storage
from components.hive_example_gen.warehouse.listing import DayQuery, PartitionListing, SourceFile
from components.hive_example_gen.warehouse.partition_names import date_folder

HOURS = range(24)
_NUM_NAMED = 10


@dataclass(frozen=True)
class PlannedPartition:
    """A partition that will be read. `name` is its folder below the table, `cached` whether it is converted already.

    `spec` says how its files are read. `query` is set, and there are no files, where a server gives its rows.
    """

    split: str
    date: datetime.date
    name: str
    values: tuple[tuple[str, str | None], ...]
    files: tuple[SourceFile, ...]
    spec: TableSpec
    fingerprint: str
    cached: bool
    num_rows: int | None  # known once converted
    query: DayQuery | None = None

    @property
    def num_bytes(self) -> int:
        return sum(file.num_bytes for file in self.files)


@dataclass(frozen=True)
class WindowPlan:
    """What a run for `date` reads. `missing`, `late` and `empty` name partitions (or whole days) that are left out.

    `spec` is the table's; its columns are those that every partition is converted to.
    """

    date: datetime.date
    table: str
    spec: TableSpec
    days: dict[str, tuple[datetime.date, ...]]
    splits: dict[str, tuple[PlannedPartition, ...]]
    missing: tuple[str, ...]
    late: tuple[str, ...]
    empty: tuple[str, ...]
    notes: tuple[str, ...]
    fingerprint: str
    success_file: str | None
    ignores_missing: bool

    @property
    def partitions(self) -> tuple[PlannedPartition, ...]:
        return tuple(partition for partitions in self.splits.values() for partition in partitions)

    @property
    def num_files(self) -> int:
        return sum(len(partition.files) for partition in self.partitions)

    @property
    def num_bytes(self) -> int:
        return sum(partition.num_bytes for partition in self.partitions)

    @property
    def num_cached(self) -> int:
        return sum(partition.cached for partition in self.partitions)

    @property
    def num_rows(self) -> int | None:
        """Rows of the whole window, None while a partition is not converted."""
        rows = [partition.num_rows for partition in self.partitions]
        return None if None in rows else sum(row for row in rows if row is not None)

    def check(self) -> None:
        """Raises DataNotReadyError naming what is missing, late or empty, unless the window ignores that."""
        if not self.ignores_missing:
            self._check_complete()
        for split, partitions in self.splits.items():
            if not partitions:
                days = self.days[split]
                raise DataNotReadyError(
                    f"split {split!r} of the window for {self.date} has no partition at all ({days[0]} to {days[-1]})",
                    hint=f"Load these days into {self.table}, or choose another date.",
                )

    def _check_complete(self) -> None:
        marker = f"late (no {self.success_file})"
        kinds = (("missing", self.missing), (marker, self.late), ("empty (no rows in any file)", self.empty))
        found = [f"{len(names)} {kind}: {_named(names)}" for kind, names in kinds if names]
        if found:
            raise DataNotReadyError(
                f"the window for {self.date} is not ready in {self.table}: " + "; ".join(found),
                hint="Load them, wait and run again, choose another date, or set window.missing: ignore.",
            )


def plan_window(source: SourceOptions, window: WindowOptions, date: datetime.date, partitions_path: str) -> WindowPlan:
    """The plan for run date `date`; what is not ready is in the plan, `WindowPlan.check` raises for it.

    Args:
        partitions_path: folder of the converted partitions; it need not exist.

    Raises:
        ConfigError: source or DDL are wrong. DataNotReadyError: a folder cannot be read.
    """
    days = window_days(window, date)
    spec, listing = catalogue.find(source, window, [day for split in days.values() for day in split])
    triage = _Triage(source)
    ready = {day: triage.ready(day, partitions) for day, partitions in listing.partitions.items()}
    splits = {
        split: tuple(
            _planned(split, day, found, spec, source, partitions_path) for day in split_days for found in ready[day]
        )
        for split, split_days in days.items()
    }
    triage.find_empty_results(splits, window)
    return WindowPlan(
        date=date,
        table=storage.shown(source.place),
        spec=spec,
        days=days,
        splits=splits,
        missing=tuple(triage.missing),
        late=tuple(triage.late),
        empty=tuple(triage.empty),
        notes=listing.notes,
        fingerprint=_plan_fingerprint(date, days, splits, triage),
        success_file=source.success_file,
        ignores_missing=window.missing == "ignore",
    )


def window_days(window: WindowOptions, date: datetime.date) -> dict[str, tuple[datetime.date, ...]]:
    """The days of each split, oldest first; `validation` is absent when it has none.

    Raises ConfigError where the validation days leave no day to train on.
    """
    if window.validation_days >= window.train_days:
        raise ConfigError(
            f"window.validation_days ({window.validation_days}) must be less than window.train_days "
            f"({window.train_days}): the validation days are the last of the train days"
        )
    span = window.train_days + window.eval_days
    try:
        days = [date - datetime.timedelta(days=back) for back in reversed(range(span))]
    except OverflowError as error:
        raise ConfigError(f"a window of {span} days before {date} begins before the year 1") from error
    held_out = window.train_days - window.validation_days
    splits = {
        "train": days[:held_out],
        "validation": days[held_out : window.train_days],
        "eval": days[window.train_days :],
    }
    return {split: tuple(chosen) for split, chosen in splits.items() if chosen}


class _Triage:
    """Sorts listed partitions into ready, missing, late and empty."""

    def __init__(self, source: SourceOptions):
        self.source = source
        self.missing: list[str] = []
        self.late: list[str] = []
        self.empty: list[str] = []

    def ready(self, day: datetime.date, partitions: tuple[PartitionListing, ...]) -> list[PartitionListing]:
        if not partitions:
            self.missing.append(date_folder(self.source, day))
            return []
        if self.source.hour_column:
            self._find_missing_hours(day, partitions)
        return [partition for partition in partitions if self._is_ready(partition)]

    def _is_ready(self, partition: PartitionListing) -> bool:
        if self.source.success_file and not partition.has_success_file:
            self.late.append(partition.name)
        elif not partition.files and partition.query is None:
            self.empty.append(partition.name)
        else:
            return True
        return False

    def find_empty_results(self, splits: dict[str, tuple[PlannedPartition, ...]], window: WindowOptions) -> None:
        """Days that a server gave no row for, to an earlier run that ignored that."""
        if window.missing != "ignore":
            planned = (partition for partitions in splits.values() for partition in partitions)
            self.empty += [partition.name for partition in planned if partition.query and partition.num_rows == 0]

    def _find_missing_hours(self, day: datetime.date, partitions: tuple[PartitionListing, ...]) -> None:
        column = self.source.hour_column
        found = {_hour(partition, column) for partition in partitions}
        folder = date_folder(self.source, day)
        self.missing += [f"{folder}/{column}={hour:02d}" for hour in HOURS if hour not in found]


def _hour(partition: PartitionListing, column: str | None) -> int | None:
    text = dict(partition.values)[column or ""]
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) in HOURS):
        raise DataNotReadyError(
            f"partition {partition.name}: {column}={text} is no hour, 0 to 23",
            hint="Remove the folder, or correct source.hour_column.",
        )
    return int(text)


def _planned(
    split: str,
    day: datetime.date,
    found: PartitionListing,
    table_spec: TableSpec,
    source: SourceOptions,
    partitions_path: str,
) -> PlannedPartition:
    spec = table_spec.for_partition(source, found.definition) if found.definition else table_spec
    key = fingerprint(
        CONVERTER_VERSION,
        spec.model_dump(),
        source.bad_rows.model_dump(exclude={"max_share"}),
        found.values,
        [(file.path, file.num_bytes, file.modified_ns) for file in found.files],
        *([found.query.identity] if found.query else []),
    )
    record = cache.find(partitions_path, key)
    return PlannedPartition(
        split=split,
        date=day,
        name=found.name,
        values=found.values,
        files=found.files,
        spec=spec,
        fingerprint=key,
        cached=record is not None,
        num_rows=record.rows if record else None,
        query=found.query,
    )


def _plan_fingerprint(date, days, splits, triage: _Triage) -> str:
    named_days = {split: [day.isoformat() for day in chosen] for split, chosen in days.items()}
    keys = {split: [partition.fingerprint for partition in chosen] for split, chosen in splits.items()}
    return fingerprint(date.isoformat(), named_days, keys, triage.missing, triage.late, triage.empty)


def _named(names: tuple[str, ...]) -> str:
    more = len(names) - _NUM_NAMED
    return ", ".join(names[:_NUM_NAMED]) + (f" and {more} more" if more > 0 else "")


__all__ = ["PlannedPartition", "SourceFile", "TableSpec", "WindowPlan", "plan_window", "window_days"]
