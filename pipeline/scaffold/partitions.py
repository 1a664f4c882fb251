"""Finds out how a table is partitioned: its partition columns, which of them is the date and in what format."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Sequence
from typing import Any

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen.catalog import (
    catalog,
    dated_paths,
    directory,
    partition_files,
    partition_names,
    table_files,
)
from hivemill.components.hive_example_gen.catalog.listing import PartitionListing
from hivemill.components.hive_example_gen.options import SourceOptions
from hivemill.components.hive_example_gen.table.spec import TableSpec, resolve_spec
from hivemill.pipeline.scaffold import path_formats

DATE_FORMATS = ("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%Y_%m_%d", "%d-%m-%Y")
_MAX_LEVELS = 6
_HOUR_NAMES = ("hour", "hh", "hr", "h")
_SUCCESS = "_SUCCESS"


@dataclasses.dataclass(frozen=True)
class Partitioning:
    """What the folders (or the metastore) say. `days` are those that have a partition, oldest first."""

    columns: dict[str, str]
    date_column: str
    date_format: str
    hour_column: str | None
    success_file: str | None
    days: tuple[datetime.date, ...]
    path_format: str | None = None

    def source(self, given: SourceOptions) -> SourceOptions:
        if self.path_format is not None:
            known = given.model_dump(exclude_unset=True)
            return SourceOptions(**known, path_format=self.path_format, success_file=self.success_file)
        found: dict[str, Any] = {
            "date_column": self.date_column,
            "date_format": self.date_format,
            "hour_column": self.hour_column,
            "success_file": self.success_file,
        }
        if not given.place.startswith(catalog.METASTORE):
            found["partition_columns"] = self.columns
        return given.model_copy(update=found)


def find_partitioning(source: SourceOptions) -> Partitioning:
    """Raises ConfigError where nothing says how the table is partitioned, DataNotReadyError where it is empty."""
    if source.place.startswith(catalog.METASTORE):
        from hivemill.components.hive_example_gen.catalog import metastore

        columns, names = metastore.all_partitions(source)
        return _partitioning(columns, [dict(partition_names.values_of(name, tuple(columns))) for name in names], None)
    levels = list(_levels(source))
    names = tuple((names[-1].partition("=")[0], folder) for folder, names in levels)
    is_named = all("=" in name for _, names in levels for name in names)
    if is_named:
        declared = resolve_spec(_blind(source, names)).partition_columns if source.ddl else {}
        columns = {name: declared.get(name.lower(), "string") for name, _ in names}
        found = _partitioning_of(columns, list(_values_below(source, names)), _success_file(source, names))
        if found is not None:
            return found
    path_format = path_formats.guess([names for _, names in levels])
    if path_format is None:
        raise _without_dates(source, [names for _, names in levels])
    return _spread_over_the_path(source, path_format, levels)


def _spread_over_the_path(
    source: SourceOptions, path_format: str, levels: Sequence[tuple[str, list[str]]]
) -> Partitioning:
    """The days of the folders that were walked: the newest ones."""
    probe = SourceOptions(table=source.table, path_format=path_format)
    days = dated_paths.days_below(probe, directory.table_root(source))
    marked = _SUCCESS in table_files.names(levels[-1][0]) if levels else False
    return Partitioning({}, "dt", "%Y-%m-%d", None, _SUCCESS if marked else None, days, path_format)


def _without_dates(source: SourceOptions, levels: Sequence[Sequence[str]]) -> ConfigError:
    place = table_files.shown(source.place)
    if not levels:
        return ConfigError(
            f"{place} has no folder like dt=2026-11-15: the table is not partitioned by day",
            hint="Name the folder that holds the partitions; an unpartitioned table must be loaded by day first.",
        )
    path = "/".join(names[-1] for names in levels)
    return ConfigError(
        f"the folders of {place} name no day: {path}",
        hint=f"A day is written by one key ({', '.join(DATE_FORMATS)}) or by source.path_format, like "
        "year=%Y/month=%m/day=%d or %Y/%m/%d/%H. A table that is partitioned by week or month must be loaded by day "
        "first.",
    )


def _blind(source: SourceOptions, names: Sequence[tuple[str, str]]) -> SourceOptions:
    """A source whose date column exists, whatever it is, so that its DDL can be read."""
    return source.model_copy(update={"date_column": names[0][0]})


def _levels(source: SourceOptions) -> Iterator[tuple[str, list[str]]]:
    """(folder, names of its subfolders) on the way to the last partition by name."""
    folder = directory.table_root(source)
    for _ in range(_MAX_LEVELS):
        entries = partition_files.entries_of(folder)
        names = [entry.name for entry in entries if entry.is_folder and not partition_files.is_hidden(entry.name)]
        names = [name for name in names if "=" in name] or names
        if not names:
            return
        yield folder, names
        folder = table_files.joined(folder, names[-1])


def _values_below(source: SourceOptions, names: Sequence[tuple[str, str]]) -> Iterator[dict[str, str | None]]:
    """The values at each level of the one path that was walked: enough to know what each column holds."""
    for column, folder in names:
        for entry in partition_files.entries_of(folder):
            if entry.is_folder and entry.name.startswith(f"{column}="):
                yield {column: partition_names.value_of(entry.name)}


def _success_file(source: SourceOptions, names: Sequence[tuple[str, str]]) -> str | None:
    """Whether the last but one partition of the last level, or a folder above it, is marked as finished."""
    column, folder = names[-1]
    partitions = [name for name in table_files.names(folder) if name.startswith(f"{column}=")]
    looked = table_files.joined(folder, sorted(partitions)[-2 if len(partitions) > 1 else -1])
    places = (looked, *(parent for _, parent in names[1:]))
    return _SUCCESS if any(_SUCCESS in table_files.names(place) for place in places) else None


def _partitioning(
    columns: dict[str, str], values: Sequence[dict[str, str | None]], success_file: str | None
) -> Partitioning:
    """Raises ConfigError where no column holds dates."""
    found = _partitioning_of(columns, values, success_file)
    if found is not None:
        return found
    seen = _seen(columns, values)
    shown = "; ".join(f"{name}: {', '.join(map(repr, each[:3]))}" for name, each in seen.items())
    raise ConfigError(
        f"no partition column holds dates ({shown or 'there is no partition'})",
        hint=f"One must be written as one of {', '.join(DATE_FORMATS)}; in a metastore, hours and months alone are not "
        "supported. Name the table's folder in source.table, and source.path_format.",
    )


def _seen(columns: dict[str, str], values: Sequence[dict[str, str | None]]) -> dict[str, list[str]]:
    """The distinct values of each column, sorted; Hive's default partition left out."""
    texts = {name: {text for each in values if (text := each.get(name)) is not None} for name in columns}
    return {name: sorted(found) for name, found in texts.items()}


def _partitioning_of(
    columns: dict[str, str], values: Sequence[dict[str, str | None]], success_file: str | None
) -> Partitioning | None:
    seen = _seen(columns, values)
    dated = [(name, form) for name in columns for form in DATE_FORMATS if _all_days(seen[name], form)]
    if not dated:
        return None
    name, text_format = dated[0]
    days = tuple(sorted(datetime.datetime.strptime(text, text_format).date() for text in seen[name]))
    hours = [other for other in columns if other.lower() in _HOUR_NAMES and _all_hours(seen[other])]
    return Partitioning(columns, name, text_format, hours[0] if hours else None, success_file, days)


def _all_days(texts: Sequence[str], text_format: str) -> bool:
    try:
        return bool(texts) and all(datetime.datetime.strptime(t, text_format).strftime(text_format) == t for t in texts)
    except ValueError:
        return False


def _all_hours(texts: Sequence[str]) -> bool:
    return bool(texts) and all(text.isascii() and text.isdecimal() and int(text) < 24 for text in texts)


def newest_day_with_rows(
    source: SourceOptions, days: Sequence[datetime.date]
) -> tuple[TableSpec, list[PartitionListing], tuple[str, ...]]:
    """(spec, partitions, notes) of the newest day that has a file. Raises DataNotReadyError where no day has one."""
    from hivemill.components.hive_example_gen.options import WindowOptions

    for day in reversed(days):
        spec, listing = catalog.find(source, WindowOptions(), [day])
        partitions = [partition for partition in listing.partitions[day] if partition.files]
        if partitions:
            return spec, partitions, listing.notes
    raise DataNotReadyError(
        f"no partition of {table_files.shown(source.place)} holds a row", hint="Load at least one day first."
    )
