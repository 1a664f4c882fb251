"""Rows of typed batches whose text is no UTF-8: set aside, as text formats do. Parquet and ORC check nothing of it.

Arrow checks a column of whole batches in one go; only where that fails, the rows are looked for by halves.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile


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
        found = _as_bytes(batch.column(name).slice(row, 1))
        bad.add(file.name, first_row + row + 1, "encoding", "not valid UTF-8", found, column=name)
    good = np.ones(batch.num_rows, bool)
    good[list(blamed)] = False
    return batch.filter(pa.array(good))


def _holds_text(data_type: pa.DataType) -> bool:
    types = pa.types
    if types.is_dictionary(data_type):
        return _holds_text(data_type.value_type)
    if types.is_nested(data_type):
        return any(_holds_text(data_type.field(index).type) for index in range(data_type.num_fields))
    return types.is_string(data_type) or types.is_large_string(data_type)


def _is_valid(column: pa.Array) -> bool:
    try:
        for text in _texts(column):
            text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _undecodable_rows(column: pa.Array, start: int, stop: int) -> Iterator[int]:
    """Of [start, stop)."""
    if _is_valid(column.slice(start, stop - start)):
        return
    if stop - start == 1:
        yield start
        return
    middle = (start + stop) // 2
    yield from _undecodable_rows(column, start, middle)
    yield from _undecodable_rows(column, middle, stop)


def _texts(column: pa.Array) -> Iterator[pa.Array]:
    """The text within a column, without what lies beside it: a slice of a nested array keeps all of its values."""
    types = pa.types
    if not _holds_text(column.type):
        return
    if types.is_dictionary(column.type):
        yield from _texts(column.dictionary_decode())
    elif types.is_struct(column.type):
        for child in column.flatten():
            yield from _texts(child)
    elif types.is_map(column.type):
        entries = slice(column.offsets[0].as_py(), column.offsets[-1].as_py())
        yield from _texts(column.keys[entries])
        yield from _texts(column.items[entries])
    elif types.is_nested(column.type):
        yield from _texts(column.flatten())
    else:
        yield column


def _as_bytes(column: pa.Array) -> bytes:
    """All text of a column."""
    found = (text.cast(pa.large_binary()).to_pylist() for text in _texts(column))
    return b", ".join(value for values in found for value in values if value is not None)
