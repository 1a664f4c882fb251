"""Files as Hive writes them: text of LazySimpleSerDe, Parquet, ORC; one `000000_0` for a partition, and _SUCCESS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.orc
import pyarrow.parquet

DATA_FILE = "000000_0"
SUCCESS_FILE = "_SUCCESS"
FileFormat = Literal["text", "parquet", "orc"]
FIELD, ITEM, KEY, NULL = b"\x01", b"\x02", b"\x03", b"\\N"
TextHook = Callable[["list[pa.Array]"], "list[pa.Array]"]


class TableWriter(Protocol):
    def write(self, table: pa.Table) -> None: ...


def open_writer(
    file_format: FileFormat, path: Path, schema: pa.Schema, text_hook: TextHook | None = None
) -> AbstractContextManager[TableWriter]:
    """A writer of tables of `schema`, chunk by chunk.
    `text_hook` may change the columns of text (data/click_log/faults.py)."""
    if file_format == "text":
        return _open_text(path, text_hook)
    return _open_parquet(path, schema) if file_format == "parquet" else _open_orc(path)


@contextmanager
def _open_parquet(path: Path, schema: pa.Schema) -> Iterator[TableWriter]:
    # INT96 is how Hive writes a timestamp; Hive before version 4 cannot read the INT64 kind.
    with pa.parquet.ParquetWriter(path, schema, compression="snappy", use_deprecated_int96_timestamps=True) as writer:
        yield _Plain(writer.write_table)


@contextmanager
def _open_orc(path: Path) -> Iterator[TableWriter]:
    # The ORC writer learns its schema from the first table: callers write one even where there are no rows.
    with pa.orc.ORCWriter(str(path), compression="zlib") as writer:
        yield _Plain(writer.write)


@contextmanager
def _open_text(path: Path, text_hook: TextHook | None) -> Iterator[TableWriter]:
    with open(path, "wb") as file:
        yield _Plain(lambda table: _write_text(file, table, text_hook))


class _Plain:
    def __init__(self, write: Callable[[pa.Table], None]):
        self.write = write


def _write_text(file: BinaryIO, table: pa.Table, text_hook: TextHook | None) -> None:
    columns = text_columns(table)
    file.write(joined_bytes(text_hook(columns) if text_hook else columns))


def text_columns(table: pa.Table) -> list[pa.Array]:
    """Each column as Hive text (binary arrays without nulls); the last one ends the line, separator and all.

    Values must not hold the delimiters or line breaks: LazySimpleSerDe has no escape unless the table says so.
    """
    columns = [_column_text(column.combine_chunks()) for column in table.columns]
    empty = pa.scalar(b"", pa.large_binary())
    columns[-1] = pc.binary_join_element_wise(pa.scalar(FIELD, pa.large_binary()), columns[-1], empty)
    return columns


def joined_bytes(columns: list[pa.Array]) -> bytes | pa.Buffer:
    """The lines of a text file from `text_columns`."""
    if len(columns[0]) == 0:
        return b""
    large = pa.large_binary()
    start = pc.binary_join_element_wise(*columns[:-1], pa.scalar(FIELD, large))
    lines = pc.binary_join_element_wise(start, columns[-1], pa.scalar(b"\n", large), pa.scalar(b"", large))
    # The values of a binary array lie one after the other: they are the file already.
    return lines.buffers()[2]


def _column_text(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if pa.types.is_map(column.type):
        pairs = _join(_scalar_text(column.keys), _scalar_text(column.items), KEY)
        text = pc.binary_join(pa.ListArray.from_arrays(column.offsets, pairs), ITEM)
        # from_arrays drops the map's nulls: they are put back below.
        text = pc.if_else(column.is_valid(), text, pa.scalar(None, text.type))
    elif pa.types.is_list(column.type):
        values = _scalar_text(column.values).cast(pa.binary())
        joined = pc.binary_join(pa.ListArray.from_arrays(column.offsets, values), ITEM)
        text = pc.if_else(column.is_valid(), joined, pa.scalar(None, joined.type))
    else:
        text = _scalar_text(column)
    return pc.fill_null(text.cast(pa.large_binary()), NULL)


def _scalar_text(column: pa.Array) -> pa.Array:
    """Java's way of writing: `true`, `12.0`, `2026-11-15 07:00:00.123`."""
    text = column.cast(pa.string())
    if pa.types.is_floating(column.type):
        whole = pc.invert(pc.match_substring_regex(text, r"[.eni]"))
        text = pc.if_else(whole, pc.binary_join_element_wise(text, ".0", ""), text)
    return text.cast(pa.binary())


def _join(left: pa.Array, right: pa.Array, separator: bytes) -> pa.Array:
    return pc.binary_join_element_wise(left, right, pa.scalar(separator, pa.binary()))
