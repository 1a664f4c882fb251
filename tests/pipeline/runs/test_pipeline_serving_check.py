"""The serving check within a whole run: what it stops is not pushed, and the run goes on from there."""

import pytest

from tests.pipeline.shop import RUN_DATE, document, hivemill, make_shop

pytestmark = pytest.mark.slow


def runs_of(config):
    """Run folders, the one started last at the end."""
    folders = (config.parent / "root" / "runs").glob("*/run.json")
    return [file.parent for file in sorted(folders, key=lambda file: document(file.parent, "run.json")["started_utc"])]


def test_a_red_check_ends_with_6_pushes_nothing_and_the_run_goes_on(tmp_path, capsys):
    config = make_shop(tmp_path, rows_per_day=1_000)
    run = ("run", "--date", RUN_DATE)
    assert hivemill(config, *run, "--set", "serving_check.max_load_seconds=0.001") == 6
    assert "start and load: " in capsys.readouterr().err
    assert not (tmp_path / "root" / "models" / "shop").exists()
    (red,) = runs_of(config)
    verdict = document(red, "verdict.json")
    assert (verdict["exit_code"], verdict["colour"], verdict["serving"]["state"]) == (6, "red", "failed")
    assert verdict["reason"].startswith("serving check: start and load: ") and "> 0.0 s" in verdict["reason"]
    assert verdict["model"]["blessed"] and verdict["model"]["version"] is None
    states = {node["node_id"]: node["state"] for node in document(red, "run.json")["nodes"]}
    assert (states["Evaluator"], states["ServingCheck"], states["Pusher"]) == ("succeeded", "failed", "skipped")
    page = (red / "report.html").read_text(encoding="utf-8")
    assert "Serving check" in page and "✕ failed" in page
    # A red check finishes no run: the same command tries the check again.
    assert hivemill(config, *run, "--set", "serving_check.max_load_seconds=0.001") == 6

    assert hivemill(config, *run) == 0
    green = runs_of(config)[-1]
    states = {node["node_id"]: node["state"] for node in document(green, "run.json")["nodes"]}
    assert (states["Trainer"], states["Evaluator"], states["ServingCheck"]) == ("cached", "cached", "succeeded")
    serving = document(green, "verdict.json")["serving"]
    assert serving["state"] == "passed" and {one["signature"] for one in serving["differences"]} >= {"predict"}

    assert hivemill(config, *run, "--set", "gates.metrics.auc.min=0.99") == 5
    refused = document(runs_of(config)[-1], "verdict.json")
    assert (refused["exit_code"], refused["serving"]["state"]) == (5, "skipped")

    assert hivemill(config, *run, "--set", "serving_check.enabled=false") == 0
    last = runs_of(config)[-1]
    assert "ServingCheck" not in [node["node_id"] for node in document(last, "run.json")["nodes"]]
    assert document(last, "verdict.json")["serving"] is None
