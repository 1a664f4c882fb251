"""What the gates and the checks share: the metrics of a slice, and one entry of `bounds` in verdict.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

Metrics = Mapping[str, "float | None"]


@dataclasses.dataclass(frozen=True)
class SliceMetrics:
    """Metrics of the candidate, and of the baseline where there is one, on one slice; `{}` is the whole eval split.

    None stands for an undefined value: one class only, no user with both, a prediction that is no probability.
    The replicates are those of resampling.replicates, where the bootstrap ran.
    """

    slice: Mapping[str, str | int | float]
    metrics: Metrics
    baseline_metrics: Metrics | None = None
    replicates: np.ndarray | None = dataclasses.field(default=None, compare=False, repr=False)
    baseline_replicates: np.ndarray | None = dataclasses.field(default=None, compare=False, repr=False)


def slice_name(slice_: Mapping[str, Any]) -> str:
    """'device=ios, hour=7'; empty for the whole eval split."""
    return ", ".join(f"{column}={value}" for column, value in slice_.items())


def slice_key(slice_: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The same for the same slice, whatever the order of its columns and the type of its values."""
    return tuple(sorted((column, str(value)) for column, value in slice_.items()))


def entry(
    part: SliceMetrics,
    metric: str,
    value: float | None,
    rule: str,
    passed: bool,
    cause: str | None = None,
    message: str | None = None,
) -> dict[str, Any]:
    """One entry of `bounds`. `cause` (gates.CAUSES) and `message` say what a failed one means; a message on one that
    passed is a doubt. `apart`: the slice is worse than the whole by more than luck; None where that is not known."""
    return {
        "metric": metric,
        "slice": dict(part.slice),
        "value": value,
        "baseline": None,
        "rule": rule,
        "passed": passed,
        "judged": True,
        "limit": None,
        "at_least": None,
        "cause": cause,
        "message": message,
        "apart": None,
    }


def figure(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
