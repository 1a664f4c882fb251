"""Exit code, report page, TensorBoard card, alert and `status` say the same, because they read the same document."""

from __future__ import annotations

import copy
import html
import json
import re
import sys
from pathlib import Path

import jsonschema
import pytest

from hivemill.pipeline import tensorboard
from hivemill.pipeline.alerts.delivery import Alerts
from hivemill.pipeline.alerts.options import AlertOptions
from hivemill.pipeline.cli.verbs.runs import _status_text
from hivemill.pipeline.documents import verdict, verdict_summary
from hivemill.pipeline.report import page as report
from hivemill.pipeline.runs import records
from tests.pipeline.report import run_folders

SCHEMA = json.loads((Path(__file__).parents[3] / "schema" / "verdict.schema.json").read_text(encoding="utf-8"))
_RECORD = {"run_id": "2026-11-15-3fa9c1d2", "date": "2026-11-15"}
_DRIFT = {
    "severity": "red",
    "kind": "drift",
    "feature": "price",
    "split": "train",
    "measure": "js",
    "value": 0.31,
    "threshold": 0.2,
    "threshold_source": "default",
    "message": "price: JS 0.31 > 0.20; bins 50-100: 12 % -> 31 % <now>",
    "arithmetic": [{"bin": "50-100", "before": 0.12, "after": 0.31}],
    "cause": "unit_change",
    "rank": 1,
}
_AMBER = {**_DRIFT, "severity": "amber", "message": "item_id: 4 % of the ids are new", "kind": "coverage"}


def _model(blessed: bool, **changes) -> dict:
    section = copy.deepcopy(run_folders.model_section(blessed=blessed, version=None))
    section["findings"] = []
    if not blessed:
        message = "the predictions are all the same: the model ignores its features"
        finding = {"severity": "red", "kind": "logit_range", "slice": {}, "value": 0.0, "message": message}
        section["findings"] = [{**finding, "cause": "constant_prediction", "rank": 1}]
        section["bounds"][0] = {**section["bounds"][0], "passed": False, "cause": "constant_prediction"}
    return section | changes


def _green() -> dict:
    return verdict.assemble(_RECORD, {"data": {"colour": "green", "findings": []}, **_pushed()}, None)


def _pushed() -> dict:
    return {"model": _model(True), "model_version": 7}


def _amber() -> dict:
    return verdict.assemble(_RECORD, {"data": {"colour": "amber", "findings": [_AMBER]}, **_pushed()}, None)


def _red_data() -> dict:
    details = {"colour": "red", "findings": [_DRIFT, _AMBER]}
    message = f"data verdict red: {_DRIFT['message']} (and 1 more)\n  - more"
    return verdict.assemble(_RECORD, {}, {"message": message, "hint": "h", "exit_code": 4, "details": details})


def _refused() -> dict:
    data = {"colour": "green", "findings": []}
    return verdict.assemble(_RECORD, {"data": data, "model": _model(False), "model_version": None}, None)


def _broken_disk() -> dict:
    return verdict.assemble(_RECORD, {}, {"message": "no space left on /disk", "hint": None, "exit_code": 6})


CASES = {function.__name__[1:]: function for function in (_green, _amber, _red_data, _refused, _broken_disk)}
EXPECTED = {
    "green": ("green", 0, "Green: Model pushed", None),
    "amber": ("amber", 0, "Amber: Model pushed, with warnings", "unit_change"),
    "red_data": ("red", 4, "Red: Stopped: the data verdict is red", "unit_change"),
    "refused": ("red", 5, "Red: Not pushed: a gate refused the model", "constant_prediction"),
    "broken_disk": ("red", 6, "Red: Failed: serving check or infrastructure", None),
}


@pytest.fixture(params=CASES, name="case")
def _case(request, tmp_path) -> tuple[str, dict, Path]:
    """The run folder as running.py leaves it: run.json's exit code is the verdict's."""
    made = CASES[request.param]()
    root = tmp_path / "root"
    folder = root / "runs" / made["run_id"]
    state = "succeeded" if made["exit_code"] == 0 else "failed"
    version = (made["model"] or {}).get("version")
    record = run_folders.run_document(state=state, exit_code=made["exit_code"], model_version=version, error=None)
    run_folders.write(folder, run=record, verdict=made)
    return request.param, made, root


def test_the_document_keeps_its_schema(case):
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert [error.message for error in validator.iter_errors(case[1])] == []


@pytest.mark.parametrize(
    "break_it",
    [
        lambda made: made.pop("cause"),
        lambda made: made.update(colour="blue"),
        lambda made: made.update(colour="green", exit_code=4),
        lambda made: made.update(reason="two\nlines"),
        lambda made: made.update(extra=1),
        lambda made: made["model"]["bounds"][0].pop("rule"),
        lambda made: made["model"]["findings"][0].update(cause="bad luck"),
    ],
)
def test_the_schema_refuses_what_is_no_verdict(break_it):
    made = copy.deepcopy(_refused())
    break_it(made)
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(made)


def test_all_five_say_the_same(case):
    name, made, root = case
    colour, exit_code, headline, cause = EXPECTED[name]
    folder = root / "runs" / made["run_id"]
    assert (made["colour"], made["exit_code"], made["cause"]) == (colour, exit_code, cause)
    said = {
        "page": _of_page(report.render(folder)),
        "card": _of_card(folder),
        "alert": _of_alert(made, root),
        "status": _status_text(records.status(root), root),
    }
    assert records.RunFolder(root, made["run_id"]).read()["exit_code"] == exit_code
    for surface, text in said.items():
        text = " ".join(text.split())
        assert headline in text, surface
        assert " ".join(made["reason"].split()) in text, surface
        assert f"exit code {exit_code}" in text.lower(), surface
        for other in ("Green:", "Amber:", "Red:"):
            assert (other in text) == (other == headline.split()[0]), surface
        for one in verdict_summary.all_findings(made):
            assert one["message"] in text, surface


def _of_page(page: str) -> str:
    return html.unescape(re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)).replace(" :", ":")


def _of_card(folder: Path) -> str:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    tensorboard.write_run(folder)
    (file,) = (folder / "tensorboard").rglob("events*")
    values = [value for event in EventFileLoader(str(file)).Load() for value in event.summary.value]
    assert [value.tag for value in values] == ["verdict/card"]
    text = values[0].tensor.string_val[0].decode()
    return html.unescape(re.sub(r"\\(.)", r"\1", text))


def _of_alert(made: dict, root: Path) -> str:
    """What a command gets on its standard input: the generic document."""
    seen = root / "alert.txt"
    code = "import sys, json, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())"
    options = AlertOptions(channels=({"type": "command", "command": (sys.executable, "-c", code, str(seen))},))
    alerts = Alerts(options, root)
    red_before = {**made, "colour": "red", "exit_code": 6, "reason": "before", "data": None, "model": None}
    assert alerts.verdict(red_before)[0]["state"] == "sent"  # so that green has something to recover from
    assert alerts.verdict(made)[0]["state"] == "sent"
    document = json.loads(seen.read_text())
    assert document["event"] == {"green": "recovery"}.get(made["colour"], made["colour"])
    assert (document["colour"], document["exit_code"], document["cause"]) == tuple(
        made[key] for key in ("colour", "exit_code", "cause")
    )
    found = " ".join(one["message"] for one in document["findings"])
    return f"{document['headline']} {document['reason']} {found} exit code {document['exit_code']}"


def test_version_1_is_read_and_said_too(tmp_path):
    old = run_folders.verdict_document(colour="red", exit_code=5, reason="model not blessed: auc", version=1)
    folder = run_folders.write(tmp_path / "runs" / "old", run=run_folders.run_document(exit_code=5), verdict=old)
    made = verdict.read(folder)
    assert made["cause"] is None and made["trend"] == [] and made["version"] == 1
    assert verdict_summary.summary_of(made).headline in _of_page(report.render(folder))
    assert verdict_summary.markdown(made).startswith("## ✕ Red: Not pushed")
    assert verdict.read(run_folders.write(tmp_path / "new", verdict={**old, "version": 3})) is None
