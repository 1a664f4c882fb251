"""The metrics document: what stable and canary did, as monitoring, an exposure log or a test tells it.

    {"version": 1, "since_utc": "…", "until_utc": "…",
     "variants": {"stable": {"model_version": 1763190000, "impressions": 98000, "clicks": 7900, "errors": 3,
                             "p99_latency_seconds": 0.012, "mean_prediction": 0.081}, "canary": {…}},
     "lift": {"low": -0.021, "high": 0.034}}

`errors` that are left out are not known, and not judged. `sample` {"valid": false, "reasons": ["…"]} says that the
users may not be compared: a wrong sample ratio, users in both variants. `impressions` are requests, failed ones too;
CTR and calibration are of `impressions_with_click_known`, all where that is left out. `lift` is the interval of
canary's relative lift in CTR, always valid (`hivemill ab report` computes it): it is looked at again and again. Counts
are from `since_utc` on, which must not lie before the rollout.
"""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path

from pydantic import AwareDatetime, Field, ValidationError, model_validator

from hivemill.common.errors import DataNotReadyError
from hivemill.common.options import Options


class VariantMetrics(Options):
    """Counts and means of one variant."""

    model_version: int
    impressions: int = Field(ge=0)
    impressions_with_click_known: int | None = Field(None, ge=0)
    clicks: int = Field(ge=0)
    errors: int | None = Field(None, ge=0)
    p99_latency_seconds: float | None = Field(None, ge=0, allow_inf_nan=False)
    mean_prediction: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)

    @model_validator(mode="after")
    def _parts_fit(self) -> VariantMetrics:
        if self.num_judged() > self.impressions:
            raise ValueError("impressions_with_click_known must not be more than impressions")
        if self.clicks > self.num_judged() or (self.errors or 0) > self.impressions:
            raise ValueError("clicks and errors must not be more than their impressions")
        return self

    def num_judged(self) -> int:
        return self.impressions if self.impressions_with_click_known is None else self.impressions_with_click_known


class Lift(Options):
    """Both ends of the interval of the relative lift; -0.02 is 2 % fewer clicks."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Lift:
        if math.isnan(self.low) or math.isnan(self.high) or self.low > self.high:
            raise ValueError("low must not be above high")
        return self


class SampleValidity(Options):
    """Whether the users of both variants may be compared; `reasons` says why not (serving/experiment/sample_checks)."""

    valid: bool
    reasons: tuple[str, ...] = ()


class Variants(Options):
    stable: VariantMetrics
    canary: VariantMetrics


class RolloutMetrics(Options):
    """One metrics document."""

    version: int = Field(ge=1, le=1)
    since_utc: AwareDatetime
    until_utc: AwareDatetime
    variants: Variants
    lift: Lift | None = None
    sample: SampleValidity | None = None

    @model_validator(mode="after")
    def _ordered(self) -> RolloutMetrics:
        if self.since_utc > self.until_utc:
            raise ValueError("since_utc must not be after until_utc")
        return self

    def age_hours(self, now: datetime.datetime) -> float:
        return (now - self.until_utc).total_seconds() / 3600


def read_metrics(path: Path) -> RolloutMetrics:
    """Raises DataNotReadyError naming the file, the key, the rule and the value."""
    try:
        text = Path(path).read_text("utf-8")
        json.loads(text)
        return RolloutMetrics.model_validate_json(text, strict=True)
    except OSError as error:
        raise DataNotReadyError(
            f"metrics {path}: {error.strerror}", hint="What writes them? docs/rollout.md, rollout.metrics, --metrics."
        ) from error
    except ValidationError as error:
        raise DataNotReadyError(f"metrics {path}: {_told(error)}", hint="docs/rollout.md has the format.") from error
    except ValueError as error:
        raise DataNotReadyError(
            f"metrics {path}: no JSON in UTF-8: {error}", hint="Write the file by rename."
        ) from error


def _told(error: ValidationError) -> str:
    parts = (
        f"`{'.'.join(map(str, each['loc'])) or 'document'}`: {each['msg']}; received {str(each['input'])[:60]!r}"
        for each in error.errors(include_url=False)
    )
    return "; ".join(parts)
