"""The section `experiment` of hivemill.yaml: the A/B test between the versions that serve."""

from __future__ import annotations

import datetime
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from hivemill.common.errors import ConfigError
from hivemill.common.options import Options
from hivemill.serving.experiment.assignment import CANARY, STABLE, check_salt
from hivemill.serving.experiment.exposures.columns import OPTIONAL_COLUMNS, REQUIRED_COLUMNS

Share = Annotated[float, Field(gt=0, lt=1)]


class ExperimentGuardrails(Options):
    """What canary must not do to users, whatever its CTR."""

    max_error_increase: float = Field(
        0.005, ge=0, le=1, description="Most that the share of failed requests may rise: 0.005 is half a percent."
    )
    max_p99_ratio: float = Field(1.5, ge=1, description="Most that the 99th percentile of latency may be of stable's.")
    calibration_at_least: float = Field(0.8, gt=0, description="Least mean prediction / click rate of canary.")
    calibration_at_most: float = Field(1.25, gt=0, description="Largest mean prediction / click rate of canary.")

    @model_validator(mode="after")
    def _ordered(self) -> ExperimentGuardrails:
        if self.calibration_at_least > self.calibration_at_most:
            raise ValueError("calibration_at_least must not be above calibration_at_most")
        return self


class ExperimentOptions(Options):
    salt: str | None = Field(
        None,
        description="Mixed into the user id before it is hashed to a bucket: a new salt draws the users anew. The "
        "model's name if empty. Letters, digits, `.`, `_` and `-`.",
    )
    log: str | None = Field(
        None, description="Exposure log: a file or folder, Parquet or CSV (docs/experiments.md has its columns)."
    )
    columns: dict[str, str] = Field(
        {}, description="The log's own names of columns, e.g. {request_time: shown_at, user_id: uid}."
    )
    control: str = Field(STABLE, description="The variant that is compared with.")
    treatment: str = Field(CANARY, description="The variant that is judged.")
    treatment_share: Share | None = Field(
        None, description="Share of users that see treatment, where the log has no propensity: for the ratio's test."
    )
    alpha: Share = Field(0.05, description="Accepted probability of a false alarm, over all looks together.")
    lift_of_interest: float = Field(
        0.1,
        gt=0,
        le=1,
        description="Relative lift that the test should find soonest: intervals that are always valid are tightest "
        "when it is found. Too large costs little, too small much. Fix it before the test.",
    )
    planned_end: datetime.date | None = Field(
        None,
        description="Last day (UTC) of a test that is looked at ONCE, after that day: narrower intervals, no "
        "conclusion before. Empty: the result may be looked at every day and the test stopped on any.",
    )
    slices: tuple[str, ...] = Field((), description="Columns of the log whose values are compared one by one.")
    covariates: tuple[str, ...] = Field(
        (), description="Columns with what was known of the user before the test (CUPED), e.g. past clicks."
    )
    history_days: int | None = Field(
        None,
        ge=1,
        description="Days before the beginning of the test whose impressions and clicks of each user become "
        "covariates. No canary may have been in them.",
    )
    max_bad_share: float = Field(
        0.001, ge=0, lt=1, description="Largest share of rows that may break the log's rules; they are left out."
    )
    max_mixed_user_share: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="Largest share of the smaller variant's users who are in both; they are left out. Above: no "
        "conclusion.",
    )
    max_user_share: Share = Field(
        0.05, description="Largest share of a variant's impressions that one user may have. Above: no conclusion."
    )
    max_impressions_per_user: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Impressions of a user beyond so many count no more: clicks and impressions are scaled down "
        "together. No limit when left out.",
    )
    guardrails: ExperimentGuardrails = Field(ExperimentGuardrails(), description="What canary must not do to users.")

    @field_validator("salt")
    @classmethod
    def _salt(cls, salt: str | None) -> str | None:
        if salt is not None:
            try:
                check_salt(salt)
            except ConfigError as error:
                raise ValueError(error.message) from None
        return salt

    @field_validator("columns")
    @classmethod
    def _columns(cls, columns: dict[str, str]) -> dict[str, str]:
        known = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
        unknown = [name for name in columns if name not in known]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no column of an exposure log; there are {', '.join(known)}")
        return columns

    @model_validator(mode="after")
    def _two_variants(self) -> ExperimentOptions:
        if self.control == self.treatment:
            raise ValueError(f"control and treatment must be two variants; both are {self.control!r}")
        return self
