"""Partitions of a table that is a directory, `dt=2026-11-15/hour=07/000000_0`, local or on a filesystem with a URL.

Only the folders of the days asked for are opened, so that a table with years of partitions is planned as fast as
a new one.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen.catalog import dated_paths, lake_tables, table_files
from hivemill.components.hive_example_gen.catalog.listing import PartitionListing, TableListing
from hivemill.components.hive_example_gen.catalog.partition_files import (
    UNREADABLE,
    data_files,
    entries_of,
    is_data,
    is_hidden,
    names_in,
    unreadable,
)
from hivemill.components.hive_example_gen.catalog.partition_names import date_text, value_of
from hivemill.components.hive_example_gen.catalog.table_files import ListedEntry
from hivemill.components.hive_example_gen.options import SourceOptions

# A request to an object store takes tens of milliseconds, and an hourly day needs 25 of them.
_REMOTE_LISTINGS = 16
_Result = TypeVar("_Result")


def list_days(source: SourceOptions, partition_columns: Sequence[str], days: Sequence[datetime.date]) -> TableListing:
    """The partitions of `days` below `source.table`, in the order of their names; a day without any has an empty tuple.

    Raises:
        ConfigError: the table is no directory, or its folders do not fit `partition_columns`.
        DataNotReadyError: a folder cannot be read. InfrastructureError: the filesystem does not answer.
    """
    root, names = _root_and_names(source)
    if source.path_format is not None:
        return dated_paths.list_days(source, root, days)
    walk = _Walk(root, names, source, tuple(partition_columns))
    found = _mapped(lambda day: tuple(walk.partitions_of(day)), days, table_files.is_url(walk.root))
    return TableListing(dict(zip(days, found, strict=True)), tuple(walk.notes))


def table_folders(source: SourceOptions) -> list[str]:
    """The names directly below the table, for messages. Raises as `list_days`."""
    return _root_and_names(source)[1]


def table_root(source: SourceOptions) -> str:
    """The table's folder. Raises ConfigError where it is none, or a lake table's; else as `list_days`."""
    return _root_and_names(source)[0]


def _root_and_names(source: SourceOptions) -> tuple[str, list[str]]:
    """The table's folder, and what lies directly in it: on some stores a listing is dear, so it is made once."""
    root = source.place
    if table_files.is_url(root):
        table_files.check_url("source.table", root)
    try:
        is_folder = table_files.is_folder(root)
    except UNREADABLE as error:
        raise unreadable(root, error) from error
    if not is_folder:
        raise ConfigError(
            f"source.table: {table_files.shown(root)} is no directory",
            hint="It must be the folder that holds the dt=... folders.",
        )
    root = root if table_files.is_url(root) else table_files.local(root)
    names = names_in(root)
    lake_tables.refuse("source.table", root, names)
    return root, names


def _mapped(function: Callable[[datetime.date], _Result], days: Sequence[datetime.date], remote: bool) -> list[_Result]:
    if not remote:
        return list(map(function, days))
    with ThreadPoolExecutor(_REMOTE_LISTINGS) as threads:
        return list(threads.map(function, days))


class _Walk:
    """Descends the partition columns in path order; at the date column it opens only the folder of the day."""

    def __init__(self, root: str, names: Sequence[str], source: SourceOptions, columns: tuple[str, ...]):
        self.root = root
        self._root_names = names
        self.source = source
        self.columns = columns
        self.notes: dict[str, None] = {}
        self._dates: dict[str, dict[str | None, list[str]]] = {}
        self._dates_lock = threading.Lock()  # the days are walked by several threads, and a listing may be long

    def partitions_of(self, day: datetime.date) -> Iterator[PartitionListing]:
        try:
            yield from self._descend((), day, False)
        except FileNotFoundError as error:
            raise DataNotReadyError(
                f"a folder of {day} below {table_files.shown(self.root)} went away while the table was listed",
                hint="Run again once the table is at rest.",
            ) from error

    def _descend(self, names: tuple[str, ...], day: datetime.date, finished: bool) -> Iterator[PartitionListing]:
        folder = table_files.joined(self.root, "/".join(names)) if names else self.root
        if len(names) == len(self.columns):
            yield self._partition(names, folder, finished)
            return
        column = self.columns[len(names)]
        if column == self.source.date_column:
            for name in self._folder_of(day, folder):
                yield from self._descend((*names, name), day, False)
            return
        entries = entries_of(folder)
        # A marker counts for everything below it, but not above the day: a table's own _SUCCESS says nothing of a day.
        below_day = self.source.date_column in self.columns[: len(names)]
        finished = finished or (below_day and self.source.success_file in (entry.name for entry in entries))
        for name in self._subfolders(folder, entries, column):
            yield from self._descend((*names, name), day, finished)

    def _folder_of(self, day: datetime.date, parent: str) -> list[str]:
        """The folder of the day: `dt=2026-11-15`, or as another writer spells it (`DT=`, other escapes)."""
        found = self._dates_in(parent).get(date_text(self.source, day), [])
        if len(found) > 1:
            raise DataNotReadyError(
                f"{table_files.shown(parent)} holds the day {day} twice, as {found[0]} and {found[1]}",
                hint="Remove or rename one of the two folders.",
            )
        return found

    def _dates_in(self, parent: str) -> dict[str | None, list[str]]:
        """The folders of the date column in `parent` by their value; listed once, for all days."""
        with self._dates_lock:
            if parent not in self._dates:
                self._dates[parent] = self._listed_dates(parent)
            return self._dates[parent]

    def _listed_dates(self, parent: str) -> dict[str | None, list[str]]:
        known: dict[str | None, list[str]] = {}
        for name in self._root_names if parent == self.root else names_in(parent):
            if _is_of(name, self.source.date_column):
                known.setdefault(value_of(name), []).append(name)
        for name in known.get(None, []):
            self.notes[f"{name} holds rows without a date; they belong to no window and are left out"] = None
        return known

    def _subfolders(self, folder: str, entries: list[ListedEntry], column: str) -> list[str]:
        names = [entry.name for entry in entries if entry.is_folder and not is_hidden(entry.name)]
        strange = [name for name in names if not _is_of(name, column)]
        files = [entry.name for entry in entries if is_data(entry, self.source.success_file)]
        if strange or files:
            raise ConfigError(
                f"{table_files.shown(folder)} contains {(strange + files)[0]!r} instead of folders `{column}=...`",
                hint=f"source.partition_columns says {', '.join(self.columns)}, in path order; does the table agree?",
            )
        return names

    def _partition(self, names: tuple[str, ...], folder: str, finished: bool) -> PartitionListing:
        entries = entries_of(folder)
        name = "/".join(names)
        return PartitionListing(
            name=name,
            values=tuple((column, value_of(part)) for column, part in zip(self.columns, names, strict=True)),
            files=data_files(entries, folder, name, self.source.success_file),
            has_success_file=finished or self.source.success_file in (entry.name for entry in entries),
        )


def _is_of(name: str, column: str) -> bool:
    spelled, equals, _ = name.partition("=")
    return bool(equals) and spelled.lower() == column.lower()
