"""What a catalogue says of the days asked for: partitions, their files, and how they are described."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from hivemill.components.hive_example_gen.options import HiveOptions
from hivemill.components.hive_example_gen.table.definition import TableDefinition


@dataclass(frozen=True)
class SourceFile:
    """A data file; `path` is relative to the table's directory, with forward slashes, or whole (a URL, an absolute
    path) where its partition lies elsewhere."""

    path: str
    num_bytes: int
    modified_ns: int


@dataclass(frozen=True)
class DayQuery:
    """A day that a server is asked for instead of files.

    Attributes:
        sql: the statement, its dates filled in.
        server: `hiveserver2://host:port/database`; user and password come from the environment of the process.
        date_values: what the date column may hold where the result has it.
        refreshed: which asking this is, part of the day's fingerprint: a run date, or "settled".
        may_be_empty: whether a day without rows is converted; otherwise it stops the run.
    """

    sql: str
    server: str
    hive: HiveOptions
    date_values: tuple[str, ...]
    refreshed: str
    may_be_empty: bool

    @property
    def identity(self) -> tuple[Any, ...]:
        """What the rows depend on, as far as it is known without asking."""
        return self.sql, self.server, self.refreshed, self.hive.settings


@dataclass(frozen=True)
class PartitionListing:
    """A partition as it lies there. `name` is its folder as written; `values` are decoded, None for Hive's default.

    `definition` is what a metastore says of this partition; None: as the table's. Either `files` or `query` gives
    its rows.
    """

    name: str
    values: tuple[tuple[str, str | None], ...]
    files: tuple[SourceFile, ...]
    has_success_file: bool
    definition: TableDefinition | None = None
    query: DayQuery | None = None


@dataclass(frozen=True)
class TableListing:
    """`definition` is the table's own, where the catalogue knows it (a metastore, a query's result set)."""

    partitions: dict[datetime.date, tuple[PartitionListing, ...]]
    notes: tuple[str, ...]
    definition: TableDefinition | None = None
