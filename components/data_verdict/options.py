"""Options of the data verdict (`data_verdict:` in hivemill.yaml)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from hivemill.common.options import Options
from hivemill.components.hive_example_gen.options import SourceOptions

Positive = Annotated[float, Field(gt=0)]


class Bounds(Options):
    """Beyond `amber` the run goes on and says so; beyond `red` it stops."""

    amber: Positive
    red: Positive

    @model_validator(mode="after")
    def _amber_comes_first(self) -> Bounds:
        if self.amber > self.red:
            raise ValueError(f"amber ({self.amber:g}) must not be above red ({self.red:g})")
        return self


class DriftBounds(Bounds):
    amber: Positive = Field(0.02, description="Jensen-Shannon divergence, 0 to 1; about PSI 0.1.")
    red: Positive = Field(0.05, description="Jensen-Shannon divergence, 0 to 1; about PSI 0.25.")


class ShareBounds(Bounds):
    amber: Positive = Field(0.02, description="Change of the share, 0.02 being two rows more in a hundred.")
    red: Positive = Field(0.1, description="Change of the share.")


class CoverageBounds(Bounds):
    amber: Positive = Field(0.05, description="Rise of the share of eval values that the training split lacks.")
    red: Positive = Field(0.15, description="Rise of the share of eval values that the training split lacks.")


class ValueBounds(Bounds):
    amber: Positive = Field(0.01, description="Share of rows with a new value, or that lost values had before.")
    red: Positive = Field(0.05, description="Share of rows with a new value, or that lost values had before.")


class RateBounds(Bounds):
    amber: Positive = Field(0.2, description="Relative change of a day's click rate.")
    red: Positive = Field(0.4, description="Relative change of a day's click rate.")


class VolumeBounds(Bounds):
    amber: Annotated[float, Field(gt=1)] = Field(1.35, description="Factor up or down, against the same weekday.")
    red: Annotated[float, Field(gt=1)] = Field(1.8, description="Factor up or down, against the same weekday.")


class LeakBounds(Bounds):
    amber: Annotated[float, Field(gt=0.5, lt=1)] = Field(0.85, description="AUC of one column alone.")
    red: Annotated[float, Field(gt=0.5, lt=1)] = Field(0.95, description="AUC of one column alone.")


class FeatureBounds(Options):
    """Bounds of one column, instead of those of the section and of those learnt."""

    drift: DriftBounds | None = Field(None, description="Jensen-Shannon divergence.")
    missing: ShareBounds | None = Field(None, description="Change of the share of rows without a value.")
    ignore: bool = Field(False, description="No check but those of schema and label looks at this column.")


class DataVerdictOptions(Options):
    schema_path: str | None = Field(
        None, description="A curated schema.pbtxt; without it the schema is inferred from the training split."
    )
    on_anomaly: Literal["red", "amber"] = Field("red", description="red stops the run; amber goes on and says so.")
    on_drift: Literal["red", "amber"] = Field(
        "red", description="What a change beyond its red bound does; amber: never stops the run."
    )
    sample_rows: PositiveInt = Field(
        300_000, description="Rows of the window that are looked at one by one; all of them where there are no more."
    )
    history_runs: PositiveInt = Field(8, description="Finished runs whose values the learnt bounds are made from.")
    drift: DriftBounds = Field(DriftBounds(), description="Distribution of a column against the last good window.")
    missing: ShareBounds = Field(ShareBounds(), description="Rows without a value.")
    values: ValueBounds = Field(ValueBounds(), description="New and lost values of columns with few values.")
    coverage: CoverageBounds = Field(CoverageBounds(), description="Values of eval that are unseen in training.")
    click_rate: RateBounds = Field(RateBounds(), description="Click rate of a day.")
    volume: VolumeBounds = Field(VolumeBounds(), description="Rows of a day.")
    leak: LeakBounds = Field(LeakBounds(), description="A column that tells the label.")
    columns: dict[str, FeatureBounds] = Field({}, description="Bounds for single columns, by name.")
    serving_log: SourceOptions | None = Field(
        None, description="What serving saw, as a table like `source`: its newest days are compared with training."
    )
    serving_days: PositiveInt = Field(1, description="Days of the serving log to compare, up to the run date.")
    serving_statistics: str | None = Field(
        None,
        description="Instead of serving_log: a file of data-validation's statistics of what serving saw.",
    )

    @model_validator(mode="after")
    def _one_serving_log(self) -> DataVerdictOptions:
        if self.serving_log is not None and self.serving_statistics is not None:
            raise ValueError("give `serving_log` or `serving_statistics`, not both")
        return self
