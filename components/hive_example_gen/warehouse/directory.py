"""Partitions of a table that is a local directory, `dt=2026-11-15/hour=07/000000_0`.

Only the folders of the days asked for are opened, so that a table with years of partitions is planned as fast as
a new one.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import ConfigError, DataNotReadyError
from components.hive_example_gen.options import SourceOptions
from components.hive_example_gen.table_definition import TableDefinition

DEFAULT_PARTITION = "__HIVE_DEFAULT_PARTITION__"
# What Hive writes as %XX in a partition's folder name (FileUtils.charToEscape).
_ESCAPED = frozenset("\"#%'*/:=?\\\x7f{[]^") | frozenset(map(chr, range(1, 32)))


@dataclass(frozen=True)
class SourceFile:
    """A data file; `path` is relative to the table's directory, with forward slashes, or whole (a URL, an absolute
    path) where its partition lies elsewhere."""

    path: str
    num_bytes: int
    modified_ns: int


@dataclass(frozen=True)
class PartitionListing:
    """A partition as it lies there. `name` is its folder as written; `values` are decoded, None for Hive's default.

    `definition` is what a metastore says of this partition; None: as the table's.
    """

    name: str
    values: tuple[tuple[str, str | None], ...]
    files: tuple[SourceFile, ...]
    has_success_file: bool
    definition: TableDefinition | None = None


@dataclass(frozen=True)
class TableListing:
    """`definition` is the table's own, where the catalogue knows it (a metastore)."""

    partitions: dict[datetime.date, tuple[PartitionListing, ...]]
    notes: tuple[str, ...]
    definition: TableDefinition | None = None


def list_days(source: SourceOptions, partition_columns: Sequence[str], days: Sequence[datetime.date]) -> TableListing:
    """The partitions of `days` below `source.table`, in the order of their names; a day without any has an empty tuple.

    Raises:
        ConfigError: the table is no local directory, or its folders do not fit `partition_columns`.
        DataNotReadyError: a folder cannot be read.
    """
    root = _table_root(source.table)
    walk = _Walk(root, source, tuple(partition_columns))
    partitions = {day: tuple(walk.partitions_of(day)) for day in days}
    return TableListing(partitions, tuple(walk.notes))


def date_folder(source: SourceOptions, day: datetime.date) -> str:
    """`dt=2026-11-15`: the folder of a day as Hive names it."""
    return f"{source.date_column}={escape(day.strftime(source.date_format))}"


def escape(value: str) -> str:
    return "".join(f"%{ord(letter):02X}" if letter in _ESCAPED else letter for letter in value)


def unescape(text: str) -> str:
    """Decodes %XX; a percent sign that starts no code stays, as in Hive (FileUtils.unescapePathName)."""
    return re.sub(r"%([0-9a-fA-F]{2})", lambda match: chr(int(match[1], 16)), text)


def _table_root(table: str) -> Path:
    if re.match(r"[a-z][a-z0-9+.-]*://", table) and not table.startswith("file://"):
        raise ConfigError(
            f"source.table {table!r}: only local directories are supported", hint="Mount or copy the table."
        )
    root = Path(table.removeprefix("file://"))
    if not root.is_dir():
        raise ConfigError(
            f"source.table: {root} is no directory", hint="It must be the folder that holds the dt=... folders."
        )
    return root


class _Walk:
    """Descends the partition columns in path order; at the date column it opens only the folder of the day."""

    def __init__(self, root: Path, source: SourceOptions, columns: tuple[str, ...]):
        self.root = root
        self.source = source
        self.columns = columns
        self.notes: list[str] = []

    def partitions_of(self, day: datetime.date) -> Iterator[PartitionListing]:
        yield from self._descend((), day, False)

    def _descend(self, names: tuple[str, ...], day: datetime.date, finished: bool) -> Iterator[PartitionListing]:
        folder = self.root.joinpath(*names)
        if len(names) == len(self.columns):
            yield self._partition(names, folder, finished)
            return
        column = self.columns[len(names)]
        if column == self.source.date_column:
            name = date_folder(self.source, day)
            self._note_default_partition(folder)
            if (folder / name).is_dir():
                yield from self._descend((*names, name), day, False)
            return
        entries = _entries(folder)
        # A marker counts for everything below it, but not above the day: a table's own _SUCCESS says nothing of a day.
        below_day = any(name.startswith(self.source.date_column + "=") for name in names)
        finished = finished or (below_day and self.source.success_file in (entry.name for entry in entries))
        for name in self._subfolders(folder, entries, column):
            yield from self._descend((*names, name), day, finished)

    def _subfolders(self, folder: Path, entries: list[os.DirEntry], column: str) -> list[str]:
        names = [entry.name for entry in entries if entry.is_dir() and not _is_hidden(entry.name)]
        strange = [name for name in names if not name.startswith(f"{column}=")]
        files = [entry.name for entry in entries if entry.is_file() and self._is_data(entry.name)]
        if strange or files:
            raise ConfigError(
                f"{folder} holds {(strange + files)[0]!r} where a folder `{column}=...` was expected",
                hint=f"source.partition_columns says {', '.join(self.columns)}, in path order; does the table agree?",
            )
        return names

    def _partition(self, names: tuple[str, ...], folder: Path, finished: bool) -> PartitionListing:
        entries = _entries(folder)
        nested = [entry.name for entry in entries if entry.is_dir() and not _is_hidden(entry.name)]
        if nested:
            raise ConfigError(
                f"{folder} holds the folder {nested[0]!r} where data files were expected",
                hint="Name the further partition column in source.partition_columns, e.g. hour: string.",
            )
        name = "/".join(names)
        files = [entry for entry in entries if self._is_data(entry.name)]
        return PartitionListing(
            name=name,
            values=tuple(map(_value, names)),
            files=tuple(file for entry in files if (file := _source_file(name, entry)).num_bytes),
            has_success_file=finished or self.source.success_file in (entry.name for entry in entries),
        )

    def _is_data(self, name: str) -> bool:
        return not (_is_hidden(name) or name.endswith(".crc") or name == self.source.success_file)

    def _note_default_partition(self, folder: Path) -> None:
        name = f"{self.source.date_column}={DEFAULT_PARTITION}"
        if (folder / name).is_dir():
            note = f"{name} holds rows without a date; they belong to no window and are left out"
            if note not in self.notes:
                self.notes.append(note)


def _value(folder: str) -> tuple[str, str | None]:
    column, _, value = folder.partition("=")
    return column, None if value == DEFAULT_PARTITION else unescape(value)


def _source_file(partition: str, entry: os.DirEntry) -> SourceFile:
    status = entry.stat()
    return SourceFile(f"{partition}/{entry.name}", status.st_size, status.st_mtime_ns)


def _entries(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataNotReadyError(
            f"partition folder {folder} cannot be read: {error.strerror}", hint="Check its permissions and owner."
        ) from error


def _is_hidden(name: str) -> bool:
    return name.startswith(("_", "."))
