"""LazySimpleSerDe: delimited columns without quotes, short rows padded with NULL, long rows cut.

Columnar: a block of lines goes through Arrow's CSV parser as raw bytes and is then typed column by column. What the
parser does not know (escapes, a last column that takes the rest, line feeds inside a value) is set aside before, at
the same length (see escapes). Only rows with too few or too many columns are touched one by one.
Source: LazySimpleSerDe, LazyStruct.parse.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.csv

from hivemill.common.errors import DataNotReadyError
from hivemill.components.hive_example_gen.formats.arrays import from_the_beginning
from hivemill.components.hive_example_gen.formats.serde.base import Lines, RowSerde
from hivemill.components.hive_example_gen.formats.text import escapes
from hivemill.components.hive_example_gen.formats.text.values import null_written

_BOM = b"\xef\xbb\xbf"
# Control characters that nobody has in a text, to stand for a delimiter that Arrow does not take: NUL, not ASCII.
_STAND_INS = (0x1C, 0x1D, 0x1E, 0x1F, *range(0x0E, 0x1B), *range(4, 9), 0x0B, 0x0C, 0x7F, 1, 2, 3)


class LazySimpleRows(RowSerde):
    escaped = True

    def batches(self, lines: Lines) -> Iterator[pa.RecordBatch]:
        yield from self._batches(lines, foreign=False)

    def batches_of_values(self, rows: list[bytes], numbers: np.ndarray) -> Iterator[pa.RecordBatch]:
        rows, numbers = self._without_reserved(*self.recoded_rows(rows, numbers))
        table = bytes.maketrans(b"\n\r", bytes((escapes.LF, escapes.CR)))
        yield from self._batches(Lines.joined([row.translate(table) for row in rows], numbers), foreign=True)

    def _batches(self, lines: Lines, foreign: bool) -> Iterator[pa.RecordBatch]:
        lines, delimiter = self._with_usual_delimiter(lines)
        if not foreign and (self.typed.rules.escape is not None or self.typed.rules.takes_rest):
            lines = self._checked(lines)
        if not len(lines):
            return
        block = lines.block
        if self.typed.rules.escape is not None:
            block = escapes.marked(lines.bytes(), self.typed.rules.escape).tobytes()
        table, lines, foreign = self._table(Lines(block, lines.numbers), delimiter, foreign)
        for part in self.in_batches(len(lines)):
            yield self._typed(table.slice(part.start, part.stop - part.start), lines, part, foreign)

    def _typed(self, table: pa.Table, lines: Lines, part: slice, foreign: bool) -> pa.RecordBatch:
        raw = {name: _one_chunk(table.column(name)) for name in table.column_names if name in self.typed.columns}
        if self.typed.rules.escape is not None:  # the parser takes only text for NULL
            null = self.typed.rules.null
            raw = {name: null_written(from_the_beginning(values), null) for name, values in raw.items()}
        if foreign:
            delimiter = self.typed.rules.levels[0][0]
            raw = {name: escapes.foreign_put_back(values, delimiter) for name, values in raw.items()}
        split = functools.cache(lines.split)
        return self.typed.marked_batch(
            raw, lines.numbers[part], lambda row: self._as_in_file(split()[part.start + row])
        )

    def _table(self, lines: Lines, delimiter: bytes, foreign: bool) -> tuple[pa.Table, Lines, bool]:
        """The raw columns, and the lines that are left where short or long rows are bad rows."""
        width = lines.block[: lines.block.index(b"\n")].count(delimiter) + 1
        fits = width <= len(self.columns) if self.typed.rules.takes_rest else True
        if width > 1 and lines.has_empty():
            fits = False  # the parser would fill an empty line with empty values; to Hive it has one column
        if fits and (width == len(self.columns) or self.bad.options.column_count == "hive"):
            try:
                table = self._parse(lines.block, width, delimiter)
                self._note(np.full(len(lines), width))
                return table, lines, foreign
            except pa.ArrowInvalid:
                pass  # uneven rows
        lines, foreign = self._evened(lines, delimiter, foreign)
        if not len(lines):
            return pa.table({}), lines, foreign
        return self._parse(lines.block, len(self.columns), delimiter), lines, foreign

    def _parse(self, block: bytes, width: int, delimiter: bytes) -> pa.Table:
        names = [*self.columns[:width], *(f"\0{index}" for index in range(len(self.columns), width))]
        wanted = [name for name in names if name in self.typed.columns]
        nulls = [] if self.typed.rules.escape is not None else [self.spec.text.null_text]
        if block.startswith(_BOM):
            block = _BOM + block  # the parser would take it away, not only at the beginning of a file
        reader = pyarrow.csv.open_csv(  # read_csv starts threads, which cost more than a small block
            pa.BufferReader(block),
            pyarrow.csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names),
            pyarrow.csv.ParseOptions(
                delimiter=delimiter.decode("ascii"),
                quote_char=False,
                double_quote=False,
                escape_char=False,
                ignore_empty_lines=False,
            ),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.binary()),
                include_columns=wanted or names[:1],  # an empty list would mean all columns
                null_values=nulls,
                strings_can_be_null=True,
            ),
        )
        return reader.read_all()

    def _evened(self, lines: Lines, delimiter: bytes, foreign: bool) -> tuple[Lines, bool]:
        """Short rows padded with NULL, long rows cut (or their rest kept in the last column); or both left out."""
        widths = _widths(lines, delimiter)
        odd = np.flatnonzero(widths != len(self.columns))
        rows = lines.split()
        if self.bad.options.column_count == "quarantine":
            for place in odd.tolist():
                message = f"{widths[place]} columns, the table has {len(self.columns)}"
                self.reject(lines.numbers[place], "column_count", message, self._as_in_file(rows[place]))
            return lines.kept(widths == len(self.columns)), foreign
        self._note(widths)
        padding = delimiter + self.typed.rules.null
        takes_rest = self.typed.rules.takes_rest
        for place in odd.tolist():
            missing = len(self.columns) - int(widths[place])
            if missing > 0:
                rows[place] += padding * missing
            else:
                parts = rows[place].split(delimiter, len(self.columns) - (1 if takes_rest else 0))
                if takes_rest:
                    parts[-1] = parts[-1].replace(delimiter, bytes((escapes.DELIMITER,)))
                    foreign = True
                rows[place] = delimiter.join(parts[: len(self.columns)])
        return Lines.joined(rows, lines.numbers), foreign

    def _note(self, widths: np.ndarray) -> None:
        self.bad.note("short_row", int((widths < len(self.columns)).sum()))
        if not self.typed.rules.takes_rest:
            self.bad.note("long_row", int((widths > len(self.columns)).sum()))

    def _with_usual_delimiter(self, lines: Lines) -> tuple[Lines, bytes]:
        delimiter = self.typed.rules.levels[0]
        if 0 < delimiter[0] < 0x80:
            return lines, delimiter
        return self._with_stand_in(lines, delimiter)

    def _with_stand_in(self, lines: Lines, delimiter: bytes) -> tuple[Lines, bytes]:
        others = {level[0] for level in self.typed.rules.levels[1:]} | {self.typed.rules.escape}
        for code in _STAND_INS:
            if code not in others and code not in lines.block:
                stand_in = bytes((code,))
                return Lines(lines.block.replace(delimiter, stand_in), lines.numbers), stand_in
        raise DataNotReadyError(
            f"{self.file.name} holds every control character there is", hint="Is this a text file, and this format?"
        )

    def _checked(self, lines: Lines) -> Lines:
        """Rows with bytes that no UTF-8 has left out: escapes are set aside as such bytes."""
        if not (lines.bytes() >= escapes.RESERVED[0]).any():
            return lines
        rows, numbers = self._without_reserved(lines.split(), lines.numbers)
        return Lines.joined(rows, numbers)

    def _without_reserved(self, rows: list[bytes], numbers: np.ndarray) -> tuple[list[bytes], np.ndarray]:
        good = np.ones(len(rows), bool)
        for place, row in enumerate(rows):
            if row.translate(None, escapes.RESERVED) != row:
                good[place] = False
                self.reject(numbers[place], "encoding", "not valid UTF-8", row)
        return [row for row, keep in zip(rows, good.tolist(), strict=True) if keep], numbers[good]

    def _as_in_file(self, line: bytes) -> bytes:
        data = np.frombuffer(line, np.uint8)
        if self.typed.rules.escape is not None:
            data = escapes.restored_bytes(data, self.typed.rules.escape)
        return data.tobytes()


def _widths(lines: Lines, delimiter: bytes) -> np.ndarray:
    """The number of columns of each line."""
    places = np.flatnonzero(lines.bytes() == delimiter[0])
    before = np.searchsorted(places, lines.ends())
    return np.diff(before, prepend=0) + 1


def _one_chunk(column: pa.ChunkedArray) -> pa.BinaryArray:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.chunks else pa.array([], pa.binary())
