"""A run against the runs before it."""

from __future__ import annotations

import json

import pytest

from hivemill.pipeline.documents import verdict
from hivemill.pipeline.history import trend


def made(auc: float | None, date: str = "2026-11-15", half: float = 0.002, **changes) -> dict:
    seen = {} if auc is None else {"auc": {"value": auc, "lower": auc - half, "upper": auc + half}}
    model = {"blessed": True, "bounds": [], "findings": [], "calibration_curve": [], "baseline_version": None}
    model["slices"] = [{"slice": {}, "metrics": {"auc": auc}, "intervals": seen}]
    known = {"version": 2, "run_id": f"r-{date}", "date": date, "colour": "green", "exit_code": 0, "reason": "ok"}
    return known | {"cause": None, "data": None, "model": model, "trend": []} | changes


STEADY = [made(0.730 + 0.001 * (week % 3), f"2026-{9 + week // 4:02}-{1 + week % 4 * 7:02}") for week in range(10)]


@pytest.mark.parametrize(("auc", "inside"), [(0.731, True), (0.727, True), (0.70, False), (0.76, False)])
def test_inside_and_outside(auc, inside):
    (found,) = trend.compare(made(auc)["model"], STEADY)
    assert found["inside"] is inside and found["runs"] == trend.LAST_RUNS
    assert found["median"] == pytest.approx(0.731, abs=0.001)
    assert found["lower"] < found["median"] < found["upper"]
    assert len(trend.findings([found], 1)) == (not inside)


def test_an_uncertain_value_is_given_more_room():
    (narrow,) = trend.compare(made(0.72, half=0.001)["model"], STEADY)
    (wide,) = trend.compare(made(0.72, half=0.02)["model"], STEADY)
    assert not narrow["inside"] and wide["inside"]


def test_too_few_runs_are_no_trend():
    assert trend.compare(made(0.2)["model"], STEADY[:3]) == []
    assert trend.compare(None, STEADY) == [] and trend.compare(made(None)["model"], STEADY) == []


def test_runs_that_are_all_the_same_do_not_alarm_at_the_next_digit():
    (found,) = trend.compare(made(0.7301, half=0.0)["model"], [made(0.73, half=0.0)] * 6)
    assert found["inside"]


def test_off_the_trend_is_amber_with_the_arithmetic():
    record = {"run_id": "r", "date": "2026-11-22"}
    collected = {"model": made(0.70)["model"], "model_version": 7}
    document = verdict.assemble(record, collected, None, STEADY)
    assert (document["colour"], document["exit_code"], document["cause"]) == ("amber", 0, "trend")
    (finding,) = document["model"]["findings"]
    assert finding["message"].startswith("auc is 0.7000, outside the trend of the last 8 runs (0.7")


def test_only_earlier_runs_that_pushed_count_and_the_last_of_a_day(tmp_path):
    def write(document, run_id):
        folder = tmp_path / "runs" / run_id
        folder.mkdir(parents=True)
        (folder / "verdict.json").write_text(json.dumps({**document, "run_id": run_id}))

    write(made(0.7, "2026-11-01"), "first")
    write(made(0.9, "2026-11-01"), "again")
    write(made(0.1, "2026-11-08", colour="red", exit_code=5), "refused")
    write(made(0.8, "2026-11-22"), "later")
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "verdict.json").write_text("{half")
    found = verdict.earlier_verdicts(tmp_path, "2026-11-15")
    assert [one["run_id"] for one in found] == ["again"]
    assert [one["run_id"] for one in verdict.earlier_verdicts(tmp_path, "2026-11-22", "again")] == ["first"]
