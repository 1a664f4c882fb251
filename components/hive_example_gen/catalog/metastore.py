"""Partitions of a table in a Hive metastore. What it says goes: a folder that is not registered is not read, and a
registered partition is finished unless `source.success_file` asks for a marker as well."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hivemill.common.errors import ConfigError, HivemillError
from hivemill.components.hive_example_gen.catalog import lake_tables, partition_files, table_files
from hivemill.components.hive_example_gen.catalog.descriptors import partition_definition, table_definition
from hivemill.components.hive_example_gen.catalog.listing import PartitionListing, SourceFile, TableListing
from hivemill.components.hive_example_gen.catalog.metastore_client import Metastore, connected, table_address
from hivemill.components.hive_example_gen.catalog.partition_names import (
    DEFAULT_PARTITION,
    date_text,
    name_of,
    value_of,
)
from hivemill.components.hive_example_gen.options import SourceOptions
from hivemill.components.hive_example_gen.table.definition import TableDefinition

_DAYS_PER_FILTER = 7
_LISTINGS = 16
_STRINGS = ("string", "varchar", "char")


def list_days(source: SourceOptions, days: Sequence[datetime.date]) -> TableListing:
    """The registered partitions of `days`, and the table's definition.

    Raises:
        ConfigError: no such table, or one that cannot be read rightly (descriptors.table_definition).
        InfrastructureError: the metastore, or a filesystem with a URL, does not answer.
        DataNotReadyError: a local folder cannot be read.
    """
    _check_options(source)
    with connected(table_address(source.place), source.hive) as metastore:
        definition, notes = table_definition(metastore.table())
        _check_date_column(source, definition)
        _check_location(definition)
        found = _found(metastore, source, definition, days)
        undated = _without_date(metastore, source, definition)
    texts = {date_text(source, day): day for day in days}
    listed: dict[datetime.date, list[PartitionListing]] = {day: [] for day in days}
    files = _Files(source.success_file)
    index = list(definition.partition_columns).index(source.date_column)
    for partition, listing in files.listed(found, definition):
        listed[texts[partition.values[index]]].append(listing)
    partitions = {day: tuple(sorted(each, key=lambda listing: listing.name)) for day, each in listed.items()}
    return TableListing(partitions, (*notes, *undated, *files.notes), definition)


def all_partitions(source: SourceOptions) -> tuple[dict[str, str], list[str]]:
    """The partition columns (name: Hive type) and the names of all partitions. Raises as `list_days`."""
    with connected(table_address(source.place), source.hive) as metastore:
        definition, _ = table_definition(metastore.table())
        return definition.partition_columns, metastore.partition_names()


def _check_options(source: SourceOptions) -> None:
    for key in ("ddl", "columns"):
        if getattr(source, key) is not None:
            raise ConfigError(
                f"source.{key} and the metastore of source.table both define the columns",
                hint=f"Remove source.{key}; or name the table's folder in source.table.",
            )


def _check_date_column(source: SourceOptions, definition: TableDefinition) -> None:
    if source.date_column not in definition.partition_columns:
        raise ConfigError(
            f"source.date_column is {source.date_column!r}, which is no partition column of {definition.name}",
            hint=f"Partition columns: {', '.join(definition.partition_columns)}.",
        )


def _check_location(definition: TableDefinition) -> None:
    """A table may be registered as plain files over the folder of a lake table, by mistake or by an old tool."""
    location = definition.location
    if not location:
        return
    try:
        names = partition_files.names_in(location)
    except (FileNotFoundError, HivemillError):
        return  # partitions may lie elsewhere; one that cannot be listed is reported with its name
    lake_tables.refuse(f"the location of {definition.name}", location, names)


def _found(
    metastore: Metastore, source: SourceOptions, definition: TableDefinition, days: Sequence[datetime.date]
) -> list[Any]:
    """The Thrift Partitions of the days alone: a table may have hundred thousands."""
    if definition.partition_columns[source.date_column].lower().startswith(_STRINGS):
        filtered = _filtered(metastore, source, days)
        if filtered is not None:
            return filtered
    wanted = {date_text(source, day) for day in days}
    column = list(definition.partition_columns).index(source.date_column)
    names = [name for name in metastore.partition_names() if value_of(name.split("/")[column]) in wanted]
    return list(metastore.partitions_named(names))


def _filtered(metastore: Metastore, source: SourceOptions, days: Sequence[datetime.date]) -> list[Any] | None:
    """None where the metastore refuses filters (other column types, limits), or a date cannot be written in one."""
    texts = [date_text(source, day) for day in days]
    if any('"' in text or "\\" in text for text in texts):
        return None
    found: list[Any] = []
    for start in range(0, len(texts), _DAYS_PER_FILTER):
        chunk = texts[start : start + _DAYS_PER_FILTER]
        some = metastore.partitions_where(" or ".join(f'{source.date_column} = "{text}"' for text in chunk))
        if some is None:
            return None
        found += some
    return found


def _without_date(metastore: Metastore, source: SourceOptions, definition: TableDefinition) -> list[str]:
    values = [DEFAULT_PARTITION if column == source.date_column else "" for column in definition.partition_columns]
    if not metastore.partition_names_like(values):
        return []
    folder = f"{source.date_column}={DEFAULT_PARTITION}"
    return [f"{folder} holds rows without a date; they belong to no window and are left out"]


class _Files:
    """Lists the folders of partitions, several at a time where they are remote."""

    def __init__(self, success_file: str | None):
        self.success_file = success_file
        self.notes: list[str] = []

    def listed(self, partitions: Iterable[Any], table: TableDefinition) -> Iterable[tuple[Any, PartitionListing]]:
        partitions = list(partitions)
        remote = any(table_files.is_url(partition.sd.location or "") for partition in partitions)
        with ThreadPoolExecutor(_LISTINGS if remote else 1) as threads:
            return zip(partitions, list(threads.map(lambda each: self._listing(each, table), partitions)), strict=True)

    def _listing(self, partition: Any, table: TableDefinition) -> PartitionListing:
        values = {
            column: None if value == DEFAULT_PARTITION else value
            for column, value in zip(table.partition_columns, partition.values, strict=True)
        }
        name = name_of(values)
        files, marked = self._files(name, partition.sd.location or "")
        return PartitionListing(
            name=name,
            values=tuple(values.items()),
            files=files,
            has_success_file=marked or self.success_file is None,
            definition=partition_definition(partition, name, table),
        )

    def _files(self, name: str, location: str) -> tuple[tuple[SourceFile, ...], bool]:
        try:
            entries = partition_files.entries_of(location)
        except FileNotFoundError:
            self.notes.append(f"{name} is registered, but its folder {table_files.shown(location)} is not there")
            return (), False
        hint = "Hive does not read folders inside a partition's folder; write the partition again without them."
        files = partition_files.data_files(entries, location, table_files.local(location), self.success_file, hint)
        return files, self.success_file in (entry.name for entry in entries)
