"""Rows of typed batches whose text is no UTF-8: set aside, as text formats do. Parquet and ORC check nothing of it.

Arrow checks a column of whole batches in one go; only where that fails, the rows are looked for by halves.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from components.hive_example_gen.bad_rows import BadRows
from components.hive_example_gen.formats.opened import DataFile


def without_undecodable(batch: pa.RecordBatch, file: DataFile, first_row: int, bad: BadRows) -> pa.RecordBatch:
    """`batch` without the rows that hold such text; each counts once, for its first such column.

    Args:
        first_row: the number in the file of the batch's first row, from 0.
    """
    blamed: dict[int, str] = {}
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if _holds_text(field.type) and not _is_valid(column):
            for row in _undecodable_rows(column, 0, len(column)):
                blamed.setdefault(row, field.name)
    if not blamed:
        return batch
    for row, name in sorted(blamed.items()):
        found = b", ".join(_texts(batch.column(name).slice(row, 1)))
        bad.add(file.name, first_row + row + 1, "encoding", "not valid UTF-8", found, column=name)
    good = np.ones(batch.num_rows, bool)
    good[list(blamed)] = False
    return batch.filter(pa.array(good))


def _holds_text(data_type: pa.DataType) -> bool:
    if pa.types.is_nested(data_type):
        return any(_holds_text(data_type.field(index).type) for index in range(data_type.num_fields))
    return pa.types.is_string(data_type) or pa.types.is_large_string(data_type)


def _is_valid(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _undecodable_rows(column: pa.Array, start: int, stop: int) -> Iterator[int]:
    """Of [start, stop). Rows are copied: a slice of a nested column is checked with everything behind it."""
    if _is_valid(column.take(pa.array(np.arange(start, stop)))):
        return
    if stop - start == 1:
        yield start
        return
    middle = (start + stop) // 2
    yield from _undecodable_rows(column, start, middle)
    yield from _undecodable_rows(column, middle, stop)


def _texts(column: pa.Array) -> Iterator[bytes]:
    """All text of a column, as bytes."""
    types = pa.types
    if types.is_struct(column.type):
        for child in column.flatten():
            yield from _texts(child)
    elif types.is_map(column.type):
        entries = slice(column.offsets[0].as_py(), column.offsets[-1].as_py())
        yield from _texts(column.keys[entries])
        yield from _texts(column.items[entries])
    elif types.is_nested(column.type):
        yield from _texts(column.flatten())
    elif _holds_text(column.type):
        binary = pa.large_binary() if types.is_large_string(column.type) else pa.binary()
        yield from (text for text in column.cast(binary).to_pylist() if text is not None)
