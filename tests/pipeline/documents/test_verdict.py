"""The verdict of a run from what the nodes said."""

import pytest

from hivemill.pipeline.documents import verdict

_RECORD = {"run_id": "2026-11-15-abc", "date": "2026-11-15"}


def _model(blessed: bool) -> dict:
    value = 0.71 if blessed else 0.49
    bound = {"metric": "auc", "slice": {}, "value": value, "baseline": None, "rule": "auc >= 0.5"}
    return {
        "blessed": blessed,
        "baseline_version": None,
        "bounds": [{**bound, "passed": blessed, "judged": True}],
        "slices": [],
        "calibration_curve": [],
    }


def _collected(colour: str, blessed: bool) -> dict:
    data = {"colour": colour, "findings": []}
    return {"data": data, "model": _model(blessed), "model_version": 7 if blessed else None}


@pytest.mark.parametrize(
    ("collected", "error", "exit_code", "colour", "words"),
    [
        (
            {"data": {"colour": "green", "findings": []}, "model": _model(True), "model_version": 7},
            None,
            0,
            "green",
            "7",
        ),
        (
            {"data": {"colour": "amber", "findings": []}, "model": _model(True), "model_version": 7},
            None,
            0,
            "amber",
            "7",
        ),
        (
            {"data": {"colour": "green", "findings": []}, "model": _model(False), "model_version": None},
            None,
            5,
            "red",
            "auc",
        ),
        ({}, {"message": "price is missing\nmore", "hint": None, "exit_code": 4}, 4, "red", "price is missing"),
        ({}, None, 1, "red", "without a model"),
    ],
)
def test_outcome(collected, error, exit_code, colour, words):
    made = verdict.assemble(_RECORD, collected, error)
    assert (made["exit_code"], made["colour"]) == (exit_code, colour)
    assert words in made["reason"] and "\n" not in made["reason"]


def test_red_data_verdict_comes_from_the_error_since_the_failed_node_left_no_artifact():
    section = {"colour": "red", "findings": [{"severity": "red", "kind": "label", "message": "click has 5"}]}
    error = {"message": "red", "hint": None, "exit_code": 4, "details": section}
    assert verdict.assemble(_RECORD, {}, error)["data"] == section


def test_refused_model_has_an_error_card_with_the_bound():
    collected = {"model": _model(False), "model_version": None}
    made = verdict.assemble(_RECORD, collected, None)
    card = verdict.refusal_card(made)
    assert card["exit_code"] == 5
    assert "0.49" in card["message"]
    assert verdict.refusal_card({"exit_code": 0}) is None
