"""Escaped and foreign bytes inside a text row, set aside as bytes that UTF-8 does not have.

A row is split at its delimiters by Arrow, which knows nothing of ESCAPED BY. So what a delimiter inside a value would
disturb is first replaced, at the same length, by bytes that no delimiter and no UTF-8 text has:

    ESC c, c below 40      FF, 80 + c         c is taken as it is; n and r are LF and CR (Hive 2, HIVE-11785)
    ESC c, c below 80      FE, 80 + c - 40
    ESC c, any other       FD, c
    FC   a delimiter that belongs to the last column (`serialization.last.column.takes.rest`)
    FB   LF inside a value of a SequenceFile
    FA   CR inside of one

and put back once the values lie in columns. Rows that hold these bytes themselves are no UTF-8 and are taken out first.
Source: LazyUtils.copyAndEscapeStringDataToText, LazyStruct.parse.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from hivemill.components.hive_example_gen.formats.arrays import array_of, buffers

LOW, HIGH, OTHER, DELIMITER, LF, CR = 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0xFA
RESERVED = bytes(range(CR, LOW + 1))
_LF_BYTE, _CR_BYTE = 0x0A, 0x0D
_MEANT = np.arange(256, dtype=np.uint8)
_MEANT[[ord("n"), ord("r")]] = (_LF_BYTE, _CR_BYTE)


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
    following = data[after]
    result[active] = np.select([following < 0x40, following < 0x80], [LOW, HIGH], OTHER)
    in_ascii = following < 0x80
    result[after[in_ascii]] = 0x80 | (following[in_ascii] & 0x3F)
    return result


def marked_values(values: pa.BinaryArray, escape: int) -> pa.BinaryArray:
    """`marked` for each value on its own."""
    offsets, data = buffers(values)
    return array_of(offsets, marked(data, escape, offsets), values)


def unescaped(values: pa.BinaryArray) -> pa.BinaryArray:
    """What the escapes stand for: the escape goes, the byte after it stays."""
    offsets, data = buffers(values)
    escapes = data >= OTHER
    if not escapes.any():
        return values
    after, plain = _escaped_ascii(data)
    result = data.copy()
    result[after] = _MEANT[plain]
    kept_before = np.concatenate(([0], np.cumsum(~escapes)))
    return array_of(kept_before[offsets].astype(np.int32), result[~escapes], values)


def restored(values: pa.BinaryArray, escape: int) -> pa.BinaryArray:
    """The bytes as they were: for binary columns, which Hive does not unescape, and for messages."""
    offsets, data = buffers(values)
    return array_of(offsets, restored_bytes(data, escape), values)


def restored_bytes(data: np.ndarray, escape: int) -> np.ndarray:
    after, plain = _escaped_ascii(data)
    result = data.copy()
    result[after] = plain
    result[data >= OTHER] = escape
    return result


def _escaped_ascii(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the ASCII bytes lie that were escaped, and which they are."""
    before = np.flatnonzero(data >= HIGH)
    after = before + 1
    return after, (data[after] & 0x3F) | np.where(data[before] == HIGH, 0x40, 0).astype(np.uint8)


def foreign_put_back(values: pa.BinaryArray, delimiter: int) -> pa.BinaryArray:
    """The delimiters, LF and CR of a value put back."""
    offsets, data = buffers(values)
    if not ((data >= CR) & (data <= DELIMITER)).any():
        return values
    table = np.arange(256, dtype=np.uint8)
    table[[CR, LF, DELIMITER]] = (_CR_BYTE, _LF_BYTE, delimiter)
    return array_of(offsets, table[data], values)
