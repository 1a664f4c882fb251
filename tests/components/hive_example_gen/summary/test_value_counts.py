"""Counts in memory, in runs on disk, and merged from many streams."""

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from hivemill.components.hive_example_gen.summary import value_counts
from hivemill.components.hive_example_gen.summary.value_counts import ValueCounts, merged

VALUES = {"text": lambda n: b"\xff\x00%d" % n, "number": lambda n: n * 7 - 1000}
TYPES = {"text": pa.binary(), "number": pa.int64()}


def _counted(draw, folder, name, value, data_type, max_in_memory):
    """A counter, and what it must have counted."""
    counter, counts, sums = ValueCounts(folder, name, max_in_memory), Counter(), Counter()
    for _ in range(40):
        values = [value(draw.randrange(400)) for _ in range(60)]
        labels = [float(draw.randrange(2)) for _ in values]
        counts.update(values)
        for each, label in zip(values, labels, strict=True):
            sums[each] += label
        counter.add(pa.array(values, data_type), np.array(labels))
    return counter, counts, sums


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("max_in_memory", [50, 1000])
def test_runs_on_disk_and_merged_streams_count_as_memory_does(kind, max_in_memory, tmp_path, monkeypatch):
    monkeypatch.setattr(value_counts, "_STREAM_ROWS", 17)
    draw = random.Random(5)
    made = [_counted(draw, tmp_path, str(i), VALUES[kind], TYPES[kind], max_in_memory) for i in range(3)]
    assert bool(list(tmp_path.iterdir())) == (max_in_memory == 50)
    rows = [row for batch in merged([counter.stream() for counter, _, _ in made]) for row in batch.to_pylist()]
    values = [row["value"] for row in rows]
    assert values == sorted(set(values))
    assert {row["value"]: row["count"] for row in rows} == sum((counts for _, counts, _ in made), Counter())
    expected = Counter()
    for _, _, sums in made:
        expected.update(sums)
    assert {row["value"]: row["label_sum"] for row in rows} == expected


def test_nothing_counted_is_an_empty_stream(tmp_path):
    assert list(ValueCounts(tmp_path, "field").stream()) == []
    assert list(merged([])) == []
