"""Partitions whose day is spread over a path: `year=2026/month=11/day=15`, `2026/11/15/07`, `dt=2026111507`.

`source.path_format` writes such a path with strftime's %Y %m %d %H %M; numbers may be written with or without a leading
zero. A partition has two columns then, the date and, with %H, the hour, as if the path were `dt=2026-11-15/hour=07`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen.catalog import table_files
from hivemill.components.hive_example_gen.catalog.listing import PartitionListing, TableListing
from hivemill.components.hive_example_gen.catalog.partition_files import data_files, is_hidden, translated
from hivemill.components.hive_example_gen.catalog.partition_names import DEFAULT_PARTITION
from hivemill.components.hive_example_gen.options import SourceOptions
from hivemill.components.hive_example_gen.table.path_format import level_patterns

_Parts = Mapping[str, int]


def list_days(source: SourceOptions, root: str, days: Sequence[datetime.date]) -> TableListing:
    """The partitions of `days` below `root`. Raises ConfigError where a folder does not fit the format,
    DataNotReadyError where a day or hour is there twice."""
    walk = _Walk(source, level_patterns(source.path_format or ""))
    found: dict[datetime.date, list[PartitionListing]] = {day: [] for day in days}
    for day, listing in walk.below(root, (), {}, set(days)):
        found[day].append(listing)
    for day, listings in found.items():
        _check_once(root, day, listings)
    return TableListing({day: tuple(each) for day, each in found.items()}, tuple(walk.notes))


def days_below(source: SourceOptions, root: str) -> tuple[datetime.date, ...]:
    """All days that have a partition, oldest first."""
    return tuple(sorted(set(_Walk(source, level_patterns(source.path_format or "")).days(root, 0, {}))))


def _check_once(root: str, day: datetime.date, listings: Sequence[PartitionListing]) -> None:
    names: dict[tuple[int, ...], str] = {}
    for listing in listings:
        numbers = tuple(int(text) for text in re.findall(r"\d+", listing.name))
        if numbers in names:
            raise DataNotReadyError(
                f"{table_files.shown(root)} holds {day} twice, as {names[numbers]} and {listing.name}",
                hint="Remove or rename one of the two folders.",
            )
        names[numbers] = listing.name


class _Walk:
    def __init__(self, source: SourceOptions, patterns: Sequence[re.Pattern[str]]):
        self._source, self._patterns = source, patterns
        self.notes: dict[str, None] = {}

    def below(
        self, folder: str, names: tuple[str, ...], parts: _Parts, days: set[datetime.date]
    ) -> Iterator[tuple[datetime.date, PartitionListing]]:
        """Descends where one of the days may be."""
        if len(names) == len(self._patterns):
            day = datetime.date(parts["Y"], parts["m"], parts["d"])
            yield day, self._partition(folder, "/".join(names), day, parts)
            return
        for name, found in self._matching(folder, len(names)):
            known = {**parts, **found}
            matching = {day for day in days if _fits(day, known)}
            if matching:
                yield from self.below(table_files.joined(folder, name), (*names, name), known, matching)

    def days(self, folder: str, level: int, parts: _Parts) -> Iterator[datetime.date]:
        """Descends no further than the day is known."""
        if {"Y", "m", "d"} <= parts.keys():
            yield datetime.date(parts["Y"], parts["m"], parts["d"])
            return
        for name, found in self._matching(folder, level):
            yield from self.days(table_files.joined(folder, name), level + 1, {**parts, **found})

    def _matching(self, folder: str, level: int) -> Iterator[tuple[str, _Parts]]:
        pattern = self._patterns[level]
        for name in translated(table_files.names, folder):
            match = pattern.fullmatch(name)
            if match:
                yield name, {key: int(text) for key, text in match.groupdict().items()}
            elif name.endswith(f"={DEFAULT_PARTITION}"):
                self.notes[f"{name} holds rows without a date; they belong to no window and are left out"] = None
            elif not is_hidden(name) and not name.endswith("_$folder$"):
                raise ConfigError(
                    f"{table_files.shown(folder)} holds {name!r}, which does not fit source.path_format "
                    f"({self._source.path_format})",
                    hint="Correct source.path_format, or move away what is no partition.",
                )

    def _partition(self, folder: str, name: str, day: datetime.date, parts: _Parts) -> PartitionListing:
        entries = translated(table_files.entries, folder)
        values: list[tuple[str, str | None]] = [(self._source.date_column, day.isoformat())]
        if self._source.hour_column is not None:
            values.append((self._source.hour_column, f"{parts['H']:02d}"))
        marker = self._source.success_file
        hint = "Add the further folders to source.path_format, e.g. /%H."
        files = data_files(entries, folder, name, marker, hint)
        return PartitionListing(name, tuple(values), files, marker in (entry.name for entry in entries))


def _fits(day: datetime.date, parts: _Parts) -> bool:
    return all(parts.get(key, own) == own for key, own in (("Y", day.year), ("m", day.month), ("d", day.day)))
