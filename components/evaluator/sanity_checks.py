"""Checks that need no bound in the config: predictions that are none, that are all the same, or wrong on one slice.

Each yields entries of `bounds` in verdict.json with the `cause` that it knows. Pure; imports no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hivemill.components.evaluator.gate_entries import SliceMetrics, entry, figure, slice_name
from hivemill.components.evaluator.metrics import comparison
from hivemill.components.evaluator.options import SliceHealth

MIN_LOGIT_RANGE = 0.05  # between the 1st and 99th percentile: 8.0 % against 8.4 % is no prediction of clicks


def predictions_are_probabilities(overall: SliceMetrics) -> Iterator[dict[str, Any]]:
    bad = overall.metrics.get("bad_predictions") or 0
    if bad:
        message = f"{bad:,.0f} predictions are NaN or outside 0..1, must be none"
        yield entry(overall, "bad_predictions", bad, "bad_predictions <= 0", False, "bad_predictions", message)


def predictions_differ(overall: SliceMetrics) -> Iterator[dict[str, Any]]:
    """A model that says the same of every row has learnt nothing, or its input is cut off."""
    spread = overall.metrics.get("logit_range")
    if spread is None:
        return
    rule = f"logit_range >= {MIN_LOGIT_RANGE:g}"
    passed = spread >= MIN_LOGIT_RANGE
    same = "are all the same" if spread == 0 else f"hardly differ (98 % within {spread:.2g} logits)"
    message = None if passed else f"the predictions {same}: the model ignores its features"
    yield entry(overall, "logit_range", spread, rule, passed, "constant_prediction", message)


def slices_work(options: SliceHealth, slices: Sequence[SliceMetrics]) -> Iterator[dict[str, Any]]:
    """A slice is broken where even the favourable end of its interval is out of what any working model has."""
    whole = next(part for part in slices if not part.slice)
    for part in slices:
        if part.slice and (part.metrics.get("example_count") or 0) >= options.min_examples:
            found = comparison.intervals(part.metrics, part.replicates)
            yield from _calibrated(options, part, whole, found.get("calibration"))
            yield from _better_than_its_mean(options, part, whole, found.get("normalized_entropy"))
            yield from _not_fallen(options, part, whole)


def _calibrated(
    options: SliceHealth, part: SliceMetrics, whole: SliceMetrics, seen: dict[str, float] | None
) -> Iterator[dict[str, Any]]:
    if seen is None:
        return
    low, high = 1 / options.max_calibration, options.max_calibration
    passed = seen["lower"] <= high and seen["upper"] >= low
    message = (
        f"{slice_name(part.slice)} is broken: predictions are {figure(seen['value'])} times the clicks "
        f"({_range(seen)}), allowed {figure(low)} to {figure(high)}"
    )
    rule = f"calibration within {figure(low)} to {figure(high)}, interval included"
    made = entry(part, "calibration", seen["value"], rule, passed, "slice_broken", None if passed else message)
    yield made | {"apart": _is_apart(seen, whole.metrics.get("calibration"))}


def _better_than_its_mean(
    options: SliceHealth, part: SliceMetrics, whole: SliceMetrics, seen: dict[str, float] | None
) -> Iterator[dict[str, Any]]:
    if seen is None:
        return
    passed = seen["lower"] <= options.max_normalized_entropy
    message = (
        f"{slice_name(part.slice)} is broken: normalised entropy {figure(seen['value'])} ({_range(seen)}), "
        f"worse than always saying the slice's own click rate"
    )
    rule = f"normalized_entropy <= {options.max_normalized_entropy:g}, interval included"
    made = entry(part, "normalized_entropy", seen["value"], rule, passed, "slice_broken", None if passed else message)
    yield made | {"apart": _is_apart(seen, whole.metrics.get("normalized_entropy"))}


def _not_fallen(options: SliceHealth, part: SliceMetrics, whole: SliceMetrics) -> Iterator[dict[str, Any]]:
    seen = comparison.to_stable(part, "auc")
    if seen is None:
        return
    passed = seen["upper"] >= -options.max_auc_drop
    baseline = (part.baseline_metrics or {})["auc"]
    message = (
        f"{slice_name(part.slice)} is broken: AUC fell from {figure(baseline)} (stable) to "
        f"{figure(part.metrics['auc'])} ({_range(seen)})"
    )
    rule = f"auc >= stable - {options.max_auc_drop:g}, interval included"
    made = entry(part, "auc", part.metrics["auc"], rule, passed, "slice_broken", None if passed else message)
    values = whole.metrics.get("auc"), (whole.baseline_metrics or {}).get("auc")
    change = None if None in values else values[0] - values[1]
    yield made | {"baseline": baseline, "apart": _is_apart(seen, change)}


def _is_apart(seen: dict[str, float], whole: float | None) -> bool | None:
    return None if whole is None else not seen["lower"] <= whole <= seen["upper"]


def _range(seen: dict[str, float]) -> str:
    return f"{figure(seen['lower'])} to {figure(seen['upper'])}"
