"""Finds the partitions of a source in whatever catalogue it names: a directory, a metastore, a server."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from hivemill.components.hive_example_gen.catalog import directory
from hivemill.components.hive_example_gen.catalog.listing import TableListing
from hivemill.components.hive_example_gen.options import SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.table.spec import TableSpec, resolve_spec, spec_of

METASTORE = "hive://"


def find(source: SourceOptions, window: WindowOptions, days: Sequence[datetime.date]) -> tuple[TableSpec, TableListing]:
    """How the source's rows are read, and the partitions of `days` (oldest first).

    Raises:
        ConfigError: source or DDL are wrong, or the table is of a kind that cannot be read rightly.
        DataNotReadyError: a folder cannot be read. InfrastructureError: a server does not answer.
    """
    listing = _listed(source, window, days)
    if listing is not None:
        return spec_of(source, listing.definition), listing
    spec = resolve_spec(source)
    return spec, directory.list_days(source, tuple(spec.partition_columns), days)


def _listed(source: SourceOptions, window: WindowOptions, days: Sequence[datetime.date]) -> TableListing | None:
    """What a catalogue that knows the columns says; None for a directory. Their clients are imported when needed."""
    if source.query is not None:
        from hivemill.components.hive_example_gen.catalog.hiveserver2 import query

        return query.list_days(source, window, days)
    if source.place.startswith(METASTORE):
        from hivemill.components.hive_example_gen.catalog import metastore

        return metastore.list_days(source, days)
    return None
