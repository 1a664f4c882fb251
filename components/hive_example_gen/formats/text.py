"""Hive TEXTFILE as LazySimpleSerDe reads it: delimiters without quotes, \\N for NULL, short rows padded, long rows cut.

Columnar: blocks of whole lines go through Arrow's CSV parser as strings and are then converted column by column
(text_values). Only blocks with uneven rows are touched line by line. Unlike in Hive, a number that does not parse is
an error and not NULL; an empty number is NULL, as in Hive. Source: Hive's LazySimpleSerDe, Hadoop's LineRecordReader.
"""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from common.errors import ConfigError, DataNotReadyError
from components.hive_example_gen.bad_rows import BadRows
from components.hive_example_gen.formats.columnar import BATCH_ROWS
from components.hive_example_gen.formats.opened import DataFile, translated
from components.hive_example_gen.formats.text_values import Delimiters, convert
from components.hive_example_gen.hive_types import name_of, text_length
from components.hive_example_gen.table_spec import TableSpec

BLOCK_BYTES = 8 << 20
MAX_ROW_BYTES = 256 << 20
_GZIP = b"\x1f\x8b"


def read_batches(file: DataFile, spec: TableSpec, bad: BadRows) -> Iterator[pa.RecordBatch]:
    """The rows of `file`, at most BATCH_ROWS at a time, with the declared types.

    Raises:
        ConfigError: no columns are declared.
        DataNotReadyError: naming file, row (counted from 1), column and value where one does not parse.
    """
    if spec.columns is None:
        raise ConfigError(
            f"{file.name} is text, which does not say its columns", hint="Give source.ddl or source.columns."
        )
    reader = _BlockReader(file, spec, tuple(spec.columns))
    row = 0
    with translated(file, "text"), _opened(file) as opened:
        for block in _blocks(opened, file):
            for batch in reader.batches(block, row):
                yield batch
                row += batch.num_rows


@contextlib.contextmanager
def _opened(file: DataFile) -> Iterator[BinaryIO]:
    with open(file.path, "rb") as raw:
        if raw.peek(2).startswith(_GZIP):
            with gzip.open(raw) as unpacked:
                yield cast(BinaryIO, unpacked)
        else:
            yield raw


def _blocks(opened: BinaryIO, file: DataFile) -> Iterator[bytes]:
    """Blocks of whole lines, each ending in a line feed."""
    rest = b""
    while read := opened.read(BLOCK_BYTES):
        block = rest + read
        end = _last_line_end(block)
        if not end and len(block) > MAX_ROW_BYTES:
            raise DataNotReadyError(
                f"{file.name}: a row is longer than {MAX_ROW_BYTES >> 20} MiB",
                hint="Is this a text file, and this format?",
            )
        if end:
            yield _with_line_feeds(block[:end])
        rest = block[end:]
    if rest:
        yield _with_line_feeds(rest if rest.endswith((b"\n", b"\r")) else rest + b"\n")


def _last_line_end(block: bytes) -> int:
    """Where the last whole line ends; like Hadoop, a line ends in LF, CR LF or CR. A last CR may be half of a CR LF."""
    return block.rfind(b"\n") + 1 or block.rfind(b"\r", 0, -1) + 1


def _with_line_feeds(block: bytes) -> bytes:
    return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in block else block


@dataclass(frozen=True)
class _BlockReader:
    file: DataFile
    spec: TableSpec
    columns: tuple[str, ...]

    def batches(self, block: bytes, first_row: int) -> Iterator[pa.RecordBatch]:
        strings = self._strings(block, first_row)
        for start in range(0, strings.num_rows, BATCH_ROWS):
            part = strings.slice(start, BATCH_ROWS).combine_chunks()
            yield self._typed(part, first_row + start)

    def _strings(self, block: bytes, first_row: int) -> pa.Table:
        delimiter = self.spec.text.field_delimiter.encode()
        width = block[: block.index(b"\n")].count(delimiter) + 1
        try:
            return self._parse(block, width)
        except pa.ArrowInvalid:
            pass  # uneven rows, or text that is not UTF-8: slower, and able to tell
        lines = block[:-1].split(b"\n")
        self._check_utf8(lines, first_row)
        return self._parse(_evened(lines, len(self.columns), delimiter, self.spec.text.null_text), len(self.columns))

    def _parse(self, block: bytes, width: int) -> pa.Table:
        names = [*self.columns[:width], *(f"\0{index}" for index in range(len(self.columns), width))]
        wanted = [name for name in names if name in self.columns and not self.spec.excludes(name)]
        return pyarrow.csv.read_csv(
            pa.BufferReader(block),
            pyarrow.csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names),
            pyarrow.csv.ParseOptions(
                delimiter=self.spec.text.field_delimiter,
                quote_char=False,
                double_quote=False,
                escape_char=False,
                ignore_empty_lines=False,
            ),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=wanted or names[:1],  # an empty list would mean all columns,
                null_values=[self.spec.text.null_text],
                strings_can_be_null=True,
            ),
        )

    def _check_utf8(self, lines: list[bytes], first_row: int) -> None:
        for index, line in enumerate(lines):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                found = _quoted(line[: error.end + 1][-20:])
                raise DataNotReadyError(
                    f"{self.file.name}: row {first_row + index + 1} is not valid UTF-8: {found}",
                    hint="Write the file again as UTF-8, or remove the row.",
                ) from error

    def _typed(self, part: pa.Table, first_row: int) -> pa.RecordBatch:
        schema = cast(pa.Schema, self.spec.schema)
        columns = [
            self._column(part.column(field.name).combine_chunks(), field, first_row)
            if field.name in part.column_names
            else pa.nulls(part.num_rows, field.type)
            for field in schema
        ]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    def _column(self, strings: pa.Array, field: pa.Field, first_row: int) -> pa.Array:
        if isinstance(strings, pa.ChunkedArray):
            strings = pa.concat_arrays(strings.chunks) if strings.chunks else pa.array([], pa.string())
        delimiters = Delimiters.of(self.spec.text)
        try:
            values = convert(strings, field.type, delimiters)
        except (pa.ArrowInvalid, ValueError) as error:
            raise self._unparsable(strings, field, delimiters, first_row) from error
        bounded = text_length((self.spec.columns or {})[field.name])
        return _bounded(values, *bounded) if bounded else values

    def _unparsable(
        self, strings: pa.Array, field: pa.Field, delimiters: Delimiters, first_row: int
    ) -> DataNotReadyError:
        index = _first_bad(strings, field.type, delimiters)
        return DataNotReadyError(
            f"{self.file.name}: row {first_row + index + 1}, column {field.name!r}: "
            f"{_quoted(strings[index].as_py())} is not a {name_of(field.type)}",
            hint="Correct the row, or declare the column as string; are the columns in the order of the file?",
        )


def _evened(lines: list[bytes], width: int, delimiter: bytes, null_text: str) -> bytes:
    """Short rows padded with NULL, long rows cut."""
    padding = delimiter + null_text.encode()
    even = []
    for line in lines:
        found = line.count(delimiter) + 1
        if found < width:
            line += padding * (width - found)
        elif found > width:
            line = delimiter.join(line.split(delimiter, width)[:width])
        even.append(line)
    return b"\n".join(even) + b"\n"


def _first_bad(strings: pa.Array, data_type: pa.DataType, delimiters: Delimiters) -> int:
    """Index of the first value that does not convert, by bisection; one of them does not."""
    low, high = 0, len(strings)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(strings.slice(low, middle - low), data_type, delimiters)
            low = middle
        except (pa.ArrowInvalid, ValueError):
            high = middle
    return low


def _bounded(values: pa.Array, kind: str, length: int) -> pa.Array:
    """varchar(n) and char(n) hold n characters; the padding of a char is no part of its value."""
    cut = pc.utf8_slice_codeunits(values, 0, length)
    return pc.utf8_rtrim(cut, " ") if kind == "char" else cut


def _quoted(value: str | bytes) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
