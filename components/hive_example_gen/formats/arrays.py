"""Binary arrays by their buffers.

Kernels of pyarrow 18 give wrong bytes for some arrays that are slices: `if_else` with a NULL scalar, `ascii_lower` with
NULLs. So what comes in is laid out from its buffer's beginning first, and NULLs are set here.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def buffers(values: pa.BinaryArray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (int32, from 0, one more than values) and bytes (uint8) of a binary or string array."""
    _, offset_buffer, data_buffer = values.buffers()
    if not len(values) or offset_buffer is None:
        return np.zeros(len(values) + 1, np.int32), np.zeros(0, np.uint8)
    offsets = np.frombuffer(offset_buffer, np.int32)[values.offset : values.offset + len(values) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.zeros(0, np.uint8)
    return offsets - offsets[0], data[offsets[0] : offsets[-1]]


def array_of(offsets: np.ndarray, data: np.ndarray, like: pa.BinaryArray) -> pa.BinaryArray:
    """A binary array of `offsets` and `data`, NULL where `like` is."""
    valid = _bitmap(np.asarray(like.is_valid())) if like.null_count else None
    parts = [valid, pa.py_buffer(np.ascontiguousarray(offsets, np.int32)), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(pa.binary(), len(like), parts)


def from_the_beginning(values: pa.BinaryArray) -> pa.BinaryArray:
    """The same values without offset, copied if they have one."""
    _, offset_buffer, _ = values.buffers()
    if not values.offset and (
        offset_buffer is None or not len(values) or np.frombuffer(offset_buffer, np.int32, 1)[0] == 0
    ):
        return values
    return array_of(*buffers(values), values)


def null_where(values: pa.BinaryArray, is_null: pa.BooleanArray | np.ndarray) -> pa.BinaryArray:
    """`values` with NULL where the mask says so (a NULL of the mask says no); nothing is copied but the mask."""
    mask = np.asarray(is_null.fill_null(False)) if isinstance(is_null, pa.Array) else is_null
    if not mask.any():
        return values
    _, offset_buffer, data_buffer = values.buffers()
    valid = _bitmap(np.asarray(values.is_valid()) & ~mask)
    offsets = offset_buffer.slice(4 * values.offset, 4 * (len(values) + 1))
    return pa.Array.from_buffers(values.type, len(values), [valid, offsets, data_buffer])


def _bitmap(valid: np.ndarray) -> pa.Buffer:
    return pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
