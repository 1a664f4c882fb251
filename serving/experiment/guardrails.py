"""What each variant does to users: errors, latency, calibration, clicks. What a rollout asks before its next step."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from hivemill.serving.experiment.assignment import CANARY, STABLE
from hivemill.serving.experiment.exposures.log import ExposureLog
from hivemill.serving.experiment.exposures.split import last_split
from hivemill.serving.experiment.exposures.users import UserDays, cells_of
from hivemill.serving.experiment.stats.ratio import Interval
from hivemill.serving.experiment.stats.sequential import MIN_CLICKS, MIN_USERS, Look, looks


@dataclasses.dataclass(frozen=True)
class VariantHealth:
    """One variant. Means are over the rows that have the value; None where no row has.

    Attributes:
        impressions: rows.
        impressions_with_click_known: those that CTR is of.
        clicks, errors: counts; errors None where the log has no column `error`.
        p99_latency_seconds: 99th percentile over rows.
        mean_prediction: over the rows that CTR is of.
        ctr: clicks / impressions_with_click_known.
        calibration: mean prediction / click rate over rows that have both; 1 is right, above it promises too many.
    """

    users: int
    impressions: int
    impressions_with_click_known: int
    clicks: int
    errors: int | None
    error_share: float | None
    p99_latency_seconds: float | None
    mean_prediction: float | None
    ctr: float | None
    calibration: float | None


@dataclasses.dataclass(frozen=True)
class ExperimentHealth:
    """Both variants, and the always-valid interval of the CTR.

    Attributes:
        variants: health by variant, for those in the log.
        lift: relative lift of treatment; None where it cannot be told.
        lift_interval: holds at every look at once (serving/experiment/stats/sequential.py); None where it cannot be
        told.
        interval: the same of the difference of the CTRs.
        p_value: always valid, the smallest of all days; 1.0 where no look counts yet.
        reason: why there is no interval, else None.
    """

    variants: dict[str, VariantHealth]
    lift: float | None
    lift_interval: Interval | None
    interval: Interval | None
    p_value: float
    reason: str | None


def health(
    log: ExposureLog,
    *,
    control: str = STABLE,
    treatment: str = CANARY,
    alpha: float = 0.05,
    lift_of_interest: float = 0.1,
) -> ExperimentHealth:
    """The state of both variants over all rows of the log; `log.between` chooses the time.

    The interval is of the rows under the last split alone, without users in both variants; the counts are of all rows.
    Never raises for too little data: `reason` says what is missing.
    """
    frame = log.frame
    variants = {
        name: variant_health(frame[(frame["variant"] == name).to_numpy()])
        for name in (control, treatment)
        if (frame["variant"] == name).any()
    }
    missing = [name for name in (control, treatment) if name not in variants]
    if missing:
        return ExperimentHealth(variants, None, None, None, 1.0, f"the log has no row of {' and '.join(missing)}")
    both = frame[frame["variant"].isin([control, treatment]).to_numpy()]
    cells = click_cells(last_split(both, treatment).frame, control, treatment)
    made = looks(cells, alpha=alpha, lift_of_interest=lift_of_interest) if len(cells.users) else []
    if not made or not made[-1].counts:
        return ExperimentHealth(variants, None, None, None, made[-1].p_value if made else 1.0, too_little(made))
    last = made[-1]
    reason = None if last.lift_interval else f"the CTR of {control} cannot be told from 0: any lift would fit"
    return ExperimentHealth(variants, last.comparison.lift, last.lift_interval, last.interval, last.p_value, reason)


def variant_health(rows: pd.DataFrame) -> VariantHealth:
    """Of the rows of one variant, at least one."""
    known = rows["click"].notna().to_numpy()
    clicks = rows["click"].to_numpy()[known]
    errors = int(rows["error"].sum()) if "error" in rows else None
    prediction = rows["prediction"].to_numpy() if "prediction" in rows else None
    return VariantHealth(
        users=int(rows["user_id"].nunique()),
        impressions=len(rows),
        impressions_with_click_known=int(known.sum()),
        clicks=int(clicks.sum()),
        errors=errors,
        error_share=None if errors is None else errors / len(rows),
        p99_latency_seconds=_p99(rows["latency_seconds"].to_numpy()) if "latency_seconds" in rows else None,
        mean_prediction=_mean(prediction[known]) if prediction is not None else None,
        ctr=_mean(clicks),
        calibration=_calibration(prediction, rows["click"].to_numpy()) if prediction is not None else None,
    )


def click_cells(
    frame: pd.DataFrame,
    control: str,
    treatment: str,
    covariates: tuple[str, ...] = (),
    max_impressions_per_user: int | None = None,
) -> UserDays:
    """Impressions with a known click and clicks per user and day. Users in both variants are left out. Covariates are
    those of the user's first row. What a user has beyond the limit is scaled down."""
    chosen = frame["variant"].isin([control, treatment]).to_numpy()
    rows = frame[chosen]
    codes, users = pd.factorize(rows["user_id"])
    treated = (rows["variant"] == treatment).to_numpy()
    in_treatment = np.bincount(codes, treated, len(users)) > 0
    in_control = np.bincount(codes, ~treated, len(users)) > 0
    mixed = in_treatment & in_control
    used = ~mixed[codes] & rows["click"].notna().to_numpy()
    cells = cells_of(
        users=codes[used],
        days=rows["request_time"].to_numpy()[used],
        impressions=np.ones(int(used.sum())),
        clicks=rows["click"].to_numpy()[used],
        is_treatment=in_treatment,
        covariates=_first_values(rows, codes, len(users), covariates) if covariates else None,
    )
    return cells if max_impressions_per_user is None else _capped(cells, max_impressions_per_user)


def _capped(cells: UserDays, limit: int) -> UserDays:
    """Winsorised: a user with more impressions has `limit` of them, with the same CTR and spread over the same days."""
    totals = np.bincount(cells.users, cells.impressions, len(cells.is_treatment))
    factors = np.minimum(1.0, limit / np.maximum(totals, 1.0))[cells.users]
    return dataclasses.replace(cells, impressions=cells.impressions * factors, clicks=cells.clicks * factors)


def too_little(made: list[Look]) -> str:
    """What a comparison still lacks."""
    if not made:
        return "no impression of both variants has a known click"
    both = made[-1].comparison
    users = min(both.control.users, both.treatment.users)
    clicks = min(both.control.clicks, both.treatment.clicks)
    return (
        f"each variant needs {MIN_USERS} users and {MIN_CLICKS} clicks; the smaller one has {users:,} users, "
        f"and the fewest clicks are {clicks:,.0f}"
    )


def _first_values(rows: pd.DataFrame, codes: np.ndarray, num_users: int, covariates: tuple[str, ...]) -> np.ndarray:
    order = np.argsort(rows["request_time"].to_numpy(), kind="stable")
    _, first = np.unique(codes[order], return_index=True)
    values = rows[list(covariates)].to_numpy(float)[order][first]
    assert len(values) == num_users
    return values


def _p99(seconds: np.ndarray) -> float | None:
    seconds = seconds[~np.isnan(seconds)]
    return float(np.quantile(seconds, 0.99)) if len(seconds) else None


def _mean(values: np.ndarray) -> float | None:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None


def _calibration(prediction: np.ndarray, click: np.ndarray) -> float | None:
    both = ~np.isnan(prediction) & ~np.isnan(click)
    clicks = click[both].sum()
    return float(prediction[both].sum() / clicks) if clicks > 0 else None
