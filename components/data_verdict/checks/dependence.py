"""How much columns say about each other: what breaks when values and rows no longer belong together.

A column can keep its distribution and still be wrong: another join key, rows shifted by one, a stale dimension. The
measure is mutual information over the smaller entropy of the two, 0 for independent columns, 1 where one determines the
other.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

MAX_VALUES = 200
MAX_COLUMNS = 30
"""435 pairs: half a second for 300,000 rows."""
MIN_DEPENDENCE = 0.1


def dependence_by_day(
    codes: Mapping[str, np.ndarray], day_N: np.ndarray, num_days: int
) -> dict[tuple[str, str], list[float]]:
    """For each pair of columns that depend on each other on some day, the value of each day.

    Args:
        codes: by column, a code below MAX_VALUES per row.
        day_N: the day of each row, -1 for none.
    """
    order = np.argsort(day_N, kind="stable")
    bounds = np.searchsorted(day_N[order], np.arange(num_days + 1))
    days = [order[bounds[index] : bounds[index + 1]] for index in range(num_days)]
    found = {}
    for first, second in itertools.combinations(sorted(codes)[:MAX_COLUMNS], 2):
        values = [_normalised_information(codes[first][rows], codes[second][rows]) for rows in days]
        if max(values, default=0.0) >= MIN_DEPENDENCE:
            found[first, second] = values
    return found


def _normalised_information(first: np.ndarray, second: np.ndarray) -> float:
    if not len(first):
        return 0.0
    width = int(second.max()) + 1
    joint = np.bincount(first * width + second).astype(np.float64)
    joint = np.pad(joint, (0, -len(joint) % width))
    table = joint.reshape(-1, width)
    one, other, both = (_entropy(counts) for counts in (table.sum(axis=1), table.sum(axis=0), joint))
    return float((one + other - both) / min(one, other)) if min(one, other) > 0 else 0.0


def _entropy(counts: np.ndarray) -> float:
    known = counts[counts > 0]
    shares = known / known.sum()
    return float(-(shares * np.log2(shares)).sum())
