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

from common.errors import ConfigError
from components.hive_example_gen.bad_rows import BadRows
from components.hive_example_gen.formats.opened import DataFile
from components.hive_example_gen.formats.row_serdes.base import Lines, RowSerde
from components.hive_example_gen.table_spec import TableSpec

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
        yield from self._batches(lines.split(), lines.numbers)

    def batches_of_values(self, rows: list[bytes], numbers: np.ndarray) -> Iterator[pa.RecordBatch]:
        yield from self._batches(*self.recoded_rows(rows, numbers))

    def _batches(self, rows: list[bytes], numbers: np.ndarray) -> Iterator[pa.RecordBatch]:
        for part in self.in_batches(len(rows)):
            yield self._batch(rows[part], numbers[part])

    def _batch(self, rows: list[bytes], numbers: np.ndarray) -> pa.RecordBatch:
        good = np.ones(len(rows), bool)
        width = len(self.columns)
        found: list[list[bytes | None]] = []
        for place, row in enumerate(rows):
            fields = self._row(row)
            if fields is None:
                self.reject(numbers[place], "structure", "a quote is never closed", row)
            elif len(fields) != width and self.bad.options.column_count == "quarantine":
                self.reject(numbers[place], "column_count", f"{len(fields)} columns, the table has {width}", row)
            else:
                self.bad.note("short_row", len(fields) < width)
                self.bad.note("long_row", len(fields) > width)
                found.append([*fields[:width], *[None] * (width - len(fields))])
                continue
            good[place] = False
        columns = zip(*found, strict=True) if found else [()] * width
        raw = {name: pa.array(column, pa.binary()) for name, column in zip(self.columns, columns, strict=True)}
        kept = [row for row, keep in zip(rows, good.tolist(), strict=True) if keep]
        return self.typed.marked_batch(raw, numbers[good], kept.__getitem__)

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
                    if field and all(map(str.isspace, field)):
                        field = []
                    else:
                        field.append(quote)
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
