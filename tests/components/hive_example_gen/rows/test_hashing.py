"""XXH64 over Arrow columns: the published values, the chaining, nulls and slices."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemill.components.hive_example_gen.rows import hashing

# XXH64 of these texts with seed 0, as the reference implementation gives it.
PUBLISHED = {
    b"": 0xEF46DB3751D8E999,
    b"a": 0xD24EC4F1A98C6E5B,
    b"abc": 0x44BC2CF5AD770999,
    b"Nobody inspects the spammish repetition": 0xFBCEA83C8A378BF1,
}
_MASK = (1 << 64) - 1
_P = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)


def reference(data: bytes, seed: int) -> int:
    """XXH64 straight from the specification, one value at a time."""

    def rotated(value, bits):
        return ((value << bits) | (value >> (64 - bits))) & _MASK

    def step(lane, word):
        return rotated((lane + word * _P[1]) & _MASK, 31) * _P[0] & _MASK

    place, length = 0, len(data)
    hashed = (seed + _P[4]) & _MASK
    if length >= 32:
        lanes = [(seed + offset) & _MASK for offset in (_P[0] + _P[1], _P[1], 0, -_P[0])]
        while place <= length - 32:
            for index in range(4):
                lanes[index] = step(lanes[index], int.from_bytes(data[place : place + 8], "little"))
                place += 8
        hashed = sum(rotated(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True)) & _MASK
        for lane in lanes:
            hashed = ((hashed ^ step(0, lane)) * _P[0] + _P[3]) & _MASK
    hashed = (hashed + length) & _MASK
    while place <= length - 8:
        hashed = (
            rotated(hashed ^ step(0, int.from_bytes(data[place : place + 8], "little")), 27) * _P[0] + _P[3]
        ) & _MASK
        place += 8
    if place <= length - 4:
        word = int.from_bytes(data[place : place + 4], "little")
        hashed = (rotated(hashed ^ (word * _P[0] & _MASK), 23) * _P[1] + _P[2]) & _MASK
        place += 4
    for byte in data[place:]:
        hashed = rotated(hashed ^ (byte * _P[4] & _MASK), 11) * _P[0] & _MASK
    hashed = (hashed ^ (hashed >> 33)) * _P[1] & _MASK
    hashed = (hashed ^ (hashed >> 29)) * _P[2] & _MASK
    return hashed ^ (hashed >> 32)


@pytest.mark.parametrize("text", PUBLISHED)
def test_published_values(text):
    assert reference(text, 0) == PUBLISHED[text]
    assert hashing.hashes([pa.array([text])], 0).tolist() == [PUBLISHED[text]]


@given(st.lists(st.one_of(st.none(), st.binary(max_size=150)), min_size=1), st.integers(0, _MASK), st.integers(0, 3))
def test_any_bytes_in_any_slice(values, seed, start):
    array = pa.array(values, pa.binary()).slice(start)
    expected = [seed if value is None else reference(value, seed) for value in values[start:]]
    assert (hashing.hashes([array], seed) if len(array) else np.array([])).tolist() == expected


@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), st.text(max_size=20)), min_size=1))
def test_columns_are_chained(rows):
    found = hashing.hashes([pa.array([row[0] for row in rows], pa.int64()), pa.array([row[1] for row in rows])])
    for (number, text), value in zip(rows, found.tolist(), strict=True):
        seed = 42 if number is None else reference(number.to_bytes(8, "little", signed=True), 42)
        assert value == reference(text.encode(), seed)


def test_a_wider_type_has_the_same_hash():
    narrow, wide = pa.array([1, -2, None], pa.int8()), pa.array([1, -2, None], pa.int64())
    assert hashing.hashes([narrow]).tolist() == hashing.hashes([wide]).tolist()
    texts = pa.array(["a", "é", "a"])
    assert hashing.hashes([texts]).tolist() == hashing.hashes([texts.dictionary_encode()]).tolist()
    assert hashing.hashes([texts]).tolist() == hashing.hashes([texts.cast(pa.large_binary())]).tolist()


def test_times_and_days_count_as_numbers():
    micros = pa.array([1_700_000_000_000_000], pa.int64())
    assert hashing.hashes([micros.cast(pa.timestamp("us"))]).tolist() == hashing.hashes([micros]).tolist()
    nanos = pa.array([1_700_000_000_000_000_999], pa.int64()).cast(pa.timestamp("ns"))
    assert hashing.hashes([nanos]).tolist() == hashing.hashes([micros]).tolist()
    days = pa.array([20_000], pa.int32())
    assert hashing.hashes([days.cast(pa.date32())]).tolist() == hashing.hashes([days]).tolist()
    assert hashing.hashes([pa.array([True])]).tolist() == hashing.hashes([pa.array([1])]).tolist()


def test_both_halves_differ():
    first, second = hashing.hashes_128([pa.array(np.arange(1000))])
    assert len(set(first.tolist()) & set(second.tolist())) == 0


@pytest.mark.parametrize("data_type", [pa.float64(), pa.decimal128(10, 2), pa.list_(pa.int64()), pa.struct([])])
def test_what_cannot_be_a_key(data_type):
    assert hashing.key_kind(data_type) is None
