"""OpenCSVSerde: quoted columns, each of them a string; a row is a line, so a line feed in quotes ends it.

Blocks without odd rows go through Arrow's CSV parser. What opencsv reads in a way of its own (escapes, quotes in the
middle of a value, blanks before a quote) is read row by row by the same rules and written again as plain CSV.
An empty line is NULL in every column; an empty column is an empty string, never NULL. A quote that is never closed
makes a bad row: Hive loses the columns behind it.
Source: org.apache.hadoop.hive.serde2.OpenCSVSerde, au.com.bytecode.opencsv.CSVParser 2.3.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.csv

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.serde.base import Lines, RowSerde
from hivemill.components.hive_example_gen.table.spec import TableSpec

_BOM = b"\xef\xbb\xbf"
_DEFAULTS = {"separatorChar": ",", "quoteChar": '"', "escapeChar": "\\"}


class OpenCsvRows(RowSerde):
    def __init__(self, file: DataFile, spec: TableSpec, bad: BadRows):
        super().__init__(file, spec, bad)
        properties = {name.lower(): value for name, value in spec.serde_properties.items()}
        given = {name: properties.get(name.lower()) or default for name, default in _DEFAULTS.items()}
        if given["escapeChar"][0] == '"':  # opencsv's writer means "none" by it; its reader then takes its own default
            given["escapeChar"] = _DEFAULTS["escapeChar"]
        self.separator, self.quote, self.escape = (value[0] for value in given.values())
        if len({self.separator, self.quote, self.escape}) < 3:
            raise ConfigError(
                f"separatorChar {self.separator!r}, quoteChar {self.quote!r} and escapeChar {self.escape!r} must differ"
            )

    def batches(self, lines: Lines) -> Iterator[pa.RecordBatch]:
        plain = self._plain_lines(lines)
        rows = lines.split()
        for part in self.in_batches(len(lines)):
            yield self._batch(rows[part], lines.numbers[part], plain[part])

    def batches_of_values(self, rows: list[bytes], numbers: np.ndarray) -> Iterator[pa.RecordBatch]:
        rows, numbers = self.recoded_rows(rows, numbers)
        for part in self.in_batches(len(rows)):
            yield self._batch(rows[part], numbers[part], np.zeros(part.stop - part.start, bool))

    def _batch(self, rows: list[bytes], numbers: np.ndarray, plain: np.ndarray) -> pa.RecordBatch:
        """`plain`: which rows Arrow's parser reads as opencsv does; the others are read one by one."""
        good = np.ones(len(rows), bool)
        found: list[list[bytes | None]] = []
        for place in np.flatnonzero(~plain).tolist():
            fields = self._fields(rows[place], int(numbers[place]))
            good[place] = fields is not None
            if fields is not None:
                found.append(fields)
        parsed = self._parsed([row for row, is_plain in zip(rows, plain.tolist(), strict=True) if is_plain])
        raw = self._merged(parsed, found, plain[good])
        kept = np.flatnonzero(good)
        return self.typed.marked_batch(raw, numbers[good], lambda place: rows[kept[place]])

    def _fields(self, row: bytes, number: int) -> list[bytes | None] | None:
        """As many fields as the table has columns; None for a bad row."""
        fields, width = self._row(row), len(self.columns)
        if fields is None:
            self.reject(number, "structure", "a quote is never closed", row)
        elif len(fields) != width and self.bad.options.column_count == "quarantine":
            self.reject(number, "column_count", f"{len(fields)} columns, the table has {width}", row)
        else:
            self.bad.note("short_row", len(fields) < width)
            self.bad.note("long_row", len(fields) > width)
            return [*fields[:width], *[None] * (width - len(fields))]
        return None

    def _parsed(self, rows: list[bytes]) -> pa.Table | None:
        if not rows:
            return None
        # What is escaped in plain rows is nothing that needs it: opencsv drops the escape.
        block = (b"\n".join(rows) + b"\n").replace(self.escape.encode(), b"")
        reader = pyarrow.csv.open_csv(  # read_csv starts threads, which cost more than a small block
            pa.BufferReader(_BOM + block if block.startswith(_BOM) else block),
            pyarrow.csv.ReadOptions(use_threads=False, block_size=len(block) + 8, column_names=list(self.columns)),
            pyarrow.csv.ParseOptions(delimiter=self.separator, quote_char=self.quote, ignore_empty_lines=False),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(self.columns, pa.binary()), null_values=[], strings_can_be_null=False
            ),
        )
        return reader.read_all()

    def _merged(self, parsed: pa.Table | None, found: list[list[bytes | None]], plain: np.ndarray):
        """Columns of both kinds of rows in the order of the file."""
        one_by_one = zip(*found, strict=True) if found else [()] * len(self.columns)
        others = {name: pa.array(values, pa.binary()) for name, values in zip(self.columns, one_by_one, strict=True)}
        if parsed is None:
            return others
        columns = {name: pa.concat_arrays(parsed.column(name).chunks) for name in self.columns}
        if not found:
            return columns
        order = np.where(plain, np.cumsum(plain) - 1, len(parsed) + np.cumsum(~plain) - 1)
        return {name: pa.concat_arrays([columns[name], others[name]]).take(pa.array(order)) for name in self.columns}

    def _plain_lines(self, lines: Lines) -> np.ndarray:
        """Which lines have all columns, no escaped quote or escape, and quotes only around or doubled inside fields.

        Of those opencsv and Arrow make the same.
        """
        if not (self.separator + self.quote + self.escape).isascii() or not len(lines):
            return np.zeros(len(lines), bool)
        data, ends = lines.bytes(), lines.ends()
        quotes = np.flatnonzero(data == ord(self.quote))
        quote_line = np.searchsorted(ends, quotes)
        before_line = np.searchsorted(quotes, np.concatenate(([0], ends[:-1] + 1)))
        opening = (np.arange(len(quotes)) - before_line[quote_line]) % 2 == 0
        borders = np.asarray([ord(self.separator), ord(self.quote), 10], np.uint8)
        neighbour = np.where(opening, data[quotes - 1], data[quotes + 1])
        misplaced = ~np.isin(neighbour, borders) & ~(opening & (quotes == 0))
        plain = np.bincount(quote_line, minlength=len(ends)) % 2 == 0
        plain[quote_line[misplaced]] = False
        escapes = np.flatnonzero(data == ord(self.escape))
        meant = np.isin(data[escapes + 1], np.asarray([ord(self.quote), ord(self.escape)], np.uint8))
        plain[np.searchsorted(ends, escapes[meant])] = False
        separators = np.flatnonzero(data == ord(self.separator))
        line = np.searchsorted(ends, separators)
        outside = (np.searchsorted(quotes, separators) - before_line[line]) % 2 == 0
        widths = np.bincount(line[outside], minlength=len(ends)) + 1
        starts = np.concatenate(([0], ends[:-1] + 1))
        return plain & (widths == len(self.columns)) & (ends > starts)

    def _row(self, row: bytes) -> list[bytes] | None:
        """The fields of a row as opencsv reads them; None for a quote that is never closed."""
        text = row.decode(errors="surrogateescape")
        fields = opencsv_fields(text, self.separator, self.quote, self.escape)
        return None if fields is None else [field.encode(errors="surrogateescape") for field in fields]


def opencsv_fields(text: str, separator: str, quote: str, escape: str) -> list[str] | None:
    """CSVReader.readNext on a text of one row: no field for an empty text, None for a quote that is never closed.

    In quotes or inside a field an escape or a quote before a quote (an escape also before an escape) stands for the
    second one; an escape elsewhere is dropped. A quote in the middle of a field stays, and begins or ends the quoting
    all the same; blanks before it are dropped.
    """
    if not text:
        return []
    fields: list[str] = []
    field: list[str] = []
    quoted = inside = False
    place, end = 0, len(text)
    while place < end:
        letter = text[place]
        following = text[place + 1] if place + 1 < end else ""
        if letter == escape:
            if (quoted or inside) and following and following in (quote, escape):
                field.append(following)
                place += 1
        elif letter == quote:
            if (quoted or inside) and following == quote:
                field.append(quote)
                place += 1
            else:
                if place > 2 and text[place - 1] != separator and following and following != separator:
                    _quote_in_the_middle(field, quote)
                quoted = not quoted
            inside = not inside
        elif letter == separator and not quoted:
            fields.append("".join(field))
            field = []
            inside = False
        else:
            field.append(letter)
            inside = True
        place += 1
    fields.append("".join(field))
    return None if quoted else fields


def _quote_in_the_middle(field: list[str], quote: str) -> None:
    if field and all(map(str.isspace, field)):
        field.clear()
    else:
        field.append(quote)
