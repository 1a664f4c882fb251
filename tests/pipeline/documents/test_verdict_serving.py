"""The serving check in the verdict: from the node's artifact, or from the error that a red one ends the run with."""

import json

import jsonschema

from hivemill.components.serving_check import judge
from hivemill.components.serving_check.options import ServingCheckOptions
from hivemill.pipeline.documents import verdict
from hivemill.schema import FOLDER

_SCHEMA = json.loads((FOLDER / "verdict.schema.json").read_text(encoding="utf-8"))
_RECORD = {"run_id": "2026-11-15-abc", "date": "2026-11-15"}
_MEASURED = {
    "server": {"kind": "dev server", "version": "0.1.0", "path": None},
    "rows": 256,
    "load_seconds": 5.5,
    "memory_bytes": 500 * 2**20,
    "differences": [{"signature": "predict", "what": "named columns", "rows": 256, "difference": float("inf")}],
    "latency": [{"rows": 1, "calls": 100, "p50_ms": 2.0, "p99_ms": 9.0}],
}
_MODEL = {
    "blessed": True,
    "baseline_version": None,
    "findings": [],
    "bounds": [],
    "slices": [],
    "calibration_curve": [],
}


def _is_valid(made):
    jsonschema.validate(made, _SCHEMA)
    json.dumps(made, allow_nan=False)
    return True


def test_a_green_check_comes_from_the_artifact():
    document = judge.judged(ServingCheckOptions(max_difference=None), _MEASURED)
    collected = {"data": None, "model": _MODEL, "serving": document, "model_version": 7}
    made = verdict.assemble(_RECORD, collected, None)
    assert _is_valid(made)
    assert (made["exit_code"], made["serving"]["state"]) == (0, "passed")


def test_a_red_check_comes_from_the_error_and_gives_the_reason():
    document = judge.judged(ServingCheckOptions(), _MEASURED)
    error = {"message": f"serving check: {document['reason']}", "hint": None, "exit_code": 6, "details": document}
    made = verdict.assemble(_RECORD, {"model": _MODEL, "serving": None}, error)
    assert _is_valid(made)
    assert (made["exit_code"], made["colour"], made["serving"]["state"]) == (6, "red", "failed")
    assert made["reason"].startswith("serving check: largest difference (signature `predict`")
    assert made["data"] is None, "details of a serving check are no findings on the data"


def test_a_server_that_ended_and_a_model_that_was_not_checked():
    stopped = judge.stopped("the dev server ended by itself", {"server": _MEASURED["server"]})
    error = {"message": stopped["reason"], "hint": None, "exit_code": 6, "details": stopped}
    assert _is_valid(verdict.assemble(_RECORD, {"model": _MODEL}, error))
    skipped = {"model": {**_MODEL, "blessed": False}, "serving": judge.skipped("not blessed")}
    assert _is_valid(verdict.assemble(_RECORD, skipped, None))


def test_a_verdict_of_before_has_no_check(tmp_path):
    made = {**verdict.assemble(_RECORD, {"model": _MODEL}, None)}
    del made["serving"]
    (tmp_path / "verdict.json").write_text(json.dumps(made))
    assert verdict.read(tmp_path)["serving"] is None
    assert _is_valid(made)
