"""Options of the gates (`gates:` in hivemill.yaml)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, model_validator

from common.options import Options

MetricName = Literal[
    "auc",
    "auc_lower_bound",
    "auc_precision_recall",
    "logloss",
    "normalized_entropy",
    "calibration",
    "gauc",
    "clicks",
    "example_count",
]


class Bound(Options):
    """Limits of one metric. The change limits compare with the version labelled `stable`."""

    min: float | None = Field(None, description="The metric must be at least this.")
    max: float | None = Field(None, description="The metric must be at most this.")
    max_drop: float | None = Field(None, description="For metrics where more is better: metric >= stable - max_drop.")
    max_rise: float | None = Field(None, description="For metrics where less is better: metric <= stable + max_rise.")

    @model_validator(mode="after")
    def _bounds_something(self):
        if self.min is None and self.max is None and self.max_drop is None and self.max_rise is None:
            raise ValueError("a bound needs at least one of min, max, max_drop, max_rise")
        return self


class SliceBound(Options):
    slice: dict[str, str | int] | tuple[str, ...] = Field(
        description="`{device: ios}` is one slice; `[device]` every slice of that column."
    )
    metric: MetricName
    bound: Bound
    min_examples: NonNegativeInt = Field(1000, description="Smaller slices are reported, not judged.")


class GateOptions(Options):
    metrics: dict[MetricName, Bound] = Field(
        {
            "clicks": Bound(min=100),
            "auc_lower_bound": Bound(min=0.5),
            "auc": Bound(max_drop=0.01),
            "normalized_entropy": Bound(max=1.0, max_rise=0.01),
            "calibration": Bound(min=0.8, max=1.25),
        },
        description="Bounds on the whole eval split. auc_lower_bound is AUC less three standard errors "
        "(Hanley and McNeil 1982); calibration is mean prediction / click rate.",
    )
    slices: tuple[tuple[str, ...], ...] = Field((), description="Columns to slice by, e.g. [[device], [device, hour]].")
    slice_bounds: tuple[SliceBound, ...] = Field((), description="Bounds on slices.")
