"""What the trials say: which is best, whether that is more than chance, and what the mean of the best few reaches."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEVEL = 0.05
_SMALLEST = 1e-7
Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Of the validation rows, in the order of the files: all float [rows]."""

    probabilities: Floats
    labels: Floats
    weights: Floats

    def losses(self) -> Floats:
        """Logloss of each row."""
        p = np.clip(self.probabilities, _SMALLEST, 1 - _SMALLEST)
        return -(self.labels * np.log(p) + (1 - self.labels) * np.log1p(-p))

    def logloss(self) -> float:
        return float(np.average(self.losses(), weights=self.weights))

    def auc(self) -> float | None:
        """Weighted area under the ROC curve, ties counted half; None where there is one class only."""
        values, places = np.unique(self.probabilities, return_inverse=True)
        positives = np.bincount(places, self.weights * self.labels, len(values))
        negatives = np.bincount(places, self.weights * (1 - self.labels), len(values))
        if not positives.sum() or not negatives.sum():
            return None
        below = np.cumsum(negatives) - negatives / 2
        return float(np.sum(positives * below) / (positives.sum() * negatives.sum()))


def mean_of(several: Sequence[Predictions]) -> Predictions:
    """One model of several: the mean of their probabilities."""
    first = several[0]
    return Predictions(np.mean([one.probabilities for one in several], axis=0), first.labels, first.weights)


def comparison(challenger: Predictions, config: Predictions, num_challengers: int) -> dict[str, Any]:
    """By how much the logloss falls against the config as it is, and whether that is beyond chance.

    The standard error is of the difference row by row. The best of n is better by chance alone, so the one-sided level
    of 5 % is shared by all n challengers (Bonferroni).
    """
    differences = config.losses() - challenger.losses()
    weights = config.weights / config.weights.sum()
    gain = float(weights @ differences)
    error = float(np.sqrt(weights**2 @ (differences - gain) ** 2))
    quantile = statistics.NormalDist().inv_cdf(1 - _LEVEL / max(num_challengers, 1))
    return {
        "val_logloss": challenger.logloss(),
        "val_auc": challenger.auc(),
        "gain": gain,
        "standard_error": error,
        "needed": quantile * error,
        "is_beyond_chance": bool(gain > quantile * error),
    }
