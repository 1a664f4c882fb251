"""Judges metrics against bounds: the one place where a model is refused. Pure; imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hivemill.components.evaluator import sanity_checks
from hivemill.components.evaluator.gate_entries import Metrics, SliceMetrics, entry, figure, slice_key, slice_name
from hivemill.components.evaluator.metrics import comparison
from hivemill.components.evaluator.options import Bound, GateOptions, SliceBound

__all__ = [
    "CAUSES",
    "Metrics",
    "SliceMetrics",
    "findings",
    "is_blessed",
    "judge",
    "refusals",
    "slice_key",
    "slice_name",
]

# What a failed bound means, the first of them the one to name first: a broken model breaks the later ones as well.
CAUSES = (
    "bad_predictions",
    "constant_prediction",
    "slice_broken",
    "miscalibrated",
    "no_signal",
    "worse_than_stable",
    "too_little_data",
    "trend",
    "worse_than_reference",
    "bound",
)
_LUCK = ", luck set aside"
_CAUSE_OF_METRIC = {
    "calibration": "miscalibrated",
    "calibration_error": "miscalibrated",
    "clicks": "too_little_data",
    "example_count": "too_little_data",
}


def judge(gates: GateOptions, slices: Sequence[SliceMetrics]) -> list[dict[str, Any]]:
    """One entry per limit and slice, as `bounds` of verdict.json has them. The model is blessed when all have passed.

    A limit is `judged: false` (and passes) in two cases: a change limit without a baseline, and a slice with fewer rows
    than `min_examples`. An undefined metric fails its limit: a gate that cannot be evaluated is not a gate passed.
    A change limit fails where the difference to stable is beyond it with its whole interval: on an eval split of 400
    clicks luck alone moves AUC by 0.01. Where only the value is beyond it, and worse than stable by more than luck, the
    limit passes with a `message`.
    """
    overall = _overall(slices)
    bounds = [*sanity_checks.predictions_are_probabilities(overall), *sanity_checks.predictions_differ(overall)]
    for metric, bound in gates.metrics.items():
        bounds += _judge_bound(overall, metric, bound, big_enough=True)
    for slice_bound in gates.slice_bounds:
        for part in _slices_of(slice_bound, slices):
            count = part.metrics.get("example_count") or 0
            bounds += _judge_bound(part, slice_bound.metric, slice_bound.bound, count >= slice_bound.min_examples)
    if gates.slice_health is not None:
        bounds += sanity_checks.slices_work(gates.slice_health, slices)
    return bounds


def is_blessed(bounds: Sequence[Mapping[str, Any]]) -> bool:
    return all(bound["passed"] for bound in bounds)


def findings(bounds: Sequence[Mapping[str, Any]], whole_rows: float, rows_of: Mapping[tuple, float]) -> list[dict]:
    """The failed bounds as `findings` of the `model` section, the likeliest cause first (`rank` from 1), then doubts.

    A model that is wrong on one slice may be wrong on the whole for that. It is the other way round where the slices
    that fail hold most of the rows, or none of them is worse than the whole by more than luck. `rows_of` is the number
    of rows by slice_key.
    """
    failed = [bound for bound in bounds if not bound["passed"]]
    doubted = [bound for bound in bounds if bound["passed"] and bound["message"]]
    order = list(CAUSES)
    if not _is_of_slices(failed, whole_rows, rows_of):
        order.remove("slice_broken")
        order.insert(order.index("worse_than_stable") + 1, "slice_broken")
    ranked = sorted(failed, key=lambda bound: (order.index(bound["cause"] or "bound"), bool(bound["slice"])))
    return [_finding(bound, rank) for rank, bound in enumerate([*ranked, *doubted], start=1)]


def _is_of_slices(failed: Sequence[Mapping[str, Any]], whole_rows: float, rows_of: Mapping[tuple, float]) -> bool:
    on_slices = [bound for bound in failed if bound["slice"]]
    rows: dict[tuple[str, ...], float] = {}  # of the broken slices, by the columns that cut them
    for key in {slice_key(bound["slice"]) for bound in on_slices}:
        columns = tuple(column for column, _ in key)
        rows[columns] = rows.get(columns, 0.0) + rows_of.get(key, 0.0)
    is_most = max(rows.values(), default=0.0) > whole_rows / 2
    return not is_most and any(bound["apart"] is not False for bound in on_slices)


def refusals(model_verdict: Mapping[str, Any]) -> list[str]:
    """One line per failed bound of the `model` section of verdict.json, the likeliest cause first.

    'auc on device=ios is 0.6, must be >= 0.65'.
    """
    red = [one["message"] for one in model_verdict.get("findings", ()) if one["severity"] == "red"]
    return red or [_refusal(bound) for bound in model_verdict["bounds"] if not bound["passed"]]


def _finding(bound: Mapping[str, Any], rank: int) -> dict[str, Any]:
    return {
        "severity": "amber" if bound["passed"] else "red",
        "kind": bound["metric"],
        "slice": bound["slice"],
        "value": bound["value"],
        "message": _refusal(bound),
        "cause": bound["cause"] or "bound",
        "rank": rank,
    }


def _overall(slices: Sequence[SliceMetrics]) -> SliceMetrics:
    return next(part for part in slices if not part.slice)


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
        seen = comparison.to_stable(part, metric) if is_change and judged and not holds else None
        is_luck = seen is not None and _may_hold(seen, limit - baseline, at_least)
        rule += _LUCK if is_luck else ""
        made = entry(part, metric, value, rule, holds or not judged or is_luck, _cause(part, metric, is_change))
        change = baseline if is_change else None
        made |= {"baseline": change, "limit": limit, "at_least": at_least, "judged": judged}
        yield made | {"message": _change_message(made, seen) if seen and seen["meaning"] == "loss" else None}


def _may_hold(seen: Mapping[str, Any], change: float, at_least: bool) -> bool:
    return seen["upper"] >= change if at_least else seen["lower"] <= change


def _change_message(bound: Mapping[str, Any], seen: Mapping[str, Any]) -> str:
    """Of a change beyond its limit: `auc is 0.71, must be >= stable - 0.01 (stable: 0.74; …)`."""
    between = f"difference {seen['value']:+.4f}, with luck {seen['lower']:+.4f} to {seen['upper']:+.4f}"
    verb = "should" if bound["passed"] else "must"
    words = _refusal({**bound, "message": None, "rule": bound["rule"].removesuffix(_LUCK)})
    return words.replace(", must", f", {verb}").removesuffix(")") + f"; {between})"


def _cause(part: SliceMetrics, metric: str, is_change: bool) -> str:
    if part.slice:
        return "too_little_data" if metric in ("clicks", "example_count") else "slice_broken"
    return "worse_than_stable" if is_change else _CAUSE_OF_METRIC.get(metric, "no_signal")


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


def _refusal(bound: Mapping[str, Any]) -> str:
    if bound.get("message"):
        return bound["message"]
    where = f" on {slice_name(bound['slice'])}" if bound["slice"] else ""
    value = "undefined" if bound["value"] is None else figure(bound["value"])
    requirement = bound["rule"].removeprefix(bound["metric"]).strip()
    stable = "" if bound["baseline"] is None else f" (stable: {figure(bound['baseline'])})"
    return f"{bound['metric']}{where} is {value}, must be {requirement}{stable}"
