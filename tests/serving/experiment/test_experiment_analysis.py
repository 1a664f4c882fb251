"""The report of an A/B test: what it concludes, from which rows, and the document."""

import datetime
import json

import numpy as np
import pandas as pd
import pytest

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.serving.experiment.analysis import analyse
from hivemill.serving.experiment.exposures.log import read_log
from hivemill.serving.experiment.options import ExperimentOptions
from tests.serving.experiment.exposure_logs import START, exposures

TODAY = datetime.date(2026, 12, 1)


def report(folder, frame, with_bootstrap=False, today=TODAY, **options):
    made = ExperimentOptions(**options)
    frame.to_parquet(folder / "log.parquet")
    log = read_log(folder / "log.parquet", slices=made.slices, covariates=made.covariates)
    document = analyse(log, made, with_bootstrap=with_bootstrap, today=today)
    json.dumps(document, allow_nan=False)  # a document of valid JSON, whatever came out
    return document


def test_a_better_canary(tmp_path):
    made = report(tmp_path, exposures(users=8000, lift=0.3), slices=("device",), with_bootstrap=True)
    assert made["version"] == 1 and made["verdict"]["state"] == "better" and made["verdict"]["colour"] == "green"
    assert made["ratio_check"]["state"] == "pass" and made["mixed_users"]["users"] == 0
    low, high = made["lift"]["always_valid"]["lift_interval"]
    assert 0 < low < 0.3 < high
    once, drawn = made["lift"]["one_look"]["lift_interval"], made["lift"]["bootstrap"]["lift_interval"]
    assert low < once[0] < once[1] < high and drawn == pytest.approx(once, abs=0.02)
    assert [look["date"] for look in made["looks"]] == ["2026-11-01", "2026-11-02", "2026-11-03"]
    assert [guard["state"] for guard in made["guardrails"]] == ["pass"] * 4
    assert made["variants"]["canary"]["model_versions"].keys() == {"1764000000"}
    assert {row["value"] for row in made["slices"]["rows"]} == {"phone", "desktop"}
    for row in made["slices"]["rows"]:
        assert row["corrected_p_value"] >= row["p_value"]
        assert row["significant"] or row["lift_interval"][0] < 0 < row["lift_interval"][1]


def test_a_worse_canary_and_no_difference(tmp_path):
    assert report(tmp_path, exposures(users=8000, lift=-0.3))["verdict"]["state"] == "worse"
    same = report(tmp_path, exposures(users=3000))["verdict"]
    assert same["state"] == "undecided" and "always-valid p" in same["reason"]


def test_a_difference_that_fades_is_said(tmp_path):
    """Significant on the first days, gone over all of them: the stop was right, to rely on it now may not be."""
    frame = exposures(users=6000, days=10, visits=2)
    random = np.random.default_rng(1)
    early = (frame["variant"] == "canary") & (frame["request_time"] < "2026-11-03")
    late = (frame["variant"] == "canary") & ~early
    frame.loc[early & (random.random(len(frame)) < 0.06), "click"] = 1
    frame.loc[late & (random.random(len(frame)) < 0.16), "click"] = 0
    verdict = report(tmp_path, frame)["verdict"]
    assert verdict["state"] == "better" and "may fade" in verdict["hint"]
    assert "may fade" not in str(report(tmp_path, exposures(users=8000, lift=0.3))["verdict"]["hint"])


def test_a_lost_part_of_canary_is_no_conclusion(tmp_path):
    """One in ten users of canary never reaches the log: whatever the clicks say, it does not count."""
    frame = exposures(users=8000, lift=0.5)
    lost = (frame["variant"] == "canary") & (frame["user_id"] % 10 == 0)
    made = report(tmp_path, frame[~lost])
    assert made["verdict"]["state"] == "invalid" and "sample ratio" in made["verdict"]["title"]
    assert made["ratio_check"]["p_value"] < 0.001


def test_the_split_can_be_told_where_the_log_has_no_propensity(tmp_path):
    frame = exposures(users=3000, percent=20).drop(columns="propensity")
    unknown = report(tmp_path, frame)
    assert unknown["ratio_check"]["state"] == "not judged" and unknown["split"]["from"] == "unknown"
    assert report(tmp_path, frame, treatment_share=0.2)["ratio_check"]["state"] == "pass"
    assert report(tmp_path, frame, treatment_share=0.5)["verdict"]["state"] == "invalid"


def test_a_ramp_is_judged_from_its_last_step_on(tmp_path):
    """Day 1 at 5 %, then 50 %: users of the new buckets saw stable before. Their old rows are left out, not they."""
    small, large = exposures(users=4000, percent=5, days=1), exposures(users=4000, percent=50, days=2, seed=2)
    large["request_time"] += np.timedelta64(1, "D")
    large["request_id"] = "late-" + large["request_id"]
    made = report(tmp_path, pd.concat([small, large], ignore_index=True))
    assert made["split"] == {
        "treatment_share": 0.5,
        "rows_under_other_splits": len(small),
        "rows_of_other_versions": 0,
        "from": "propensity",
    }
    assert made["mixed_users"]["users"] == 0 and made["ratio_check"]["state"] == "pass"
    assert made["period"]["days"] == 2


def test_last_weeks_canary_is_another_test(tmp_path):
    """The same split both weeks; last week's version was much worse. Fallbacks of this week's stay."""
    last, this = exposures(users=4000, lift=-0.5), exposures(users=4000, lift=0.4, seed=2)
    last.loc[last["variant"] == "canary", "model_version"] = 1762000000
    this["request_time"] += np.timedelta64(7, "D")
    this["request_id"] = "this-" + this["request_id"]
    fell_back = (this["variant"] == "canary") & (this.index % 500 == 250)
    this["error"] = fell_back
    this.loc[fell_back, "model_version"] = 1763000000
    made = report(tmp_path, pd.concat([last, this], ignore_index=True))
    assert made["verdict"]["state"] == "better" and made["period"]["first_utc"] >= "2026-11-08"
    assert fell_back.sum() == made["variants"]["canary"]["errors"] > 0
    before_canary = (this["request_time"] < this["request_time"][(this["model_version"] == 1764000000)].min()).sum()
    assert made["split"]["rows_of_other_versions"] == len(last) + before_canary


def test_users_in_both_variants(tmp_path):
    frame = exposures(users=4000).drop(columns="model_version")
    users = frame["user_id"].unique()
    few = frame.copy()
    few.loc[few["user_id"].isin(users[:20]) & (np.arange(len(few)) % 2 == 0), "variant"] = "canary"
    made = report(tmp_path, few)
    assert 0 < made["mixed_users"]["users"] <= 20 and made["verdict"]["state"] != "invalid"
    judged = sum(made["variants"][name]["judged"]["users"] for name in ("stable", "canary"))
    assert judged == frame["user_id"].nunique() - made["mixed_users"]["users"]
    frame["variant"] = np.where(np.random.default_rng(1).random(len(frame)) < 0.5, "canary", "stable")
    by_request = report(tmp_path, frame)
    assert by_request["verdict"]["state"] == "invalid" and "both variants" in by_request["verdict"]["title"]


@pytest.mark.parametrize(
    ("column", "value", "name"),
    [("error", True, "errors"), ("latency_seconds", 2.0, "p99 latency"), ("prediction", 0.9, "calibration")],
)
def test_a_guardrail_stops_whatever_the_clicks_say(tmp_path, column, value, name):
    frame = exposures(users=8000, lift=0.5)
    hit = (frame["variant"] == "canary") & (np.arange(len(frame)) % 3 == 0)
    frame.loc[hit, column] = value
    made = report(tmp_path, frame)
    assert made["verdict"]["state"] == "guardrail" and made["verdict"]["reason"].startswith(f"{name}: ")
    assert [guard["name"] for guard in made["guardrails"] if guard["state"] == "fail"] == [name]


def test_guardrails_without_their_columns_are_not_judged(tmp_path):
    frame = exposures(users=2000)[["request_time", "user_id", "variant", "click"]]
    states = {guard["name"]: guard["state"] for guard in report(tmp_path, frame)["guardrails"]}
    unknown = {"errors": "not judged", "p99 latency": "not judged", "calibration": "not judged"}
    assert states == unknown | {"clicks": "pass"}


def test_cuped_shows_what_it_took(tmp_path):
    frame = exposures(users=3000, visits=8)
    rates = frame.groupby("user_id")["prediction"].mean()
    stable = rates.where(rates.index % 10 != 0)
    frame["past_clicks"] = frame["user_id"].map(stable)
    made = report(tmp_path, frame, covariates=("past_clicks",))["lift"]
    assert 0.1 < made["cuped"]["variance_reduction"] < 0.9
    assert made["standard_error"] < made["cuped"]["without"]["standard_error"]
    assert made["cuped"]["users_with_history"] == pytest.approx(0.9 * frame["user_id"].nunique(), rel=0.01)


def test_too_early_no_clicks_and_no_known_clicks(tmp_path):
    assert report(tmp_path, exposures(users=50))["verdict"]["state"] == "too_early"
    frame = exposures(users=3000)
    without = report(tmp_path, frame.assign(click=0))
    assert without["verdict"]["state"] == "too_early" and without["lift"]["state"] == "unknown"
    assert "the fewest clicks are 0" in without["lift"]["why"]
    unknown = report(tmp_path, frame.assign(click=np.nan))
    assert unknown["lift"]["why"] == "no impression of both variants has a known click"
    assert unknown["log"]["rows_without_click"] == len(frame)


def test_a_planned_end_is_looked_at_once(tmp_path):
    frame = exposures(users=6000, lift=0.1, days=4)
    end = datetime.date(2026, 11, 3)
    early = report(tmp_path, frame[frame["request_time"] < START + np.timedelta64(2, "D")], planned_end=end,
                   today=end)  # fmt: skip
    assert early["verdict"]["state"] == "too_early" and "2026-11-03" in early["verdict"]["reason"]
    made = report(tmp_path, frame, planned_end=end)
    assert made["period"]["days"] == 3 and made["method"]["looks"] == "once"
    p_value = made["lift"]["one_look"]["p_value"]
    assert made["verdict"]["state"] == ("better" if p_value <= 0.05 else "undecided")


def test_one_variant_or_another_name_is_refused(tmp_path):
    frame = exposures(users=300)
    with pytest.raises(DataNotReadyError, match="one variant only: 'stable'"):
        report(tmp_path, frame[frame["variant"] == "stable"])
    with pytest.raises(ConfigError, match="no row has the variant 'green'") as caught:
        report(tmp_path, frame, treatment="green")
    assert "--treatment" in caught.value.hint
    three = frame.assign(variant=frame["variant"].where(frame["user_id"] % 3 > 0, "third"))
    made = report(tmp_path, three.drop(columns="propensity"))
    assert set(made["variants"]) == {"stable", "canary"}


def test_rare_slices_are_shown_not_judged_and_false_alarms_are_few(tmp_path):
    """60 slices without any difference: with correction none stands out."""
    frame = exposures(users=6000)
    frame["device"] = "d" + (np.arange(len(frame)) % 61).clip(0, 58).astype(str)
    frame.loc[0, "device"] = "once"
    made = report(tmp_path, frame, slices=("device",))["slices"]
    assert len(made["rows"]) == 50 and made["values_left_out"] == 10 and made["correction"] == "Holm"
    assert not any(row.get("significant") for row in made["rows"])
    few = report(tmp_path, frame.assign(device=np.where(frame.index < 30, "rare", "usual")), slices=("device",))
    assert {row["value"]: row["judged"] for row in few["slices"]["rows"]} == {"usual": True, "rare": False}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"control": "a", "treatment": "a"}, "two variants"),
        ({"salt": "a b"}, "salt must be"),
        ({"columns": {"uid": "x"}}, "no column of an exposure log"),
        ({"alpha": 0}, "greater than 0"),
        ({"guardrails": {"calibration_at_least": 2}}, "must not be above"),
    ],
)
def test_options_that_make_no_sense(options, match):
    with pytest.raises(ValueError, match=match):
        ExperimentOptions(**options)
