"""The cells of an RCFile's columns to typed columns: ColumnarSerDe (text) and LazyBinaryColumnarSerDe.

Both take columns by position in the layout; a column beyond those of the file is NULL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
import pyarrow as pa

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.formats.assembly import Assembly
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.hadoop.lazy_binary_primitives import BinaryCells, binary_array
from hivemill.components.hive_example_gen.formats.hadoop.lazy_binary_values import decode, spread
from hivemill.components.hive_example_gen.formats.text.typed_columns import TypedColumns
from hivemill.components.hive_example_gen.formats.text.values import null_written
from hivemill.components.hive_example_gen.table.serdes import COLUMN_SERDES
from hivemill.components.hive_example_gen.table.spec import TableSpec

_EMPTY_STRING = 0xBF
"""LazyBinaryColumnarSerDe.INVALID_UTF__SINGLE_BYTE: no UTF-8 text begins with it."""


class ColumnDecoder(Protocol):
    """Attributes: wanted: positions of the columns that are read."""

    wanted: frozenset[int]

    def batches(self, cells: Mapping[int, BinaryCells], rows: int, first_row: int) -> Iterator[pa.RecordBatch]:
        """The rows whose columns lie in `cells` (by position, as far as the file has them)."""
        ...


def column_decoder(file: DataFile, spec: TableSpec, bad: BadRows) -> ColumnDecoder:
    """By the table's SerDe. Raises ConfigError: no columns are declared, or the SerDe is one for rows."""
    if spec.columns is None:
        raise ConfigError(
            f"{file.name} is an RCFile, which does not name its columns", hint="Give source.ddl or source.columns."
        )
    serde = spec.serde_for("rcfile")
    if serde not in COLUMN_SERDES:
        raise ConfigError(
            f"source.serde is {serde}, which reads whole rows; an RCFile holds columns",
            hint=f"RCFiles are read by {' or '.join(COLUMN_SERDES)}.",
        )
    return _TextColumns(file, spec, bad) if serde == "columnar" else _LazyBinaryColumns(file, spec, bad)


class _LazyBinaryColumns:
    def __init__(self, file: DataFile, spec: TableSpec, bad: BadRows):
        self.assembly = Assembly.declared(file, spec, bad)
        self.strings = frozenset(
            name for name, text in (spec.layout or {}).items() if text.strip().lower() == "string"
        )  # varchar and char have no mark for an empty value: it is NULL, as in Hive
        names = self.assembly.layout.names
        self.wanted = frozenset(index for index, name in enumerate(names) if name in self.assembly.wanted)

    def batches(self, cells: Mapping[int, BinaryCells], rows: int, first_row: int) -> Iterator[pa.RecordBatch]:
        layout = self.assembly.layout
        columns = {}
        for index in self.wanted:
            field = layout.field(index)
            if index in cells:
                columns[field.name] = self._column(cells[index], field)
            else:
                columns[field.name] = pa.nulls(rows, field.type), np.zeros(rows, np.uint8)
        no_problem = np.zeros(rows, np.uint8)
        yield from self.assembly.batches(columns, no_problem, first_row, lambda row: _raw(cells, row))

    def _column(self, cells: BinaryCells, field: pa.Field) -> tuple[pa.Array, np.ndarray]:
        lengths = cells.lengths
        (present,) = np.nonzero(lengths)
        here = cells.at(present)
        if field.name in self.strings:
            is_empty = (here.lengths == 1) & (here.data[here.start] == _EMPTY_STRING)
            here = here._replace(end=here.end - is_empty)
        array, own = decode(here, field.type)
        problem = np.zeros(len(lengths), np.uint8)
        problem[present] = own
        return spread(array, present, len(lengths)), problem


class _TextColumns:
    def __init__(self, file: DataFile, spec: TableSpec, bad: BadRows):
        self.typed = TypedColumns(file, spec, bad)
        self.null = spec.text.null_text.encode()
        self.names = list(spec.layout or {})
        self.wanted = frozenset(index for index, name in enumerate(self.names) if not spec.excludes(name))

    def batches(self, cells: Mapping[int, BinaryCells], rows: int, first_row: int) -> Iterator[pa.RecordBatch]:
        raw = {self.names[index]: self._strings(cells[index]) for index in sorted(self.wanted) if index in cells}
        yield self.typed.batch(raw, first_row, num_rows=rows, excerpt=lambda row: _raw(cells, row))

    def _strings(self, cells: BinaryCells) -> pa.Array:
        return null_written(binary_array(cells), self.null)


def _raw(cells: Mapping[int, BinaryCells], row: int) -> bytes:
    return b"\x01".join(c.data[c.start[row] : c.end[row]].tobytes() for _, c in sorted(cells.items()))
