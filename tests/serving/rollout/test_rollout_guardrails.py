"""Guardrails by hand-computed numbers; the metrics document; options."""

import dataclasses
import datetime
import json

import pytest
import scipy.stats
from pydantic import ValidationError

from hivemill.common.errors import DataNotReadyError
from hivemill.serving.rollout import guardrails
from hivemill.serving.rollout.metrics import RolloutMetrics, read_metrics
from hivemill.serving.rollout.options import RolloutOptions
from hivemill.serving.rollout.state import new_rollout

NOW = datetime.datetime.now(datetime.timezone.utc)
OPTIONS = RolloutOptions(min_hours=0, min_impressions=1000)
GOOD = {"impressions": 10_000, "clicks": 800, "errors": 0, "p99_latency_seconds": 0.01, "mean_prediction": 0.08}


def document(canary=None, stable=None, lift=(-0.02, 0.05)):
    return {
        "version": 1,
        "since_utc": NOW.isoformat(),
        "until_utc": (NOW + datetime.timedelta(minutes=5)).isoformat(),
        "variants": {
            "stable": {"model_version": 1, **GOOD, **(stable or {})},
            "canary": {"model_version": 2, **GOOD, **(canary or {})},
        },
        "lift": None if lift is None else {"low": lift[0], "high": lift[1]},
    }


def finding(name, canary=None, stable=None, lift=(-0.02, 0.05), percent=5, options=OPTIONS):
    metrics = RolloutMetrics.model_validate_json(json.dumps(document(canary, stable, lift)), strict=True)
    judged = guardrails.judge(new_rollout(2, 1, percent), metrics, options, NOW)
    return next(one for one in judged.findings if one.name == name)


def test_the_chance_of_so_many_errors():
    assert guardrails.binomial_tail(1, 20, 0.001) == pytest.approx(1 - 0.999**20)
    assert guardrails.binomial_tail(2, 3, 0.5) == pytest.approx(0.5)
    assert [guardrails.binomial_tail(*each) for each in ((0, 5, 0.1), (1, 5, 0.0), (5, 5, 1.0))] == [1.0, 0.0, 1.0]
    for count, total, share in ((12, 1000, 0.005), (300, 100_000, 0.0025), (60, 10_000, 0.001)):
        peer = scipy.stats.binom.sf(count - 1, total, share)
        assert guardrails.binomial_tail(count, total, share) == pytest.approx(peer, abs=1e-9)


@pytest.mark.parametrize(
    "errors, of, colour",
    [(0, 10_000, "green"), (10, 10_000, "green"), (11, 10_000, "wait"), (1, 20, "wait"), (60, 10_000, "red")],
)
def test_errors(errors, of, colour):
    found = finding("errors", {"errors": errors, "impressions": of, "clicks": 0})
    assert found.colour == colour
    assert "0.000% of stable; at most 0.100%" in found.message


def test_errors_that_stable_has_too_are_not_canarys():
    assert finding("errors", {"errors": 500}, {"errors": 500}).colour == "green"


@pytest.mark.parametrize(
    "canary, stable, impressions, colour",
    [(0.015, 0.01, 10_000, "green"), (0.016, 0.01, 10_000, "red"), (0.016, 0.01, 999, "wait"),
     (0.11, 0.09, 10_000, "red"), (None, 0.01, 10_000, "wait"), (0.09, None, 10_000, "green")],
)  # fmt: skip
def test_latency(canary, stable, impressions, colour):
    more = {"p99_latency_seconds": canary, "impressions": impressions, "clicks": 0}
    assert finding("latency", more, {"p99_latency_seconds": stable}).colour == colour


@pytest.mark.parametrize(
    "canary, colour",
    [
        ({"clicks": 800}, "green"),
        ({"clicks": 641}, "green"),  # 800 / 641 = 1.248
        ({"clicks": 630}, "wait"),  # 1.270: ln(1.270 / 1.25) = 0.016 < 3.29 / sqrt(630) = 0.131
        ({"clicks": 400}, "red"),  # 2.0
        ({"clicks": 1300}, "red"),
        ({"clicks": 0, "mean_prediction": 0.0005}, "wait"),  # 5 predicted, none came: exp(-5) = 0.7 %
        ({"clicks": 0, "mean_prediction": 0.08}, "red"),
        ({"mean_prediction": None}, "wait"),
        ({"mean_prediction": 0.0}, "red"),
    ],
)
def test_calibration(canary, colour):
    assert finding("calibration", canary).colour == colour


def test_canary_may_be_as_far_off_as_stable():
    assert finding("calibration", {"clicks": 400}, {"clicks": 400}).colour == "green"


def test_calibration_is_of_the_impressions_whose_click_is_known():
    assert finding("calibration", {"clicks": 80, "impressions_with_click_known": 1_000}).colour == "green"


@pytest.mark.parametrize(
    "lift, percent, colour",
    [
        ((-0.3, 0.1), 5, "green"),
        ((-0.3, 0.1), 50, "wait"),  # before 100 % a loss of 5 % must be ruled out
        ((-0.05, 0.1), 50, "green"),
        ((-0.3, -0.001), 1, "red"),
        (None, 1, "wait"),
    ],
)
def test_ctr(lift, percent, colour):
    assert finding("ctr", lift=lift, percent=percent).colour == colour


def test_a_judgement_is_its_worst_finding():
    metrics = RolloutMetrics.model_validate_json(json.dumps(document({"errors": 2_000}, lift=None)), strict=True)
    judged = guardrails.judge(new_rollout(2, 1, 5), metrics, OPTIONS, NOW)
    assert judged.colour == "red" and len(judged.messages("red")) == 1 and judged.messages("wait")


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda d: d["variants"]["canary"].update(clicks=10_001), "clicks and errors must not be more"),
        (lambda d: d["variants"]["canary"].update(impressions="many"), "`variants.canary.impressions`"),
        (lambda d: d["variants"].pop("stable"), "`variants.stable`"),
        (lambda d: d.update(extra=1), "`extra`"),
        (lambda d: d.update(version=2), "`version`"),
        (lambda d: d.update(since_utc="2026-11-15T00:00:00"), "`since_utc`"),
        (lambda d: d.update(since_utc="2099-01-01T00:00:00Z"), "since_utc must not be after until_utc"),
        (lambda d: d["lift"].update(low=0.5, high=0.1), "low must not be above high"),
    ],
)
def test_a_document_that_is_wrong_names_file_key_rule_and_value(tmp_path, change, told):
    wrong = document()
    change(wrong)
    (tmp_path / "m.json").write_text(json.dumps(wrong))
    with pytest.raises(DataNotReadyError) as caught:
        read_metrics(tmp_path / "m.json")
    assert "m.json" in caught.value.message and told in caught.value.message


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": NaN}', "\ud83d"])
def test_what_is_no_document(tmp_path, content):
    (tmp_path / "m.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataNotReadyError, match=r"m\.json"):
        read_metrics(tmp_path / "m.json")
    with pytest.raises(DataNotReadyError, match=r"none\.json: No such file"):
        read_metrics(tmp_path / "none.json")


@pytest.mark.parametrize(
    "wrong",
    [{"percentages": ()}, {"percentages": (5, 1, 100)}, {"percentages": (1, 50)}, {"percentages": (0, 100)},
     {"server": "localhost"}, {"server": "a:0"}, {"server": "a:1,b"}, {"server": ""}, {"approval": "maybe"}],
)  # fmt: skip
def test_options_that_are_refused(wrong):
    with pytest.raises(ValidationError):
        RolloutOptions(**wrong)


def test_addresses():
    assert RolloutOptions(server="a:8500, [::1]:8501").addresses() == ["a:8500", "[::1]:8501"]
    assert RolloutOptions().addresses() == []


@pytest.mark.parametrize(("hours", "refused"), [(-27, True), (-25, False), (1, False), (27, True)])
def test_metrics_must_end_about_now(hours, refused):
    """Those of the future are of a wrong clock or time zone, and would never become old."""
    until = NOW + datetime.timedelta(hours=hours)
    rollout = dataclasses.replace(new_rollout(2, 1, 5), started_utc=(NOW - datetime.timedelta(hours=30)).isoformat())
    since = (NOW - datetime.timedelta(hours=29)).isoformat()
    made = document() | {"since_utc": since, "until_utc": until.isoformat()}
    metrics = RolloutMetrics.model_validate_json(json.dumps(made), strict=True)
    found = guardrails.refusal(rollout, metrics, OPTIONS, NOW)
    assert (found is not None) == refused
    assert not refused or f"{abs(hours):.1f} hours {'ago' if hours < 0 else 'ahead'}" in found


def _validity(valid, **options):
    made = document()
    made["sample"] = {"valid": valid, "reasons": [] if valid else ["the sample ratio is wrong: 3 % of users"]}
    metrics = RolloutMetrics.model_validate_json(json.dumps(made), strict=True)
    judged = guardrails.judge(new_rollout(2, 1, 5), metrics, OPTIONS.model_copy(update=options), NOW)
    return next(one for one in judged.findings if one.name == "validity")


def test_a_rollout_never_goes_on_with_an_invalid_sample():
    assert _validity(True).colour == "green"
    assert _validity(False).colour == "wait" and "the sample ratio is wrong" in _validity(False).message
    assert _validity(False, on_invalid_sample="abort").colour == "red"
    assert finding("validity").message.startswith("not judged")


def test_unknown_errors_are_not_zero():
    found = finding("errors", {"errors": None})
    assert (found.colour, found.message[:10]) == ("wait", "not judged")


def test_no_click_where_many_are_expected_is_red_without_predictions():
    nothing = {"clicks": 0, "mean_prediction": None}
    assert finding("ctr", nothing, lift=None).colour == "red"  # 800 are expected
    assert finding("ctr", {**nothing, "impressions": 300}, lift=None).colour == "wait"  # 24
