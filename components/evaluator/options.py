"""Options of the gates (`gates:` in hivemill.yaml)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, model_validator

from hivemill.common.options import Options

MetricName = Literal[
    "auc",
    "auc_lower_bound",
    "auc_precision_recall",
    "logloss",
    "normalized_entropy",
    "calibration",
    "calibration_error",
    "gauc",
    "clicks",
    "example_count",
]


class Bound(Options):
    """Limits of one metric. The change limits compare with the version labelled `stable`.

    A change limit fails where the whole 95 % interval of the difference is beyond it; the value counts where the metric
    has no interval. Beyond the limit, and worse than luck, but not with the whole interval, is amber.
    """

    min: float | None = Field(None, description="The metric must be at least this.")
    max: float | None = Field(None, description="The metric must be at most this.")
    max_drop: float | None = Field(
        None, description="For metrics where more is better: metric >= stable - max_drop, luck set aside."
    )
    max_rise: float | None = Field(
        None, description="For metrics where less is better: metric <= stable + max_rise, luck set aside."
    )

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


class SliceHealth(Options):
    """Limits that no working model crosses on a slice, even at the favourable end of the confidence interval."""

    min_examples: NonNegativeInt = Field(1000, description="Smaller slices are reported, not judged.")
    max_calibration: float = Field(
        2.0, gt=1, description="Mean prediction / click rate must lie within 1/this and this on every slice."
    )
    max_normalized_entropy: float = Field(1.02, gt=0, description="Above 1 the slice's own click rate says more.")
    max_auc_drop: float = Field(0.05, ge=0, description="AUC on every slice >= that of stable there - this.")


class ReferenceOptions(Options):
    """What the model is compared with besides `stable`, on samples, so that the cost does not grow with the log."""

    logistic_regression: bool = Field(True, description="Fit one on the model's own transformed features.")
    train_rows: NonNegativeInt = Field(30_000, description="Rows of the training split that it is fitted on, at most.")
    eval_rows: NonNegativeInt = Field(
        20_000, description="Rows of the eval split for the comparison, and of the validation split, at most."
    )
    boosted_trees: bool = Field(True, description="Fit LightGBM on the same features: what the model leaves undone.")
    boosted_trees_rows: NonNegativeInt = Field(
        60_000, description="Rows of the training split that LightGBM is fitted on, at most."
    )
    trivial_model_better: Literal["red", "amber"] = Field(
        "red",
        description="What it means that the click rate or the logistic regression does better than the model, by more "
        "than luck: red refuses the model, amber is a doubt.",
    )
    boosted_trees_better: Literal["note", "amber"] = Field(
        "note",
        description="What it means that LightGBM does better, by more than luck; a note stands on the page only.",
    )
    importance_predictions: NonNegativeInt = Field(
        100_000, description="Predictions that the permutation importance of all columns may cost; 0 leaves it out."
    )


class GateOptions(Options):
    metrics: dict[MetricName, Bound] = Field(
        {
            "clicks": Bound(min=100),
            "auc_lower_bound": Bound(min=0.5),
            "auc": Bound(max_drop=0.01),
            "normalized_entropy": Bound(max=1.0, max_rise=0.01),
            "calibration": Bound(min=0.8, max=1.25),
            "calibration_error": Bound(max=0.2),
        },
        description="Bounds on the whole eval split. auc_lower_bound is AUC less three standard errors "
        "(Hanley and McNeil 1982); calibration is mean prediction / click rate; calibration_error the share of the "
        "clicks that the deciles of the prediction miscount, less what luck explains.",
    )
    slices: tuple[tuple[str, ...], ...] = Field((), description="Columns to slice by, e.g. [[device], [device, hour]].")
    slice_bounds: tuple[SliceBound, ...] = Field((), description="Bounds on slices.")
    slice_health: SliceHealth | None = Field(
        SliceHealth(), description="Judges every slice of `slices` without a bound of its own; null leaves it out."
    )
    references: ReferenceOptions = Field(ReferenceOptions(), description="Reference models and importance of columns.")
