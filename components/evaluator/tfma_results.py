"""What TFMA wrote, read back as plain values for the gates, the verdict and the report."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow_model_analysis as tfma

from hivemill.components.evaluator.gates import SliceMetrics, slice_key
from hivemill.components.evaluator.metrics.click_metrics import BASELINE, REPLICATES_NAME


def load_slices(evaluation_path: str) -> list[SliceMetrics]:
    """Metrics by slice, the whole eval split first, then in the order of the slice keys. Empty without eval rows."""
    slices = [_slice_metrics(record) for record in tfma.load_metrics(evaluation_path)]
    return sorted(slices, key=lambda part: (len(part.slice), [(c, str(v)) for c, v in part.slice.items()]))


def load_calibration_curves(evaluation_path: str) -> dict[tuple, list[dict[str, Any]]]:
    """The candidate's calibration by decile of prediction, by gates.slice_key of each slice; () is the whole."""
    curves = {}
    for record in tfma.load_plots(evaluation_path):
        plots = [each.value for each in record.plot_keys_and_values if each.key.model_name != BASELINE]
        buckets = plots[0].calibration_histogram_buckets.buckets
        curves[slice_key(_slice_of(record))] = [_calibration_point(bucket) for bucket in buckets]
    return curves


def _slice_metrics(record: Any) -> SliceMetrics:
    values: dict[bool, dict[str, float | None]] = {True: {}, False: {}}
    replicates: dict[bool, np.ndarray] = {}
    for each in record.metric_keys_and_values:
        is_baseline = each.key.model_name == BASELINE
        if each.key.is_diff:
            continue
        if each.key.name == REPLICATES_NAME:
            array = each.value.array_value
            replicates[is_baseline] = np.array(array.float32_values, np.float64).reshape(tuple(array.shape))
        else:
            value = each.value.double_value.value
            values[is_baseline][each.key.name] = value if math.isfinite(value) else None
    return SliceMetrics(
        _slice_of(record), values[False], values[True] or None, replicates.get(False), replicates.get(True)
    )


def _slice_of(record: Any) -> dict[str, str | int | float]:
    return {each.column: _slice_value(each) for each in record.slice_key.single_slice_keys}


def _slice_value(key: Any) -> str | int | float:
    kind = key.WhichOneof("kind")
    value = getattr(key, kind)
    return value.decode("utf-8") if isinstance(value, bytes) else value


def _calibration_point(bucket: Any) -> dict[str, Any]:
    examples = bucket.num_weighted_examples.value
    return {
        "lower": bucket.lower_threshold_inclusive,
        "upper": bucket.upper_threshold_exclusive,
        "examples": int(examples),
        "mean_prediction": bucket.total_weighted_refined_prediction.value / examples,
        "click_rate": bucket.total_weighted_label.value / examples,
    }
