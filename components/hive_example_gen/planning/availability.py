"""Sorts the partitions that a catalogue lists into those that can be read and what is missing, late or empty."""

from __future__ import annotations

import datetime

from hivemill.common.errors import DataNotReadyError
from hivemill.components.hive_example_gen.catalog.listing import PartitionListing
from hivemill.components.hive_example_gen.catalog.partition_names import date_folder
from hivemill.components.hive_example_gen.options import SourceOptions

HOURS = range(24)


class Triage:
    """Sorts listed partitions into ready, missing, late and empty."""

    def __init__(self, source: SourceOptions):
        self.source = source
        self.missing: list[str] = []
        self.late: list[str] = []
        self.empty: list[str] = []
        self.incomplete_days: set[datetime.date] = set()

    def ready(self, day: datetime.date, partitions: tuple[PartitionListing, ...]) -> list[PartitionListing]:
        before = self._num_found()
        ready = self._ready(day, partitions)
        if self._num_found() > before:
            self.incomplete_days.add(day)
        return ready

    def _num_found(self) -> int:
        return len(self.missing) + len(self.late) + len(self.empty)

    def _ready(self, day: datetime.date, partitions: tuple[PartitionListing, ...]) -> list[PartitionListing]:
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
