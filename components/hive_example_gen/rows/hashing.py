"""XXH64 of Arrow columns, without a Python object per row: the same value on every machine, and in SQL.

The hash of a row is that of its key columns, each with the hash of the ones before as its seed; a NULL leaves the hash
as it is. That is Spark SQL's `xxhash64(...)`, whose first seed is 42, with integers, booleans, dates (days) and
timestamps (microseconds) as BIGINT. A column that widens from INT to BIGINT therefore keeps its hashes.
Source: the xxHash specification (XXH64), Spark's expressions/XXH64.java for the chaining.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa

KeyKind = Literal["integer", "text", "boolean", "date", "timestamp"]
"""What two columns must have in common for their values to be compared."""

FIRST_SEED = 42
SECOND_SEED = 0x9E3779B97F4A7C15
"""Of the second half of `hashes_128`."""

_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(prime)
    for prime in (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
)
_STRIPE_BYTES = 32


def key_kind(data_type: pa.DataType) -> KeyKind | None:
    """None for what cannot be a key: fractions (0.1 is not 0.1 everywhere), decimals and nested types."""
    types = pa.types
    if types.is_dictionary(data_type):
        return key_kind(data_type.value_type)
    if types.is_boolean(data_type):
        return "boolean"
    if types.is_integer(data_type):
        return "integer"
    if types.is_date(data_type):
        return "date"
    if types.is_timestamp(data_type):
        return "timestamp"
    text = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return "text" if any(is_text(data_type) for is_text in text) else None


def hashes(columns: Sequence[pa.Array], seed: int = FIRST_SEED) -> np.ndarray:
    """uint64 [rows]: the hash of each row of `columns`, which have a `key_kind`."""
    seeds = np.full(len(columns[0]), seed, np.uint64)
    for column in columns:
        seeds = _chained(column, seeds)
    return seeds


def hashes_128(columns: Sequence[pa.Array]) -> tuple[np.ndarray, np.ndarray]:
    """Two uint64 [rows], of different seeds: what stands for a key where keys themselves would not fit in memory.

    Among n different keys some two share both with a probability of about n² / 2¹²⁹: 10⁻²¹ for a billion keys, which
    is far below that of an undetected memory error. One integer column never collides: its hash is a bijection.
    """
    return hashes(columns, FIRST_SEED), hashes(columns, SECOND_SEED)


def all_valid(columns: Sequence[pa.Array]) -> np.ndarray:
    """bool [rows]: no column is NULL."""
    valid = np.ones(len(columns[0]), bool)
    for column in columns:
        if column.null_count:
            valid &= np.asarray(column.is_valid())
    return valid


def _chained(column: pa.Array, seeds: np.ndarray) -> np.ndarray:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if key_kind(column.type) == "text":
        result = _of_bytes(column.cast(pa.large_binary()), seeds)
    else:
        result = _of_words(_as_int64(column), seeds)
    return np.where(np.asarray(column.is_valid()), result, seeds) if column.null_count else result


def _as_int64(column: pa.Array) -> np.ndarray:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64())
    elif pa.types.is_date(column.type):
        column = column.cast(pa.date32()).cast(pa.int32())
    filled = column.cast(pa.int64()).fill_null(0)
    return filled.to_numpy(zero_copy_only=False)


def _of_words(values: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """XXH64 of the eight bytes of each int64, least significant first."""
    with np.errstate(over="ignore"):
        return _avalanche(_mixed_word(seeds + _P5 + np.uint64(8), values.view(np.uint64)))


def _of_bytes(values: pa.LargeBinaryArray, seeds: np.ndarray) -> np.ndarray:
    offsets = np.frombuffer(values.buffers()[1], np.int64)[values.offset : values.offset + len(values) + 1]
    lengths = np.diff(offsets)
    if not len(values) or not lengths.any():
        data = np.zeros(8, np.uint8)
    else:  # eight bytes more, so that a word may be read at any place
        data = np.frombuffer(values.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
        data = np.concatenate([data, np.zeros(8, np.uint8)])
    with np.errstate(over="ignore"):
        return _Bytes(data, offsets[:-1] - offsets[0], lengths, seeds).hashed()


class _Bytes:
    """XXH64 of many strings at once: step by step, each step on those that are long enough for it."""

    def __init__(self, data: np.ndarray, starts: np.ndarray, lengths: np.ndarray, seeds: np.ndarray):
        # A word at each byte, whether aligned or not.
        self.words = np.ndarray((len(data) - 7,), np.dtype("<u8"), buffer=data, strides=(1,))
        self.data = data
        self.place = starts.copy()
        self.lengths = lengths
        self.seeds = seeds

    def hashed(self) -> np.ndarray:
        hashed = self.seeds + _P5
        stripes = self.lengths // _STRIPE_BYTES
        long = np.flatnonzero(stripes)
        if len(long):
            hashed[long] = self._of_stripes(long, stripes[long])
        self.place += stripes * _STRIPE_BYTES
        hashed += self.lengths.astype(np.uint64)
        rest = self.lengths % _STRIPE_BYTES
        for index in range(3):
            self._mix(hashed, rest >= 8 * (index + 1), 8)
        self._mix(hashed, rest % 8 >= 4, 4)
        for index in range(3):
            self._mix(hashed, rest % 4 > index, 1)
        return _avalanche(hashed)

    def _mix(self, hashed: np.ndarray, applies: np.ndarray, num_bytes: int) -> None:
        rows = np.flatnonzero(applies)
        if not len(rows):
            return
        words = self.words[self.place[rows]]
        if num_bytes == 8:
            hashed[rows] = _mixed_word(hashed[rows], words)
        elif num_bytes == 4:
            half = words & np.uint64(0xFFFFFFFF)
            hashed[rows] = _rotated(hashed[rows] ^ (half * _P1), 23) * _P2 + _P3
        else:
            byte = words & np.uint64(0xFF)
            hashed[rows] = _rotated(hashed[rows] ^ (byte * _P5), 11) * _P1
        self.place[rows] += num_bytes

    def _of_stripes(self, rows: np.ndarray, stripes: np.ndarray) -> np.ndarray:
        seeds = self.seeds[rows]
        lanes = [seeds + _P1 + _P2, seeds + _P2, seeds.copy(), seeds - _P1]
        for stripe in range(int(stripes.max())):
            active = np.flatnonzero(stripes > stripe)
            places = self.place[rows[active]] + stripe * _STRIPE_BYTES
            for index, lane in enumerate(lanes):
                lane[active] = _round(lane[active], self.words[places + 8 * index])
        merged = sum((_rotated(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True)), np.uint64(0))
        for lane in lanes:
            merged = (merged ^ _round(np.zeros_like(lane), lane)) * _P1 + _P4
        return merged


def _rotated(values: np.ndarray, bits: int) -> np.ndarray:
    return (values << np.uint64(bits)) | (values >> np.uint64(64 - bits))


def _round(lane: np.ndarray, words: np.ndarray) -> np.ndarray:
    return _rotated(lane + words * _P2, 31) * _P1


def _mixed_word(hashed: np.ndarray, words: np.ndarray) -> np.ndarray:
    return _rotated(hashed ^ _round(np.zeros_like(words), words), 27) * _P1 + _P4


def _avalanche(hashed: np.ndarray) -> np.ndarray:
    hashed = (hashed ^ (hashed >> np.uint64(33))) * _P2
    hashed = (hashed ^ (hashed >> np.uint64(29))) * _P3
    return hashed ^ (hashed >> np.uint64(32))
