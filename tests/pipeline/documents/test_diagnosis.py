"""Why a model is poor: each cause from its own evidence, with its config line; nothing without that evidence."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml

from hivemill.pipeline.documents import diagnosis, verdict
from hivemill.pipeline.documents.diagnosis import Evidence

CONFIG = {
    "training": {"epochs": 40, "plateau": {"patience": 3}},
    "model": {"hidden_units": [256, 128], "dropout": 0.2, "embedding_l2": 0.001},
    "window": {"train_days": 14},
    "features": {
        "user": {"type": "categorical", "column": "user_id"},
        "tags": {"type": "multivalent", "column": None},
        "price": {"type": "numeric", "column": None},
    },
}
POOR = {"severity": "red", "kind": "auc", "message": "auc is 0.5, must be >= 0.6", "cause": "no_signal", "rank": 1}


def _model(**changes) -> dict:
    return {"blessed": False, "findings": [POOR], "bounds": [], "slices": [], "calibration_curve": [], **changes}


def _history(*losses, train=None, epochs=40.0) -> dict:
    """Checks at even distances up to `epochs`; by default all passes that CONFIG allows."""
    train = train or [1 / n for n in range(1, len(losses) + 1)]  # falls
    checks = [
        {"step": 50 * n, "epoch": epochs * n / len(losses), "loss": loss, "val_loss": val_loss}
        for n, (val_loss, loss) in enumerate(zip(losses, train, strict=True), start=1)
    ]
    return {"version": 2, "checks": checks, "num_parameters": 130_864}


def _data(train=(90_000, 0.2), evaluation=(1_000, 0.2), columns=()) -> dict:
    days = {"2026-11-14": ("train", *train), "2026-11-15": ("eval", *evaluation)}
    volume = {day: {"split": split, "rows": n, "click_rate": rate} for day, (split, n, rate) in days.items()}
    return {"volume": {"days": volume}, "columns": [{"feature": n, "unseen_share": s} for n, s in columns]}


def _found(model=None, data=None, config=CONFIG, history=None) -> list[dict]:
    evidence = Evidence(config, history or {})
    return diagnosis.findings(model or _model(), data or _data(), evidence, first_rank=2)


def _references(meaning: str) -> dict:
    return {"models": [{"name": "logistic_regression", "difference": {"normalized_entropy": {"meaning": meaning}}}]}


def test_undertrained_where_the_best_check_is_the_last():
    (one,) = _found(history=_history(0.6, 0.55, 0.52))
    assert (one["cause"], one["rank"], one["severity"]) == ("undertrained", 2, "amber")
    assert one["config"] == {"training.epochs": 80}
    assert one["message"] == (
        "the training ended too early: the validation logloss still fell at the last of 3 checks, from 0.5500 to "
        "0.5200. Try `training.epochs: 80` (now 40)"
    )


def test_a_single_check_is_the_last():
    (one,) = _found(history=_history(0.6))
    assert one["cause"] == "undertrained" and "was 0.6000 at its only check" in one["message"]


def test_overfit_names_the_step_from_which_the_loss_rose():
    (one,) = _found(history=_history(0.5, 0.4, 0.42, 0.45, 0.43))
    assert one["cause"] == "overfit" and one["config"] == {"model.embedding_l2": 0.003}
    assert "since step 100 the validation logloss rose from 0.4000 to 0.4500" in one["message"]
    assert "(now 0.001)" in one["message"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"model": {"dropout": 0}}, {"model.dropout": 0.2}),
        ({"model": {"dropout": 0.2, "embedding_l2": 0.0}}, {"model.embedding_l2": 0.001}),
        ({"training": {"plateau": None}}, {"training.plateau": {}}),
    ],
)
def test_what_is_tried_against_overfitting(changes, line):
    (one,) = _found(history=_history(0.4, 0.5, 0.6), config={**CONFIG, **changes})
    assert one["config"] == line


@pytest.mark.parametrize(
    "history",
    [
        _history(0.5, 0.4, 0.3999, epochs=12.5),  # ended on a plateau
        _history(0.5, 0.4, 0.405),  # wavers by 1.25 %
        _history(0.5, 0.4, 0.45, train=[0.5, 0.4, 0.41]),  # the training loss rose too: the step is too long
        {"version": 2, "checks": [{"epoch": 1, "loss": 0.4, "val_loss": None}]},  # nothing was validated
        {},
    ],
)
def test_no_cause_in_the_training(history):
    assert _found(history=history) == []


def test_too_few_clicks():
    few = _data(train=(5_000, 0.05))
    (one,) = _found(data=few, history={"num_parameters": 130_864})
    assert one["cause"] == "too_few_clicks" and one["value"] == pytest.approx(250)
    assert one["config"] == {"window.train_days": 56}
    assert one["message"].startswith("too few clicks for this network: 250 in the training days, 130,864 parameters.")
    assert _found(_model(references=_references("gain")), data=few) == []  # it does better than the regression


def test_unseen_ids_of_what_the_model_reads():
    columns = [("user_id", 0.42), ("tags", 0.25), ("price", 0.9), ("click_id", 1.0), ("device", 0.5)]
    (one,) = _found(data=_data(columns=columns))
    assert one["cause"] == "unseen_ids" and one["config"] == {"window.train_days": 28}
    assert "42 % of user_id, 25 % of tags. " in one["message"]
    assert _found(data=_data(columns=[("user_id", 0.1), ("tags", None)])) == []


def _calibrated(offset: float, slope: float = 1.0) -> dict:
    """Ten levels of 1,000 rows; the predicted logit is slope * true logit + offset."""
    curve = []
    for logit in (-4 + 0.4 * n for n in range(10)):
        rate, predicted = (1 / (1 + math.exp(-x)) for x in (logit, slope * logit + offset))
        curve.append({"examples": 1000, "mean_prediction": predicted, "click_rate": rate})
    curve.append({"examples": 0, "mean_prediction": None, "click_rate": None})
    value = sum(c["mean_prediction"] for c in curve[:10]) / sum(c["click_rate"] for c in curve[:10])
    interval = {"value": value, "lower": 0.97 * value, "upper": 1.03 * value}
    whole = {"slice": {}, "metrics": {"calibration": value}, "intervals": {"calibration": interval}}
    return _model(slices=[whole], calibration_curve=curve)


def test_predictions_off_by_a_constant_say_what_would_mend_it():
    (one,) = _found(_calibrated(0.5))
    assert one["cause"] == "constant_offset" and one["config"] == {"window.train_days": 7}
    assert "-0.50 added to each logit would mend it. Try" in one["message"]


def test_a_click_rate_that_moved_is_named():
    (one,) = _found(_calibrated(0.5), _data((90_000, 0.2), (1_000, 0.125)))
    assert "The click rate moved from 20 % in the training days to 12 %." in one["message"]


@pytest.mark.parametrize("model", [_calibrated(0.02), _calibrated(0.0, slope=2.0)])
def test_no_constant_would_mend_it(model):
    assert _found(model) == []


def test_a_network_too_large_is_what_remains():
    beaten = _model(references=_references("loss"))
    (one,) = _found(beaten)
    assert one["cause"] == "network_too_large" and one["config"] == {"model.hidden_units": [64, 32]}
    assert [one["cause"] for one in _found(beaten, history=_history(0.5, 0.4))] == ["undertrained"]
    assert _found(_model(references=_references("noise"))) == []


def test_causes_come_in_the_order_in_which_to_mend_them():
    found = _found(data=_data((900, 0.2), columns=[("user_id", 0.5)]), history=_history(0.5, 0.4))
    assert [one["cause"] for one in found] == ["undertrained", "too_few_clicks", "unseen_ids"]
    assert [one["rank"] for one in found] == [2, 3, 4]
    # Too few clicks ask for more days already: the next cause does not name the key again.
    assert [one["config"] for one in found] == [{"training.epochs": 80}, {"window.train_days": 56}, None]
    assert found[2]["message"].endswith("knows nothing: 50 % of user_id")


def test_nothing_is_said_of_a_good_model():
    assert _found(_model(findings=[]), history=_history(0.5, 0.4)) == []
    assert _found({"blessed": True}, history=_history(0.5, 0.4)) == []


def test_without_a_config_the_key_alone_is_named():
    (one,) = _found(history=_history(0.5, 0.4), config={})
    assert one["config"] is None and one["message"].endswith("Try `training.epochs`")


def test_evidence_of_a_run_folder(tmp_path: Path):
    assert Evidence.of(tmp_path) == Evidence()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (tmp_path / "history.json").write_text(json.dumps(_history(0.4)))
    evidence = Evidence.of(tmp_path)
    assert evidence.setting("training.epochs") == 40 and evidence.setting("training.epochs.x") is None
    assert len(evidence.checks()) == 1
    (tmp_path / "config.yaml").write_text("a: [")
    (tmp_path / "history.json").write_text("[")
    assert Evidence.of(tmp_path) == Evidence()


def test_the_verdict_names_the_cause():
    record = {"run_id": "2026-11-15-abc", "date": "2026-11-15"}
    evidence = Evidence(CONFIG, _history(0.5, 0.4))
    made = verdict.assemble(record, {"data": _data(), "model": _model()}, None, evidence=evidence)
    assert made["cause"] == "undertrained" and made["exit_code"] == 5
    assert made["reason"].startswith("model not blessed: auc is 0.5, must be >= 0.6; likely cause: the training ended")
    assert made["reason"].endswith("Try `training.epochs: 80` (now 40)")
    broken = _model(findings=[{**POOR, "cause": "bad_predictions"}])
    assert verdict.assemble(record, {"model": broken}, None, evidence=evidence)["cause"] == "bad_predictions"
