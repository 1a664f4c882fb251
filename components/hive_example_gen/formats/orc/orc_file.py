"""ORC files, BATCH_ROWS rows at a time.

pyarrow.orc gives whole stripes, many times their size in the file once they are columns; its datasets stream.

pyarrow reads timestamps as 64 bits of nanoseconds, which end in the years 1677 and 2262, and what lies beyond wraps
around. Where the file's statistics do not rule that out, the file is read a second time with timestamps called bigint
(orc_tail.py), which gives their seconds: with them the wrapped nanoseconds are exact again (orc_timestamps.py).
Timestamps are wall clocks of the writer's time zone, which each stripe names; pyarrow takes it into account, but not as
Java does before 1970. Where it is not UTC and the statistics do not rule such timestamps out, seconds are read too.
Files of Hive before 1.1 name no zone: `writer.time.zone` in source.serde_properties does, else it is UTC. The
wall clock of that zone is also what is read of instants (timestamp with local time zone).
Old days are those of the footer's calendar; a footer that names none is Java's hybrid calendar (ORC before 1.6).
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.orc

from hivemill.common.errors import DataNotReadyError
from hivemill.components.hive_example_gen.catalog import table_files
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.columnar import BATCH_ROWS, bounded, conformed, target_schema
from hivemill.components.hive_example_gen.formats.data_file import DataFile, translated
from hivemill.components.hive_example_gen.formats.hadoop.vints import Damaged
from hivemill.components.hive_example_gen.formats.orc.tail import OrcTail
from hivemill.components.hive_example_gen.formats.orc.timestamps import (
    Clock,
    SecondsFile,
    exact,
    holds_timestamp,
    in_micros,
)
from hivemill.components.hive_example_gen.formats.time.calendars import Writer, holds_time
from hivemill.components.hive_example_gen.formats.time.time_zones import database, is_zone
from hivemill.components.hive_example_gen.table.spec import TableSpec

_ACID_COLUMNS = {"operation", "originalTransaction", "bucket", "rowId", "currentTransaction", "row"}
_LOCAL_TIME = Path("/etc/localtime")
"""The zone that pyarrow opens for files which name none."""
_LIKE_UTC = frozenset({"UTC", "GMT", "Etc/UTC"})


def read_schema(file: DataFile, spec: TableSpec) -> pa.Schema:
    """The file's own columns; timestamps in microseconds. Raises DataNotReadyError."""
    with translated(file, "ORC"):
        return in_micros(_opened(file).schema)


def read_batches(file: DataFile, spec: TableSpec, bad: BadRows) -> Iterator[pa.RecordBatch]:
    """The rows of `file`; memory: one stripe as it is in the file. Raises DataNotReadyError, ConfigError."""
    with translated(file, "ORC"):
        tail, zones = _tail(file)
        opened = _opened(file)
        own = in_micros(opened.schema)
        target, present = target_schema(own, spec, file)
        names = list(present.values())
        padded = frozenset(name for name, own_name in present.items() if own_name in tail.char_columns)
        times = [name for name in names if holds_timestamp(own.field(name).type)]
        clocks = [_clock(zone, tail, spec, file) for zone in zones] if times else []
        columns = names or own.names[:1]  # without any there would be no rows
        pieces = _pieces(_source(file), columns)
        needed = bool(times) and _needs_seconds(tail, clocks)
        seconds = _pieces(_with_seconds(file, tail), times) if needed else itertools.repeat(None)
        writer = Writer(tail.is_proleptic, zone_of_instants=Writer.declared(spec.serde_properties).zone)
        ends, row = tail.stripe_ends(), 0
        for piece, plain in zip(pieces, seconds, strict=False):
            clock = clocks[bisect.bisect_right(ends, row)] if clocks else Clock()
            piece = _dated(_exact_piece(piece, plain, clock, file), writer, file)
            for batch in bounded(conformed(piece, target, present, file, row, bad), spec):
                yield _stripped(batch, padded)
            row += piece.num_rows


def _pieces(source: Any, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """At most BATCH_ROWS rows each, in the file's order; none has rows of two stripes (orc::RowReader::next)."""
    fragment = pyarrow.dataset.OrcFileFormat().make_fragment(source)
    scanner = fragment.scanner(
        columns=columns, batch_size=BATCH_ROWS, use_threads=False, batch_readahead=0, fragment_readahead=0
    )
    return (piece for piece in scanner.to_batches() if piece.num_rows)


def _source(file: DataFile) -> Any:
    return file.open() if table_files.is_url(file.path) else pa.OSFile(table_files.local(file.path))


def _opened(file: DataFile) -> pyarrow.orc.ORCFile:
    opened = pyarrow.orc.ORCFile(_source(file))
    if set(opened.schema.names) >= _ACID_COLUMNS:
        raise DataNotReadyError(
            f"{file.name} belongs to a transactional (ACID) table: its rows are inserts, updates and deletes",
            hint="Read it through HiveServer2 (source.query), or copy it to a table that is not transactional.",
        )
    return opened


def _tail(file: DataFile) -> tuple[OrcTail, list[str | None]]:
    """The tail and, where timestamps are among the columns, the time zone of each stripe."""
    with file.open() as opened:
        try:
            tail = OrcTail.read(opened)
            return tail, tail.zones(opened) if tail.has_timestamps else []
        except Damaged as error:
            raise OSError(str(error)) from error


def _clock(zone: str | None, tail: OrcTail, spec: TableSpec, file: DataFile) -> Clock:
    """Raises DataNotReadyError for a zone that this machine lacks: pyarrow would end the process."""
    is_there = _LOCAL_TIME.exists() if zone is None else is_zone(zone) and (database() / zone).is_file()
    if not is_there:
        raise DataNotReadyError(
            f"{file.name}: its timestamps are those of the time zone {zone or str(_LOCAL_TIME)!r}, which this machine "
            "does not know",
            hint="Install the system's time zones (tzdata), or write the file again in UTC.",
        )
    if zone is None:
        return Clock(Writer.declared(spec.serde_properties).zone or "UTC", is_known=False)
    return Clock() if zone in _LIKE_UTC or tail.is_of_cpp else Clock(zone)


def _needs_seconds(tail: OrcTail, clocks: list[Clock]) -> bool:
    if tail.may_leave_nanoseconds or any(not clock.is_known for clock in clocks):
        return True
    return tail.may_precede_epoch and any(clock.zone is not None for clock in clocks)


def _with_seconds(file: DataFile, tail: OrcTail) -> Any:
    """The file with seconds instead of timestamps."""
    try:
        return SecondsFile(file.open(), tail.content_end, tail.with_seconds())
    except Damaged as error:
        raise OSError(str(error)) from error


def _exact_piece(piece: pa.RecordBatch, seconds: pa.RecordBatch | None, clock: Clock, file: DataFile) -> pa.RecordBatch:
    columns = []
    for field, column in zip(piece.schema, piece.columns, strict=True):
        if holds_timestamp(field.type):
            kind = in_micros(pa.schema([field])).field(0).type
            if seconds is None:
                column = column.cast(kind, safe=False)
            else:
                column = exact(column, seconds.column(field.name), kind, clock, file)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=in_micros(piece.schema))


def _dated(piece: pa.RecordBatch, writer: Writer, file: DataFile) -> pa.RecordBatch:
    for index, field in enumerate(piece.schema):
        if holds_time(field.type):
            piece = piece.set_column(index, field, writer.read(piece.column(index), field.name, file))
    return piece


def _stripped(batch: pa.RecordBatch, char_columns: frozenset[str]) -> pa.RecordBatch:
    """ORC pads the values of char(n); the blanks are no part of them (Hive's HiveChar)."""
    for index, field in enumerate(batch.schema):
        if field.name in char_columns and pa.types.is_string(field.type):
            batch = batch.set_column(index, field, pc.utf8_rtrim(batch.column(index), " "))
    return batch
