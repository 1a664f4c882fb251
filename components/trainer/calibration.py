"""Calibration on the validation days: logit' = scale * logit + offset, two numbers inside the SavedModel.

Platt scaling (Platt, 1999), of which temperature scaling (Guo et al., ICML 2017) is the part without the offset. The
weights that training keeps have the lowest validation logloss, but their logits may still be too wide, or off by a
constant. The scaling is taken only where rows that it was not fitted on gain by more than luck.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

MIN_CLICKS = 200  # of either class; two numbers from fewer would be luck
_FOLDS = 5  # contiguous: neighbours belong to the same sessions
_STANDARD_ERRORS = 2.0
_ITERATIONS, _TOLERANCE = 50, 1e-10


@dataclasses.dataclass(frozen=True)
class Calibration:
    """`gain` is the logloss that rows not fitted on gained, with its standard error; None where nothing was fitted.

    `scale` and `offset` are 1 and 0 where the gain is no more than luck.
    """

    scale: float = 1.0
    offset: float = 0.0
    rows: int = 0
    gain: float | None = None
    gain_error: float | None = None

    @property
    def is_used(self) -> bool:
        return (self.scale, self.offset) != (1.0, 0.0)

    def document(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "used": self.is_used}


def calibrate(model: Any, validation: tf.data.Dataset) -> Calibration:
    """Fits `model`'s logits to the labels of `validation`, batches of (inputs, labels, weights)."""

    @tf.function(input_signature=[validation.element_spec[0]])
    def logits_of(inputs: Any) -> tf.Tensor:
        return model(inputs, training=False)

    parts = [(logits_of(inputs), labels, weights) for inputs, labels, weights in validation]
    logits, labels, weights = (
        np.concatenate([np.reshape(part, -1) for part in column]).astype(np.float64)
        for column in zip(*parts, strict=True)
    )
    return fit(logits, labels, weights)


def fit(logits_N: np.ndarray, labels_N: np.ndarray, weights_N: np.ndarray) -> Calibration:
    """The scaling of these rows, in the order of the log, if it helps rows that it was not fitted on."""
    num_rows = len(labels_N)
    if min((labels_N == 1).sum(), (labels_N == 0).sum()) < MIN_CLICKS or not np.isfinite(logits_N).all():
        return Calibration(rows=num_rows)
    fold_N = np.arange(num_rows) * _FOLDS // num_rows
    gains_N = np.zeros(num_rows)
    for fold in range(_FOLDS):
        held = fold_N == fold
        scale, offset = _platt(logits_N[~held], labels_N[~held], weights_N[~held])
        scaled = scale * logits_N[held] + offset
        gains_N[held] = _losses(logits_N[held], labels_N[held]) - _losses(scaled, labels_N[held])
    share_N = weights_N / weights_N.sum()
    gain = float(share_N @ gains_N)
    error = float(np.sqrt((share_N**2) @ (gains_N - gain) ** 2))
    scale, offset = _platt(logits_N, labels_N, weights_N)
    if scale <= 0 or not gain > _STANDARD_ERRORS * error:
        return Calibration(rows=num_rows, gain=gain, gain_error=error)
    return Calibration(scale, offset, num_rows, gain, error)


def _platt(logits_N: np.ndarray, labels_N: np.ndarray, weights_N: np.ndarray) -> tuple[float, float]:
    """(scale, offset) of the lowest logloss, by Newton's method: a logistic regression on one number."""
    design_N2 = np.stack([logits_N, np.ones(len(logits_N))], axis=1)
    beta = np.array([1.0, 0.0])
    ridge = 1e-9 * weights_N.sum() * np.eye(2)  # logits that are all the same leave the scale undetermined
    for _ in range(_ITERATIONS):
        p_N = 1 / (1 + np.exp(-np.clip(design_N2 @ beta, -40, 40)))
        gradient = design_N2.T @ (weights_N * (p_N - labels_N))
        hessian = (design_N2 * (weights_N * p_N * (1 - p_N))[:, None]).T @ design_N2 + ridge
        step = np.linalg.solve(hessian, gradient)
        beta = beta - np.clip(step, -1, 1)
        if np.abs(step).max() < _TOLERANCE:
            break
    return float(beta[0]), float(beta[1])


def _losses(logits_N: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, logits_N) - labels_N * logits_N
