"""How far two samples of a column are apart. Pure NumPy on counts [bins]; before = the reference, after = now.

Jensen-Shannon is the divergence with logarithms to base 2, 0 to 1, as TensorFlow Data Validation defines it. For small
differences it is PSI / (8 ln 2), which is where the customary bounds of PSI, 0.1 and 0.25, come in: JS 0.018 and 0.045.
Even two samples of the same distribution differ; with few rows by a lot. The expected difference is taken off
(`corrected`), so that a bound means the same for a day of 2,000 rows and for a week of 2 million.
"""

from __future__ import annotations

import math

import numpy as np

_SIGMAS = 4.0
_EMPTY_SHARE = 1e-4  # stands in for an empty bin in PSI, which is infinite without it


def jensen_shannon(before: np.ndarray, after: np.ndarray) -> float:
    """Jensen-Shannon divergence in bits, 0 to 1."""
    p, q = shares(before), shares(after)
    middle = (p + q) / 2
    return float(max(0.0, (_entropy(middle) - _entropy(p) / 2 - _entropy(q) / 2)))


def sampling_noise(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Mean of the Jensen-Shannon divergence of two samples of one distribution, and a bound it hardly ever exceeds.

    With B occupied bins 8 ln 2 JS / (1/n + 1/m) is about chi-square with B - 1 degrees of freedom.
    """
    n, m = before.sum(), after.sum()
    if not n or not m:
        return math.inf, math.inf
    freedom = max(int(((before + after) > 0).sum()) - 1, 0)
    unit = (1 / n + 1 / m) / (8 * math.log(2))
    return freedom * unit, (freedom + _SIGMAS * math.sqrt(2 * freedom)) * unit


def corrected_jensen_shannon(before: np.ndarray, after: np.ndarray) -> tuple[float, bool]:
    """The divergence less what chance alone gives, and whether it is beyond chance at all."""
    value = jensen_shannon(before, after)
    mean, bound = sampling_noise(before, after)
    return (max(0.0, value - mean) if math.isfinite(mean) else 0.0), bool(value > bound)


def l_infinity(before: np.ndarray, after: np.ndarray) -> float:
    """The largest change of a share. data-validation's own reads 0 on numeric columns; this one works on any bins."""
    return float(np.abs(shares(before) - shares(after)).max(initial=0.0))


def psi(before: np.ndarray, after: np.ndarray) -> float:
    """Population stability index, the sum of (q - p) ln(q / p)."""
    p, q = np.maximum(shares(before), _EMPTY_SHARE), np.maximum(shares(after), _EMPTY_SHARE)
    return float(((q - p) * np.log(q / p)).sum())


def rate_sigmas(clicks: float, rows: float, expected_rate: float) -> float:
    """How many standard errors a rate is from the expected one: the normal approximation, its variance at least 1."""
    return (clicks - rows * expected_rate) / math.sqrt(max(rows * expected_rate * (1 - expected_rate), 1.0))


def shares(counts: np.ndarray) -> np.ndarray:
    total = counts.sum()
    return counts / total if total else np.zeros(len(counts))


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())
