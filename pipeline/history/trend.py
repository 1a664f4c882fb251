"""This run's metrics against those of the runs before it, on the days that each judged."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from hivemill.pipeline.documents import verdict_summary

METRICS = ("auc", "gauc", "normalized_entropy", "calibration")
LAST_RUNS = 8
MIN_RUNS = 4  # a median of fewer is no trend
SIGMAS = 3.0
FLOOR = 0.002  # relative; weeks that are all the same must not make the next one an alarm
_MAD_TO_SIGMA = 1.4826  # of a normal distribution
_Z = 1.96


def compare(model: Mapping[str, Any] | None, earlier: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`trend` of verdict.json: {metric, value, runs, median, lower, upper, inside} for metrics with enough history.

    The bounds are median ± 3 sigma: the spread of the last runs (median absolute deviation) and the uncertainty of
    this run's own value (its interval) together. `earlier` are verdicts of runs that pushed, the oldest first.
    """
    whole = verdict_summary.whole_eval({"model": model})
    if whole is None:
        return []
    found = (_compare_one(name, whole, [_value(one, name) for one in earlier[-LAST_RUNS:]]) for name in METRICS)
    return [one for one in found if one]


def findings(trend: Sequence[Mapping[str, Any]], first_rank: int) -> list[dict[str, Any]]:
    """An amber finding for each metric outside its trend. Amber, because the gates have judged already."""
    outside = [one for one in trend if not one["inside"]]
    return [
        {
            "severity": "amber",
            "kind": one["metric"],
            "slice": {},
            "value": one["value"],
            "message": f"{one['metric']} is {one['value']:.4f}, outside the trend of the last {one['runs']} runs "
            f"({one['lower']:.4f} to {one['upper']:.4f}, median {one['median']:.4f})",
            "cause": "trend",
            "rank": first_rank + place,
        }
        for place, one in enumerate(outside)
    ]


def _compare_one(name: str, whole: Mapping[str, Any], history: Sequence[float | None]) -> dict[str, Any] | None:
    value = whole["metrics"].get(name)
    known = [each for each in history if each is not None]
    if value is None or len(known) < MIN_RUNS:
        return None
    median = statistics.median(known)
    spread = _MAD_TO_SIGMA * statistics.median(abs(each - median) for each in known)
    seen = (whole.get("intervals") or {}).get(name)
    own = (seen["upper"] - seen["lower"]) / (2 * _Z) if seen else 0.0
    margin = SIGMAS * max((spread**2 + own**2) ** 0.5, FLOOR * abs(median))
    lower, upper = median - margin, median + margin
    return {
        "metric": name,
        "value": value,
        "runs": len(known),
        "median": median,
        "lower": lower,
        "upper": upper,
        "inside": lower <= value <= upper,
    }


def _value(verdict: Mapping[str, Any], name: str) -> float | None:
    whole = verdict_summary.whole_eval(verdict)
    return None if whole is None else whole["metrics"].get(name)
