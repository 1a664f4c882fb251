"""ORC files, stripe by stripe.

pyarrow reads timestamps as 64 bits of nanoseconds, which end in the years 1677 and 2262, and what lies beyond wraps
around. Where the file's statistics do not rule that out, the file is read a second time with timestamps called bigint
(orc_tail.py), which gives their seconds: with them the wrapped nanoseconds are exact again (orc_timestamps.py).
Timestamps are wall clocks of the writer's time zone, which each stripe names and pyarrow takes into account. Old days
are those of the footer's calendar; a footer that names none is Java's hybrid calendar (ORC before 1.6).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.orc

from common.errors import DataNotReadyError
from components.hive_example_gen.bad_rows import BadRows
from components.hive_example_gen.formats.calendars import Writer, holds_time
from components.hive_example_gen.formats.columnar import bounded, conformed, target_schema
from components.hive_example_gen.formats.opened import DataFile, translated
from components.hive_example_gen.formats.orc_tail import OrcTail
from components.hive_example_gen.formats.orc_timestamps import SecondsFile, exact, holds_timestamp, in_micros
from components.hive_example_gen.formats.vints import Damaged
from components.hive_example_gen.table_spec import TableSpec
from components.hive_example_gen.warehouse import storage

_ACID_COLUMNS = {"operation", "originalTransaction", "bucket", "rowId", "currentTransaction", "row"}


def read_schema(file: DataFile, spec: TableSpec) -> pa.Schema:
    """The file's own columns; timestamps in microseconds. Raises DataNotReadyError."""
    with translated(file, "ORC"):
        return in_micros(_opened(file).schema)


def read_batches(file: DataFile, spec: TableSpec, bad: BadRows) -> Iterator[pa.RecordBatch]:
    """The rows of `file`; memory: one stripe (64 MiB by default). Raises DataNotReadyError, ConfigError."""
    with translated(file, "ORC"):
        tail = _tail(file)
        opened = _opened(file)
        own = in_micros(opened.schema)
        target, present = target_schema(own, spec, file)
        names = list(present.values())
        seconds = _seconds(file, tail, [name for name in names if holds_timestamp(own.field(name).type)])
        row = 0
        for index in range(opened.nstripes):
            read = opened.read_stripe(index, columns=names or own.names[:1])  # without any, pyarrow gives no rows
            stripe = _exact_stripe(read, index, seconds, file)
            stripe = _stripped(_dated(stripe, Writer(proleptic=tail.is_proleptic), file), tail.char_columns)
            yield from bounded(conformed(stripe, target, present, file, row), spec)
            row += stripe.num_rows


def _opened(file: DataFile) -> pyarrow.orc.ORCFile:
    opened = pyarrow.orc.ORCFile(file.open() if storage.is_url(file.path) else storage.local(file.path))
    if set(opened.schema.names) >= _ACID_COLUMNS:
        raise DataNotReadyError(
            f"{file.name} belongs to a transactional (ACID) table: its rows are inserts, updates and deletes",
            hint="Read it through HiveServer2 (source.query), or copy it to a table that is not transactional.",
        )
    return opened


def _tail(file: DataFile) -> OrcTail:
    with file.open() as opened:
        try:
            return OrcTail.read(opened)
        except Damaged as error:
            raise OSError(str(error)) from error


_Seconds = tuple[pyarrow.orc.ORCFile, list[str]]


def _seconds(file: DataFile, tail: OrcTail, names: list[str]) -> _Seconds | None:
    """The file whose timestamps are seconds, and the columns to be read from it; None where that is not needed."""
    try:
        if not names or not tail.may_leave_nanoseconds:
            return None
        patched: Any = SecondsFile(file.open(), tail.content_end, tail.with_seconds())
    except Damaged as error:
        raise OSError(str(error)) from error
    return pyarrow.orc.ORCFile(patched), names


def _exact_stripe(stripe: pa.RecordBatch, index: int, seconds: _Seconds | None, file: DataFile) -> pa.RecordBatch:
    plain = None if seconds is None else seconds[0].read_stripe(index, columns=seconds[1])
    columns = []
    for field, column in zip(stripe.schema, stripe.columns, strict=True):
        if holds_timestamp(field.type):
            kind = in_micros(pa.schema([field])).field(0).type
            if plain is None:
                column = column.cast(kind, safe=False)
            else:
                column = exact(column, plain.column(field.name), kind, file)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=in_micros(stripe.schema))


def _dated(stripe: pa.RecordBatch, writer: Writer, file: DataFile) -> pa.RecordBatch:
    for index, field in enumerate(stripe.schema):
        if holds_time(field.type):
            stripe = stripe.set_column(index, field, writer.read(stripe.column(index), field.name, file))
    return stripe


def _stripped(stripe: pa.RecordBatch, char_columns: frozenset[str]) -> pa.RecordBatch:
    """ORC pads the values of char(n); the blanks are no part of them (Hive's HiveChar)."""
    for index, field in enumerate(stripe.schema):
        if field.name in char_columns and pa.types.is_string(field.type):
            stripe = stripe.set_column(index, field, pc.utf8_rtrim(stripe.column(index), " "))
    return stripe
