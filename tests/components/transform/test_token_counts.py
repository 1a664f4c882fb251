"""Counts in memory and in runs on disk."""

import random
from collections import Counter

from hivemill.components.transform.token_counts import TokenCounts


def test_counts_in_runs_on_disk_are_those_in_memory(tmp_path):
    draw = random.Random(5)
    expected: Counter[bytes] = Counter()
    counts = TokenCounts(tmp_path, "field", max_in_memory=50)
    for _ in range(40):
        batch = Counter(b"\xff\x00%d" % draw.randrange(400) for _ in range(60))
        expected.update(batch)
        counts.add(batch.keys(), batch.values())
    assert len(list(tmp_path.iterdir())) > 3
    entries = list(counts.entries())
    assert Counter({token: count for count, token in entries}) == expected
    assert len(entries) == len(expected)
