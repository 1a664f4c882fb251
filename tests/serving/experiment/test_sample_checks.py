"""Wrong evidence: a test that ended, users in both variants, robots, variants without clicks."""

from __future__ import annotations

import dataclasses
import datetime

import numpy as np
import pandas as pd
import pytest

from hivemill.common.errors import DataNotReadyError
from hivemill.serving.experiment.analysis import analyse
from hivemill.serving.experiment.exposures.log import ExposureLog, LogCounts
from hivemill.serving.experiment.options import ExperimentOptions
from hivemill.serving.experiment.sample_checks import check_sample, faults
from hivemill.serving.experiment.stats.ratio import Rate, VariantComparison
from hivemill.serving.rollout.exposures import metrics_of_log
from hivemill.serving.rollout.state import new_rollout
from tests.serving.experiment.exposure_logs import exposures


def _report(frame: pd.DataFrame, **options):
    for name in ("user_id", "variant"):
        frame[name] = frame[name].astype(str).astype("category")
    log = ExposureLog(frame, LogCounts(len(frame), 0, 0, 0, 0, 0), (), ("log",))
    return analyse(log, ExperimentOptions(**options), today=datetime.date(2026, 12, 1))


def _after(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    """Rows of the day after: the split went back to 0 %, everybody is stable with certainty."""
    late = frame.tail(rows).assign(variant="stable", propensity=1.0)
    late["request_time"] = late["request_time"].max() + pd.Timedelta(days=1)
    return late.assign(request_id=[f"late{n}" for n in range(rows)], user_id=range(10**6, 10**6 + rows))


@pytest.mark.parametrize("rows", [1, 2_000])
def test_the_day_after_a_test_changes_nothing_of_its_report(rows):
    frame = exposures(users=6000, lift=0.3)
    during, after = _report(frame.copy()), _report(pd.concat([frame, _after(frame, rows)], ignore_index=True))
    assert during["verdict"] == after["verdict"] and after["verdict"]["state"] == "better"
    assert after["split"]["treatment_share"] == 0.5 and after["split"]["rows_under_other_splits"] == rows


@pytest.mark.parametrize("propensity", ["canary's share in all rows", "drawn by request"])
def test_a_propensity_that_is_none_is_explained(propensity):
    frame = exposures(users=2000, percent=10)
    drawn = np.random.default_rng(0).random(len(frame))
    frame["propensity"] = 0.1 if propensity == "canary's share in all rows" else drawn.round(9)
    with pytest.raises(DataNotReadyError, match="no split has rows of both variants") as error:
        _report(frame)
    assert "experiment.treatment_share" in str(error.value.hint)


def _with_lost_users(lost: float, percent: float) -> pd.DataFrame:
    """Some visits of each user get a fresh draw (a lost cookie); active users lose it more often."""
    random = np.random.default_rng(3)
    frame = exposures(users=40_000, percent=percent, visits=4, seed=2)
    fresh = random.random(len(frame)) < lost
    canary = np.where(fresh, random.random(len(frame)) < percent / 100, frame["variant"] == "canary")
    frame["variant"] = np.where(canary, "canary", "stable")
    frame["propensity"] = np.where(canary, percent / 100, 1 - percent / 100)
    return frame


def test_users_in_both_variants_are_counted_by_the_smaller_one():
    """3 % of the visits are 0.3 % of all users, and a quarter of those of canary at 1 %."""
    made = _report(_with_lost_users(0.03, 1))
    mixed = made["mixed_users"]
    assert mixed["users"] / 40_000 < 0.01 < mixed["share"] and mixed["of"] == "canary"
    assert made["verdict"]["state"] == "invalid" and "of the users of canary" in made["verdict"]["reason"]
    assert _report(_with_lost_users(0.0, 1))["verdict"]["state"] != "invalid"


def test_a_user_with_much_of_the_traffic_is_named_or_scaled_down():
    frame = exposures(users=3000)
    robot = frame[frame["variant"] == "canary"].head(1)
    many = pd.concat([robot] * 3000, ignore_index=True)
    many["request_id"], many["click"], many["prediction"] = [f"robot{n}" for n in range(3000)], 0, np.nan
    with_robot = pd.concat([frame, many], ignore_index=True)
    made = _report(with_robot.copy())
    assert made["verdict"]["state"] == "invalid" and str(robot["user_id"].iloc[0]) in made["verdict"]["reason"]
    assert made["heavy_users"][0]["impressions"] >= 3000
    capped = _report(with_robot.copy(), max_impressions_per_user=20)
    assert capped["verdict"]["state"] == "undecided" and capped["heavy_users"] == []
    assert capped["lift"]["lift"] == pytest.approx(_report(frame.copy())["lift"]["lift"], abs=0.02)


@pytest.mark.parametrize("variant", ["canary", "stable"])
def test_a_variant_without_a_click_is_red_at_once(variant):
    frame = exposures(users=4000)
    frame.loc[frame["variant"] == variant, "click"] = 0
    made = _report(frame)
    assert made["verdict"]["state"] == "guardrail" and f"{variant} expects" in made["verdict"]["reason"]


def test_few_rows_without_a_click_are_too_early():
    frame = exposures(users=60)
    frame["click"] = 0
    frame.loc[frame.index[frame["variant"] == "stable"][:3], "click"] = 1
    assert _report(frame)["verdict"]["state"] == "too_early"


def test_no_lift_is_below_minus_100_percent():
    comparison = VariantComparison(Rate(100, 1000, 100, 0.1, 1e-5), Rate(100, 1000, 1, 0.001, 1e-4))
    assert comparison.lift_interval(2.0).low == -1


def test_a_rollout_asks_what_the_report_asks(tmp_path):
    frame = _with_lost_users(0.03, 1)
    frame["request_time"] += pd.Timedelta(days=300)
    frame.drop(columns=["error", "model_version"]).to_parquet(tmp_path / "log.parquet")
    options = ExperimentOptions(log=str(tmp_path / "log.parquet"))
    rollout = dataclasses.replace(new_rollout(2, 1, 1), started_utc="2026-11-01T00:00:00+00:00")
    metrics = metrics_of_log(rollout, options)
    assert metrics.sample is not None and not metrics.sample.valid
    assert any("users saw both variants" in reason for reason in metrics.sample.reasons)
    assert metrics.variants.canary.errors is None  # the log has no column of errors: not known, and not 0


def test_the_checks_of_a_sound_sample_find_nothing():
    options = ExperimentOptions()
    assert faults(check_sample(exposures(users=3000), 0.5, options), options) == []
