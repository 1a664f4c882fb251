"""Intervals of metrics, and whether a difference to another model is a gain, a loss, or noise. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from hivemill.components.evaluator.gate_entries import SliceMetrics
from hivemill.components.evaluator.metrics import bootstrap

Meaning = Literal["gain", "loss", "noise"]
HIGHER_IS_BETTER = ("auc", "auc_precision_recall", "gauc")
LOWER_IS_BETTER = ("logloss", "normalized_entropy")


def intervals(metrics: Mapping[str, float | None], replicates: np.ndarray | None) -> dict[str, dict[str, float]]:
    """{metric: {value, lower, upper}}, for the metrics that the bootstrap defines.

    `replicates` is resampling.replicates(); its own values are off the metrics' by the coarseness of its buckets,
    so the interval is moved by that.
    """
    found = {}
    for name, row in _rows(replicates):
        value, bounds = metrics.get(name), bootstrap.interval(row[1:])
        if value is not None and math.isfinite(value) and bounds is not None:
            shift = float(value - row[0])
            found[name] = {"value": value, "lower": bounds[0] + shift, "upper": bounds[1] + shift}
    return found


def differences(
    metrics: Mapping[str, float | None],
    replicates: np.ndarray | None,
    other_metrics: Mapping[str, float | None] | None,
    other_replicates: np.ndarray | None,
) -> dict[str, dict[str, Any]]:
    """{metric: {value, lower, upper, meaning}} of the candidate less the other model, paired replicate by replicate.

    `meaning` is noise where the interval of the gain holds zero. Calibration gains by coming nearer to 1.
    """
    found: dict[str, dict[str, Any]] = {}
    others = dict(_rows(other_replicates))
    for name, mine in _rows(replicates):
        value, other_value = metrics.get(name), (other_metrics or {}).get(name)
        if name not in others or value is None or other_value is None:
            continue
        # Both moved by the coarseness of the bootstrap's buckets, so that interval and meaning cannot disagree.
        other = others[name][1:] + (other_value - others[name][0])
        mine = mine[1:] + (value - mine[0])
        bounds, meaning = bootstrap.interval(mine - other), meaning_of(gains(name, mine, other))
        if bounds is not None and meaning is not None:
            found[name] = {"value": value - other_value, "lower": bounds[0], "upper": bounds[1], "meaning": meaning}
    return found


def to_stable(part: SliceMetrics, name: str) -> dict[str, Any] | None:
    """The entry of `differences` of one metric between the candidate and the baseline of a slice."""
    both = (part.metrics, part.replicates, part.baseline_metrics, part.baseline_replicates)
    return differences(*both).get(name)


def gains(name: str, mine_R: np.ndarray, other_R: np.ndarray) -> np.ndarray:
    """How much better than `other` each replicate is; negative is worse."""
    if name in HIGHER_IS_BETTER:
        return mine_R - other_R
    if name in LOWER_IS_BETTER:
        return other_R - mine_R
    return np.abs(other_R - 1) - np.abs(mine_R - 1)


def meaning_of(gains_R: np.ndarray) -> Meaning | None:
    bounds = bootstrap.interval(gains_R)
    if bounds is None:
        return None
    return "gain" if bounds[0] > 0 else "loss" if bounds[1] < 0 else "noise"


def _rows(replicates: np.ndarray | None) -> Sequence[tuple[str, np.ndarray]]:
    return [] if replicates is None else list(zip(bootstrap.METRICS, replicates, strict=True))
