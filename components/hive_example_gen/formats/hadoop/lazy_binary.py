"""Rows of LazyBinarySerDe: each value of a SequenceFile is one struct without a length, decoded a column at a time.

A row that ends early lacks the columns that were added later: they are NULL, and the row is counted as short; bytes
after the last declared column belong to columns that were dropped and are ignored, as Hive does, and counted as long.
With `bad_rows.column_count: quarantine` such rows are left out. Timestamps and dates are read as Hive 3.1 and later
read them, as stored; `writer.time.zone` in source.serde_properties says that older Hive wrote instants (calendars.py).

Source: org.apache.hadoop.hive.serde2.lazybinary.LazyBinaryStruct.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from hivemill.components.hive_example_gen.formats.assembly import Assembly
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.columnar import BATCH_ROWS
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.hadoop.lazy_binary_primitives import (
    COLUMN_COUNT,
    OK,
    BinaryCells,
    padded,
)
from hivemill.components.hive_example_gen.formats.hadoop.lazy_binary_values import Fields, decode, fields, spread
from hivemill.components.hive_example_gen.table.spec import TableSpec


class LazyBinaryRows:
    """The RowSerde of LazyBinary: binary values only, for it has no lines."""

    def __init__(self, file: DataFile, spec: TableSpec, bad: BadRows):
        self.bad = bad
        self.file = file
        self.assembly = Assembly.declared(file, spec, bad)

    def from_values(self, values: pa.BinaryArray, first_row: int) -> Iterator[pa.RecordBatch]:
        """The rows of `values`, one each; `first_row` counts from 0. Raises DataNotReadyError, ConfigError."""
        for start in range(0, len(values), BATCH_ROWS):
            yield from self._batches(values.slice(start, BATCH_ROWS), first_row + start)

    def _batches(self, values: pa.BinaryArray, first_row: int) -> Iterator[pa.RecordBatch]:
        layout = self.assembly.layout
        lying = fields(cells_of(values), layout.types)
        self._check_count(lying)
        columns = {}
        for field, (present, here) in zip(layout, lying.found, strict=True):
            if field.name in self.assembly.wanted:
                array, own = decode(here, field.type)
                whole = np.zeros(len(values), np.uint8)
                whole[present] = own
                whole[lying.problem != OK] = OK  # said once, for the row
                columns[field.name] = (spread(array, present, len(values)), whole)
        yield from self.assembly.batches(columns, lying.problem, first_row, lambda row: values[row].as_py() or b"")

    def _check_count(self, lying: Fields) -> None:
        long = lying.left_over > 0
        if self.bad.options.column_count == "quarantine":
            lying.problem[(long | lying.short) & (lying.problem == OK)] = COLUMN_COUNT
        self.bad.note("short_row", int((lying.short & (lying.problem == OK)).sum()))
        self.bad.note("long_row", int((long & (lying.problem == OK)).sum()))


def cells_of(values: pa.BinaryArray) -> BinaryCells:
    """Where each value lies in one padded buffer. Only whole arrays without NULL."""
    offsets = np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1]
    low, high = int(offsets[0]), int(offsets[-1])
    data = values.buffers()[2]
    bounds = offsets.astype(np.int64) - low
    return BinaryCells(padded(memoryview(data)[low:high].tobytes() if data else b""), bounds[:-1], bounds[1:])
