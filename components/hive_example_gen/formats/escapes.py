"""Escaped and foreign bytes inside a text row, set aside as bytes that UTF-8 does not have.

A row is split at its delimiters by Arrow, which knows nothing of ESCAPED BY. So what a delimiter inside a value would
disturb is first replaced, at the same length, by bytes that no delimiter and no UTF-8 text has:

    ESC c, c in ASCII       FF, c + 80      c is taken as it is; n and r are LF and CR (Hive 2, HIVE-11785)
    ESC c, any other byte   FE, c
    a delimiter that belongs to the last column (`serialization.last.column.takes.rest`)    FD
    LF, CR inside a value of a SequenceFile                                                 FC, FB

and put back once the values lie in columns. Rows that hold these bytes themselves are no UTF-8 and are taken out first.
Source: LazyUtils.copyAndEscapeStringDataToText, LazyStruct.parse.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

ESCAPED, ESCAPED_OTHER, DELIMITER, LF, CR = 0xFF, 0xFE, 0xFD, 0xFC, 0xFB
RESERVED = bytes((CR, LF, DELIMITER, ESCAPED_OTHER, ESCAPED))
_LF_BYTE, _CR_BYTE = 0x0A, 0x0D


def marked(data: np.ndarray, escape: int, ends: np.ndarray | None = None) -> np.ndarray:
    """`data` (uint8) with its escapes set aside; itself where there is none.

    `ends`: where values end (the index after each), for data that is no lines; an escape never reaches over one, as it
    never reaches over a line feed.
    """
    places = np.flatnonzero(data == escape)
    if not len(places):
        return data
    first = np.ones(len(places), bool)  # of a run of escapes: every second one of a run is escaped itself
    first[1:] = np.diff(places) != 1
    if ends is not None:
        first |= np.isin(places, ends)
    begin = np.maximum.accumulate(np.where(first, places, 0))
    active = places[(places - begin) % 2 == 0]
    after = active + 1
    inside = after < len(data)
    inside[inside] = data[after[inside]] != _LF_BYTE if ends is None else ~np.isin(after[inside], ends)
    active, after = active[inside], after[inside]
    result = data.copy()
    ascii_follows = data[after] < 0x80
    result[active] = np.where(ascii_follows, ESCAPED, ESCAPED_OTHER)
    result[after[ascii_follows]] |= 0x80
    return result


def marked_values(values: pa.BinaryArray, escape: int) -> pa.BinaryArray:
    """`marked` for each value on its own."""
    offsets, data = buffers(values)
    return array_of(offsets, marked(data, escape, offsets), values)


def unescaped(values: pa.BinaryArray) -> pa.BinaryArray:
    """What the escapes stand for: the escape goes, the byte after it stays."""
    offsets, data = buffers(values)
    escapes = data >= ESCAPED_OTHER
    if not escapes.any():
        return values
    after = np.flatnonzero(data == ESCAPED) + 1
    result = data.copy()
    plain = data[after] & 0x7F
    result[after] = np.select([plain == ord("n"), plain == ord("r")], [_LF_BYTE, _CR_BYTE], plain)
    kept_before = np.concatenate(([0], np.cumsum(~escapes)))
    return array_of(kept_before[offsets].astype(np.int32), result[~escapes], values)


def restored(values: pa.BinaryArray, escape: int) -> pa.BinaryArray:
    """The bytes as they were: for binary columns, which Hive does not unescape, and for messages."""
    offsets, data = buffers(values)
    return array_of(offsets, restored_bytes(data, escape), values)


def restored_bytes(data: np.ndarray, escape: int) -> np.ndarray:
    result = data.copy()
    after = np.flatnonzero(data == ESCAPED) + 1
    result[after] &= 0x7F
    result[data >= ESCAPED_OTHER] = escape
    return result


def foreign_put_back(values: pa.BinaryArray, delimiter: int) -> pa.BinaryArray:
    """The delimiters, LF and CR of a value put back."""
    offsets, data = buffers(values)
    if not ((data >= CR) & (data <= DELIMITER)).any():
        return values
    table = np.arange(256, dtype=np.uint8)
    table[[CR, LF, DELIMITER]] = (_CR_BYTE, _LF_BYTE, delimiter)
    return array_of(offsets, table[data], values)


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
    valid = None
    if like.null_count:
        valid = pa.py_buffer(np.packbits(np.asarray(like.is_valid()), bitorder="little").tobytes())
    parts = [valid, pa.py_buffer(np.ascontiguousarray(offsets, np.int32)), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(pa.binary(), len(like), parts)
