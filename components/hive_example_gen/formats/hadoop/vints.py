"""Hadoop's numbers of variable length, many at a time: one byte for -112 to 127, else a length and up to 8 bytes.

Source: org.apache.hadoop.io.WritableUtils (readVLong); Hive's LazyBinaryUtils writes the same.
"""

from __future__ import annotations

import numpy as np


class Damaged(ValueError):
    """Bytes that break their format; the message says how. A reader makes a DataNotReadyError of it."""


PADDING = 16
"""So many bytes must follow the last position that `read` is given."""


def _widths() -> np.ndarray:
    first = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int64)
    return np.where(first >= -112, 1, np.where(first < -120, -119 - first, -111 - first))


WIDTHS = _widths()
"""Bytes of a number, its first one included, by that first byte: 1 to 9."""
_WIDTH_LIST = WIDTHS.tolist()


def read(data: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers that begin at `start` and how many bytes each has (both int64, as long as `start`).

    `data` (uint8) reaches PADDING bytes beyond the last start.
    """
    first = data[start]
    widths = WIDTHS[first]
    values = first.view(np.int8).astype(np.int64)
    (longer,) = np.nonzero(widths > 1)
    if longer.size:
        values[longer] = _long_values(data, start[longer], values[longer], widths[longer])
    return values, widths


def _long_values(data: np.ndarray, start: np.ndarray, first: np.ndarray, widths: np.ndarray) -> np.ndarray:
    magnitude = np.zeros(len(start), np.uint64)
    for place in range(1, int(widths.max())):
        within = place < widths
        shifted = (magnitude << np.uint64(8)) | data[start + place].astype(np.uint64)
        magnitude = np.where(within, shifted, magnitude)
    values = magnitude.view(np.int64)
    return np.where(first < -120, ~values, values)


def read_all(packed: bytes) -> np.ndarray:
    """All numbers of a buffer that holds nothing else (int64). Raises Damaged where the last one is cut off."""
    data = np.frombuffer(packed + bytes(PADDING), np.uint8)
    inner = data[: len(packed)]
    if (WIDTHS[inner] == 1).all():
        return inner.view(np.int8).astype(np.int64)
    starts, place = [], 0
    while place < len(packed):
        starts.append(place)
        place += _WIDTH_LIST[packed[place]]
    if place > len(packed):
        raise Damaged("a number is cut off")
    return read(data, np.array(starts, np.int64))[0]


def read_one(packed: bytes | memoryview, place: int) -> tuple[int, int]:
    """The number at `place` and where the next thing begins. Raises Damaged where the buffer ends before."""
    if place >= len(packed):
        raise Damaged("a number is cut off")
    width = _WIDTH_LIST[packed[place]]
    first = packed[place] - 256 if packed[place] > 127 else packed[place]
    if width == 1:
        return first, place + 1
    if place + width > len(packed):
        raise Damaged("a number is cut off")
    value = int.from_bytes(packed[place + 1 : place + width], "big")
    if value >= 1 << 63:
        value -= 1 << 64  # eight bytes are Java's long, as in `read`
    return (~value if first < -120 else value), place + width
