"""A query instead of a table: every day of the window is one statement, whose rows are streamed when it is converted.

What a server would answer is not known without asking, so rows that were converted are kept by this rule: the newest
`source.query_refresh_days` days are asked for again by every run date, once more when they are older than that, and
then never (until `source.query_revision` changes). A run for the same date asks for nothing again.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen.catalog.hiveserver2 import client
from hivemill.components.hive_example_gen.catalog.hiveserver2.client import RawColumn, Result, ResultColumn
from hivemill.components.hive_example_gen.catalog.hiveserver2.values import arrow_column, checked_names, hive_type
from hivemill.components.hive_example_gen.catalog.listing import DayQuery, PartitionListing, TableListing
from hivemill.components.hive_example_gen.catalog.partition_names import date_folder, date_text
from hivemill.components.hive_example_gen.options import SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.table.definition import TableDefinition
from hivemill.components.hive_example_gen.table.spec import TableSpec

_SETTLED = "settled"


def list_days(source: SourceOptions, window: WindowOptions, days: Sequence[datetime.date]) -> TableListing:
    """One partition per day, and the columns of the result, for which the server is asked without running the query.

    Raises ConfigError: the statement or a column's type. InfrastructureError: the server does not answer.
    """
    _check_options(source)
    definition = result_definition(source, max(days))
    newest = set(sorted(days)[-source.query_refresh_days :] if source.query_refresh_days else ())
    run_date = max(days).isoformat()
    partitions = {
        day: (_partition(source, day, run_date if day in newest else _SETTLED, window.leaves_out),) for day in days
    }
    settled = len(days) - len(newest)
    note = f"the rows of {settled} older day(s) are asked for once and kept: later changes in the table are not seen"
    return TableListing(partitions, (note,) if settled else (), definition)


def statement(source: SourceOptions, day: datetime.date) -> str:
    """The query of one day."""
    after = day + datetime.timedelta(days=1)
    text = (source.query or "").replace("{start_date}", date_text(source, day))
    return text.replace("{end_date}", date_text(source, after)).strip().rstrip(";")


def read_day(query: DayQuery, spec: TableSpec, name: str) -> Iterator[pa.RecordBatch]:
    """The rows of one day, typed as `spec.schema`.

    Raises:
        InfrastructureError: the server does not answer, or the connection breaks.
        DataNotReadyError: no rows, other columns than planned, or a value that is not of its type.
        ConfigError: a row of another day: the query does not keep to its dates.
    """
    what = f"the query of {name}"
    rows = 0
    with client.connected(query.server, query.hive) as session, session.result(query.sql, what) as result:
        place = _places(result, spec)
        for fetched in result.fetches():
            _check_day(result.columns, fetched, query, spec, what)
            yield _batch(fetched, place, spec, what)
            rows += len(fetched[0].nulls)
    if not rows and not query.may_be_empty:
        raise DataNotReadyError(
            f"{what} gives no row", hint="Load the day, choose another date, or set window.incomplete: shrink."
        )


def _check_options(source: SourceOptions) -> None:
    if source.ddl is not None:
        raise ConfigError("source.ddl and source.query both define the columns", hint="Remove source.ddl.")
    if source.hour_column is not None or source.success_file is not None:
        raise ConfigError(
            "source.hour_column and source.success_file are of tables; source.query is asked for whole days",
            hint="Remove them; let the query wait for its own marker if it has one.",
        )
    if source.deduplicate_by:
        raise ConfigError(
            "source.deduplicate_by reads the rows of a day twice, which source.query does not allow",
            hint="Deduplicate in the query: keep the rows with ROW_NUMBER() OVER (PARTITION BY …) = 1.",
        )
    if list(source.partition_columns) != [source.date_column]:
        raise ConfigError(
            f"source.partition_columns must be {source.date_column} alone where source.query gives the rows",
            hint="Every other column is one of the result.",
        )


def _partition(source: SourceOptions, day: datetime.date, asked: str, may_be_empty: bool) -> PartitionListing:
    query = DayQuery(
        sql=statement(source, day),
        server=source.server or "",
        hive=source.hive,
        date_values=(date_text(source, day), day.isoformat()),
        refreshed=f"{asked} {source.query_revision}",
        may_be_empty=may_be_empty,
    )
    values = ((source.date_column, date_text(source, day)),)
    return PartitionListing(date_folder(source, day), values, (), True, query=query)


def result_definition(source: SourceOptions, day: datetime.date) -> TableDefinition:
    """The columns of the result, of a statement that gives no rows. Raises as `list_days`."""
    sql = statement(source, day)
    # Hive knows no WITH inside a subquery.
    empty = f"{sql}\nLIMIT 0" if re.match(r"\s*WITH\b", sql, re.IGNORECASE) else f"SELECT * FROM ({sql}\n) q LIMIT 0"
    declared = {name.lower(): text for name, text in (source.columns or {}).items()}
    with (
        client.connected(source.server or "", source.hive) as session,
        session.result(empty, "source.query") as result,
    ):
        names = _names(result.columns)
        product = session.product()
    left_out = {name.lower() for name in source.exclude_columns}
    types = {
        name: _type(column, declared.get(name), product, name in left_out)
        for name, column in zip(names, result.columns, strict=True)
        if name not in source.partition_columns
    }
    checked_names(types, declared)
    return TableDefinition("source.query", types, dict(source.partition_columns))


def _type(column: ResultColumn, declared: str | None, product: str, is_left_out: bool) -> str:
    try:
        return hive_type(column, declared, product)
    except ConfigError:
        if is_left_out:
            return "string"  # never read
        raise


def _names(columns: Sequence[ResultColumn]) -> list[str]:
    """In lower case, without the table that Hive puts before them (`q.user_id`). Raises ConfigError for a double."""
    names = [column.name.rpartition(".")[2].lower() for column in columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"source.query gives two columns {twice!r}", hint="Name them apart with AS.")
    return names


def _places(result: Result, spec: TableSpec) -> list[int]:
    """Where the columns of the schema stand in the result."""
    names = _names(result.columns)
    wanted = (spec.schema or pa.schema([])).names
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataNotReadyError(
            f"{result.what} gives no column {missing[0]!r} any more", hint="Did its table change? Run again."
        )
    return [names.index(name) for name in wanted]


def _batch(fetched: list[RawColumn], places: list[int], spec: TableSpec, what: str) -> pa.RecordBatch:
    schema = spec.schema or pa.schema([])
    arrays = [
        arrow_column(fetched[place], field.type, field.name, what) for place, field in zip(places, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _check_day(
    columns: Sequence[ResultColumn], fetched: list[RawColumn], query: DayQuery, spec: TableSpec, what: str
) -> None:
    """Where the result has the date column, every row must be of the day."""
    names = _names(columns)
    for name in set(spec.partition_columns) & set(names):
        raw = fetched[names.index(name)]
        texts = pa.array(
            [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in raw.values],
            mask=raw.nulls,
        )
        if not pc.all(pc.fill_null(pc.is_in(texts, pa.array(query.date_values)), False)).as_py():
            other = next(text for text in texts.to_pylist() if text not in query.date_values)
            raise ConfigError(
                f"{what} gives a row of {name}={other}",
                hint=f"It must hold a condition such as {name} >= '{{start_date}}' AND {name} < '{{end_date}}'.",
            )
