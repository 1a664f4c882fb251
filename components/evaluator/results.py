"""What TFMA wrote, read back as plain values for the gates, the verdict and the report."""

from __future__ import annotations

import math
from typing import Any

import tensorflow_model_analysis as tfma

from components.evaluator.gates import SliceMetrics
from components.evaluator.metrics import BASELINE


def load_slices(evaluation_path: str) -> list[SliceMetrics]:
    """Metrics by slice, the whole eval split first, then in the order of the slice keys. Empty without eval rows."""
    slices = [_slice_metrics(record) for record in tfma.load_metrics(evaluation_path)]
    return sorted(slices, key=lambda part: (len(part.slice), [(c, str(v)) for c, v in part.slice.items()]))


def load_calibration_curve(evaluation_path: str) -> list[dict[str, Any]]:
    """The candidate's calibration on the whole eval split, `calibration_curve` of verdict.json."""
    for record in tfma.load_plots(evaluation_path):
        if not record.slice_key.single_slice_keys:
            plots = [each.value for each in record.plot_keys_and_values if each.key.model_name != BASELINE]
            return [_calibration_point(bucket) for bucket in plots[0].calibration_histogram_buckets.buckets]
    return []


def _slice_metrics(record: Any) -> SliceMetrics:
    candidate: dict[str, float | None] = {}
    baseline: dict[str, float | None] = {}
    for each in record.metric_keys_and_values:
        if not each.key.is_diff:
            value = each.value.double_value.value
            metrics = baseline if each.key.model_name == BASELINE else candidate
            metrics[each.key.name] = value if math.isfinite(value) else None
    key = {each.column: _slice_value(each) for each in record.slice_key.single_slice_keys}
    return SliceMetrics(key, candidate, baseline or None)


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
