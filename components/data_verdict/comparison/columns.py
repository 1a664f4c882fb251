"""Compares one column in two sets of rows: bins, shares before and after, and how far apart they are."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np

from hivemill.components.data_verdict.comparison import distances
from hivemill.components.data_verdict.profile.column_roles import Kind
from hivemill.components.data_verdict.profile.window_profile import Distribution, upper_bound

NUM_BINS = 20
MAX_COMPARED_VALUES = 100
NEW, OTHER = "(new values)", "(other values)"


@dataclasses.dataclass(frozen=True)
class ColumnComparison:
    """`value` is the Jensen-Shannon divergence less what chance gives; `is_real` says that it is beyond chance."""

    value: float
    is_real: bool
    labels: tuple[str, ...]
    before: np.ndarray
    after: np.ndarray

    @property
    def l_infinity(self) -> float:
        return distances.l_infinity(self.before, self.after)

    @property
    def psi(self) -> float:
        return distances.psi(self.before, self.after)

    def arithmetic(self, num: int = 3) -> list[dict[str, Any]]:
        """The bins whose share changed most, the largest change first."""
        before, after = distances.shares(self.before), distances.shares(self.after)
        order = np.argsort(-np.abs(after - before), kind="stable")[:num]
        return [{"bin": self.labels[i], "before": _rounded(before[i]), "after": _rounded(after[i])} for i in order]

    def histograms(self) -> dict[str, dict[str, list]]:
        """Before and after by bin, at most NUM_BINS + 2 of them, as the report draws them."""
        labels, before, after = self._few_bins()
        return {
            "before": {"bins": list(labels), "shares": [_rounded(share) for share in distances.shares(before)]},
            "after": {"bins": list(labels), "shares": [_rounded(share) for share in distances.shares(after)]},
        }

    def _few_bins(self) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
        limit = NUM_BINS + 2
        if len(self.labels) <= limit:
            return self.labels, self.before, self.after
        special = [i for i, label in enumerate(self.labels) if label in (NEW, OTHER)]
        rest = np.array([i for i in range(len(self.labels)) if i not in special])
        order = rest[np.argsort(-(self.before + self.after)[rest], kind="stable")]
        kept, cut = order[: limit - 2].tolist(), order[limit - 2 :]
        new = [i for i in special if self.labels[i] == NEW]
        others = np.array([*cut.tolist(), *(i for i in special if self.labels[i] == OTHER)])
        labels = (*(self.labels[i] for i in (*kept, *new)), OTHER)
        return labels, _folded(self.before, [*kept, *new], others), _folded(self.after, [*kept, *new], others)


def compare(kind: Kind, before: Distribution, after: Distribution) -> ColumnComparison:
    """Numbers and times in bins of about equal reference mass, with one beyond each end; values by name."""
    labels, old, new = _number_bins(before, after) if kind == "number" else _value_bins(kind, before, after)
    value, is_real = distances.corrected_jensen_shannon(old, new)
    return ColumnComparison(value, is_real, labels, old, new)


def _number_bins(before: Distribution, after: Distribution) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    known = np.array(sorted(before.counts), np.int64)
    if not len(known):
        return ("all",), np.zeros(1), np.array([after.present], np.float64)
    cumulative = np.cumsum([before.counts[bucket] for bucket in known.tolist()])
    wanted = np.arange(1, NUM_BINS + 1) / NUM_BINS * cumulative[-1]
    uppers = np.unique(known[np.minimum(np.searchsorted(cumulative, wanted - 1e-9), len(known) - 1)])
    lowest = known[0] - 1
    edges = np.concatenate([[lowest], uppers])
    labels = [f"up to {_number(upper_bound(int(lowest)))}"]
    labels += [
        f"{_number(upper_bound(int(low)))}-{_number(upper_bound(int(high)))}" for low, high in itertools.pairwise(edges)
    ]
    labels.append(f"above {_number(upper_bound(int(edges[-1])))}")
    return tuple(labels), _binned(before, edges), _binned(after, edges)


def _binned(distribution: Distribution, edges: np.ndarray) -> np.ndarray:
    buckets = np.fromiter(distribution.counts, np.int64, len(distribution.counts))
    counts = np.fromiter(distribution.counts.values(), np.float64, len(distribution.counts))
    return np.bincount(np.searchsorted(edges, buckets), counts, len(edges) + 1)


def _value_bins(
    kind: Kind, before: Distribution, after: Distribution
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    head = sorted(before.counts, key=lambda value: (-before.counts[value], str(value)))[:MAX_COMPARED_VALUES]
    old = np.array([before.counts[value] for value in head], np.float64)
    new = np.array([after.counts.get(value, 0) for value in head], np.float64)
    unknown = sum(count for value, count in after.counts.items() if value not in before.counts)
    unknown = unknown if before.is_whole else 0
    old_rest, new_rest = before.present - old.sum(), after.present - new.sum() - unknown
    labels = [f"{value} h" if kind == "time" else shown_value(value) for value in head]
    return (
        (*labels, NEW, OTHER),
        np.concatenate([old, [0.0, old_rest]]),
        np.concatenate([new, [unknown, new_rest]]),
    )


def shown_value(value: object) -> str:
    return str(value) if str(value).strip() else "(empty)"


def _folded(counts: np.ndarray, kept: list[int], others: np.ndarray) -> np.ndarray:
    return np.append(counts[kept], counts[others].sum() if len(others) else 0.0)


def _number(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    rounded = round(value, min(digits, 12)) if abs(value) < 1000 else float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 and abs(rounded) < 1e9 else f"{rounded:g}"


def _rounded(share: float) -> float:
    return round(float(share), 5)
