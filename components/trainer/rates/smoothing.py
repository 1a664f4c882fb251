"""From counts to the two numbers of a rate, and how strongly small counts are drawn to the prior.

    rate = (clicks + s prior) / (impressions + s)
    numbers: (logit(rate) - logit(prior)) / scale_0, (log(1 + impressions) - mean) / scale_1

A key that is not known has no impressions, and the prior's rate.

The smoothing s is the one with the lowest logloss on rows whose own block was not counted. A scale is the power of two
nearest to the deviation over the training rows: as good as the deviation itself, and a single click does not move it.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from hivemill.components.trainer.rates.counting import Counts, Occurrences, priors_by_block

STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
_LEAST_SCALES = 0.125, 0.5  # of log-odds and log counts that hardly differ: their noise is not blown up
_NEEDED_GAIN = 2.0  # standard errors by which rates must beat the prior to be used


@dataclasses.dataclass(frozen=True)
class Smoothing:
    strength: float
    gain: float  # logloss of the prior less that of the rates, mean over rows
    standard_error: float

    @property
    def is_useful(self) -> bool:
        return self.gain > _NEEDED_GAIN * self.standard_error


def logit(share: np.ndarray) -> np.ndarray:
    return np.log(share) - np.log1p(-share)


def choose(occurrences: Occurrences, strict: bool) -> Smoothing:
    """The strength with the lowest logloss; rows of a block judge what the blocks that they may see have counted."""
    prior = priors_by_block(occurrences, strict)
    sums = np.zeros((len(STRENGTHS), 3))  # of the gain by key, its square, its product with the key's rows
    rows = squared_rows = 0.0
    for _, counts in occurrences.parts():
        seen_n, seen_c = counts.seen_by_blocks(strict)
        rows_of_key = counts.impressions.sum(0)
        rows, squared_rows = rows + rows_of_key.sum(), squared_rows + np.square(rows_of_key).sum()
        base = _losses(counts, np.broadcast_to(prior, seen_n.shape))
        for number, strength in enumerate(STRENGTHS):
            gains = (base - _losses(counts, (seen_c + strength * prior) / (seen_n + strength))).sum(0)
            sums[number] += gains.sum(), np.square(gains).sum(), gains @ rows_of_key
    best = int(np.argmax(sums[:, 0]))
    gain, squared, product = sums[best]
    mean = gain / rows
    # Keys are independent, rows of one key are not: the deviation is that of sums by key.
    variance = max(squared - 2 * mean * product + mean**2 * squared_rows, 0.0)
    return Smoothing(STRENGTHS[best], float(mean), math.sqrt(variance) / float(rows))


def _losses(counts: Counts, rates: np.ndarray) -> np.ndarray:
    """Logloss summed over the rows of each block and key, [F, U]."""
    others = counts.impressions - counts.clicks
    return -(counts.clicks * np.log(rates) + others * np.log1p(-rates))


def numbers(seen_n: np.ndarray, seen_c: np.ndarray, prior: np.ndarray | float, strength: float) -> np.ndarray:
    """The two numbers before scaling, float32 [..., 2]."""
    rates = (seen_c + strength * prior) / (seen_n + strength)
    log_odds = np.where(seen_n > 0, logit(rates) - logit(np.asarray(prior)), 0)
    return np.stack([log_odds, np.log1p(seen_n)], axis=-1).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Scaling:
    """(numbers - shift) / scale, for the two numbers of a rate."""

    shift: np.ndarray  # float32 [2]
    scale: np.ndarray  # float32 [2]

    @classmethod
    def of(cls, numbers_of_rows: np.ndarray) -> Scaling:
        """For the training rows' numbers, [N, 2]."""
        deviations = np.maximum(np.std(numbers_of_rows, axis=0, dtype=np.float64), _LEAST_SCALES)
        scale = 2.0 ** np.round(np.log2(deviations))
        shift = np.array([0.0, np.mean(numbers_of_rows[:, 1], dtype=np.float64)])
        return cls(shift.astype(np.float32), scale.astype(np.float32))

    def of_numbers(self, raw: np.ndarray) -> np.ndarray:
        return (raw - self.shift) / self.scale
