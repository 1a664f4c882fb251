"""Sorted pairs on disk: whatever the memory allowed, lookups agree with a plain search."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hivemill.components.hive_example_gen.rows.event_index import (
    NEVER_AFTER,
    NEVER_BEFORE,
    PAIR,
    EventIndex,
    EventSorter,
)

_HASHES = st.sampled_from([0, 1, 2**63, 2**63 + 1, 2**64 - 1, 7 << 58])  # few, so that they meet
PAIRS = st.lists(st.tuples(_HASHES, _HASHES, st.integers(-3, 3)), max_size=60)
QUERIES = st.lists(st.tuples(_HASHES, _HASHES, st.integers(-4, 4)), min_size=1, max_size=20)


def build(folder, pairs, max_pairs, batch=7):
    array = np.array(pairs, PAIR)
    sorter = EventSorter(folder / "buckets", max_pairs=max_pairs)
    for start in range(0, len(array), batch):
        part = array[start : start + batch]
        sorter.add(part["hash1"], part["hash2"], part["time"])
    return sorter.write(folder / "index")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PAIRS, QUERIES, st.integers(1, 70))
def test_lookups(tmp_path, pairs, queries, max_pairs):
    assert build(tmp_path, pairs, max_pairs) == len(set(pairs))
    index = EventIndex(tmp_path / "index")
    asked = np.array(queries, PAIR)
    arguments = asked["hash1"], asked["hash2"], asked["time"]
    after, before = index.first_at_or_after(*arguments), index.last_before(*arguments)
    position = index.position(asked["hash1"], asked["hash2"])
    ordered = sorted(set(pairs))
    for row, (hash1, hash2, time) in enumerate(queries):
        times = [pair[2] for pair in ordered if pair[:2] == (hash1, hash2)]
        assert after[row] == min((t for t in times if t >= time), default=NEVER_AFTER)
        assert before[row] == max((t for t in times if t < time), default=NEVER_BEFORE)
        assert position[row] == next((i for i, pair in enumerate(ordered) if pair[:2] == (hash1, hash2)), -1)


@pytest.mark.parametrize("max_pairs", [500, 10_000, 1_000_000])
def test_the_files_are_the_same_however_little_memory_there_is(tmp_path, max_pairs):
    random = np.random.default_rng(1)
    pairs = np.empty(20_000, PAIR)
    pairs["hash1"] = random.integers(0, 2**64, 20_000, np.uint64)
    pairs["hash2"], pairs["time"] = pairs["hash1"] // 3, random.integers(0, 50, 20_000)
    pairs["hash1"][:5000] = 12345  # one key has a quarter of them
    pairs["hash2"][:5000] = 6789
    assert build(tmp_path, pairs, max_pairs, batch=999) == len(np.unique(pairs))
    expected = np.unique(pairs)
    for name in PAIR.names:
        assert np.array_equal(np.fromfile(tmp_path / "index" / name, PAIR.fields[name][0]), expected[name])
    assert not [path for path in (tmp_path / "buckets").rglob("*") if path.is_file()]


def test_no_pair_at_all(tmp_path):
    assert build(tmp_path, [], 10) == 0
    index = EventIndex(tmp_path / "index")
    one = np.array([1], np.uint64)
    assert len(index) == 0
    assert index.first_at_or_after(one, one, np.array([0])).tolist() == [NEVER_AFTER]
    assert index.position(one, one).tolist() == [-1]
