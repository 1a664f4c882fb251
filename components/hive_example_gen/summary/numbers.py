"""Moments and quantiles of a column of numbers, merged over batches and partitions.

Moments are merged in float64 (Chan, Golub and LeVeque, "Updating formulae", 1979); quantiles come from the sketch that
`tft.quantiles` uses.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
from tfx_bsl import sketches

_MAX_VALUES = 1 << 32  # up to which the sketch's error is bounded, as in tft.quantiles


@dataclasses.dataclass
class Numbers:
    """Of finite and infinite values, not of NaN, in float32 as the model reads them.

    Attributes:
        error: of a quantile's rank, as a share of the values; None without a sketch.
        sketch: not finalised, so that it merges.
    """

    error: float | None = None
    num_values: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared distances from the mean."""
    sketch: sketches.QuantilesSketch | None = None

    @classmethod
    def of(cls, error: float | None) -> Numbers:
        return cls(error, sketch=None if error is None else sketches.QuantilesSketch(error, _MAX_VALUES, 1))

    def add(self, values: np.ndarray) -> None:
        """`values` float32, no NaN."""
        if not len(values):
            return
        if self.sketch is not None:
            self.sketch.AddValues(pa.array(values))
        exact = values.astype(np.float64)
        mean = float(exact.mean())
        self._add_moments(len(exact), mean, float(((exact - mean) ** 2).sum()))

    def merge(self, other: Numbers) -> None:
        if self.sketch is not None and other.num_values:
            self.sketch.Merge(other.sketch)
        self._add_moments(other.num_values, other.mean, other.squares)

    @property
    def moments(self) -> tuple[int, float, float]:
        """As the constructor takes them after `error`."""
        return self.num_values, self.mean, self.squares

    @property
    def deviation(self) -> float:
        """Of the population, as `tft.var`; 0 where there is no value."""
        return float(np.sqrt(self.squares / self.num_values)) if self.num_values else 0.0

    def _add_moments(self, num_values: int, mean: float, squares: float) -> None:
        if not num_values:
            return
        total = self.num_values + num_values
        shift = mean - self.mean
        self.squares += squares + shift**2 * self.num_values * num_values / total
        self.mean += shift * num_values / total
        self.num_values = total
