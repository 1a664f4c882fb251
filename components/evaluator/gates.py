"""Judges metrics against bounds: the one place where a model is refused. Pure; imports no TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from components.evaluator.options import Bound, GateOptions, SliceBound

Metrics = Mapping[str, "float | None"]


@dataclasses.dataclass(frozen=True)
class SliceMetrics:
    """Metrics of the candidate, and of the baseline where there is one, on one slice; `{}` is the whole eval split.

    None stands for an undefined value: one class only, no user with both, a prediction that is no probability.
    """

    slice: Mapping[str, str | int | float]
    metrics: Metrics
    baseline_metrics: Metrics | None = None


def judge(gates: GateOptions, slices: Sequence[SliceMetrics]) -> list[dict[str, Any]]:
    """One entry per limit and slice, as `bounds` of verdict.json has them. The model is blessed when all have passed.

    A limit is `judged: false` (and passes) in two cases: a change limit without a baseline, and a slice with fewer rows
    than `min_examples`. An undefined metric fails its limit: a gate that cannot be evaluated is not a gate passed.
    """
    overall = _overall(slices)
    bounds = list(_predictions_are_probabilities(overall))
    for metric, bound in gates.metrics.items():
        bounds += _judge_bound(overall, metric, bound, big_enough=True)
    for slice_bound in gates.slice_bounds:
        for part in _slices_of(slice_bound, slices):
            count = part.metrics.get("example_count") or 0
            bounds += _judge_bound(part, slice_bound.metric, slice_bound.bound, count >= slice_bound.min_examples)
    return bounds


def is_blessed(bounds: Sequence[Mapping[str, Any]]) -> bool:
    return all(bound["passed"] for bound in bounds)


def refusals(model_verdict: Mapping[str, Any]) -> list[str]:
    """One line per failed bound of the `model` section of verdict.json: 'auc on device=ios is 0.6, must be >= 0.65'."""
    return [_refusal(bound) for bound in model_verdict["bounds"] if not bound["passed"]]


def slice_name(slice_: Mapping[str, Any]) -> str:
    """'device=ios, hour=7'; empty for the whole eval split."""
    return ", ".join(f"{column}={value}" for column, value in slice_.items())


def _overall(slices: Sequence[SliceMetrics]) -> SliceMetrics:
    return next(part for part in slices if not part.slice)


def _predictions_are_probabilities(overall: SliceMetrics) -> Iterator[dict[str, Any]]:
    bad = overall.metrics.get("bad_predictions") or 0
    if bad:
        yield _entry(overall, "bad_predictions", bad, None, "bad_predictions <= 0", passed=False)


def _slices_of(slice_bound: SliceBound, slices: Sequence[SliceMetrics]) -> list[SliceMetrics]:
    wanted = slice_bound.slice
    if not isinstance(wanted, dict):
        return [part for part in slices if part.slice and set(part.slice) == set(wanted)]
    text = {column: str(value) for column, value in wanted.items()}
    found = [part for part in slices if {c: str(v) for c, v in part.slice.items()} == text]
    return found or [SliceMetrics(dict(wanted), {"example_count": 0, "clicks": 0})]


def _judge_bound(part: SliceMetrics, metric: str, bound: Bound, big_enough: bool) -> Iterator[dict[str, Any]]:
    value = part.metrics.get(metric)
    baseline = (part.baseline_metrics or {}).get(metric)
    for rule, limit, at_least, is_change in _limits(metric, bound, baseline):
        judged = big_enough and not (is_change and baseline is None)
        holds = value is not None and limit is not None and (value >= limit if at_least else value <= limit)
        yield _entry(part, metric, value, baseline if is_change else None, rule, holds or not judged, judged)


def _limits(metric: str, bound: Bound, baseline: float | None) -> Iterator[tuple[str, float | None, bool, bool]]:
    """(rule, limit, at least?, change?) for each limit of the bound; the limit is None where the baseline is."""
    if bound.min is not None:
        yield f"{metric} >= {bound.min:g}", bound.min, True, False
    if bound.max is not None:
        yield f"{metric} <= {bound.max:g}", bound.max, False, False
    if bound.max_drop is not None:
        limit = None if baseline is None else baseline - bound.max_drop
        yield f"{metric} >= stable - {bound.max_drop:g}", limit, True, True
    if bound.max_rise is not None:
        limit = None if baseline is None else baseline + bound.max_rise
        yield f"{metric} <= stable + {bound.max_rise:g}", limit, False, True


def _entry(
    part: SliceMetrics,
    metric: str,
    value: float | None,
    baseline: float | None,
    rule: str,
    passed: bool,
    judged: bool = True,
) -> dict[str, Any]:
    return {
        "metric": metric,
        "slice": dict(part.slice),
        "value": value,
        "baseline": baseline,
        "rule": rule,
        "passed": passed,
        "judged": judged,
    }


def _refusal(bound: Mapping[str, Any]) -> str:
    where = f" on {slice_name(bound['slice'])}" if bound["slice"] else ""
    if bound["metric"] == "bad_predictions":
        return f"{bound['value']:,.0f} predictions are NaN or outside 0..1, must be none"
    value = "undefined" if bound["value"] is None else _figure(bound["value"])
    requirement = bound["rule"].removeprefix(bound["metric"]).strip()
    stable = "" if bound["baseline"] is None else f" (stable: {_figure(bound['baseline'])})"
    return f"{bound['metric']}{where} is {value}, must be {requirement}{stable}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
