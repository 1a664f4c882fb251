"""begin, node, end: what holds between the processes of a run. Nodes themselves are launched in the slow tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hivemill.common.errors import DataVerdictError, InfrastructureError, LockHeldError
from hivemill.pipeline.cli.console import Console
from hivemill.pipeline.config.loader import load
from hivemill.pipeline.metadata.root_id import identity
from hivemill.pipeline.root import lock
from hivemill.pipeline.runs import records, run, stepwise_run
from hivemill.pipeline.runs.compiled_pipeline import PIPELINE_JSON
from hivemill.pipeline.runs.records import NodeRecord, RunFolder
from hivemill.pipeline.scheduling import dates
from tests.pipeline.shop import RUN_DATE, document, hivemill, make_shop, only_run, tree

RUN_ID = f"{RUN_DATE}-1a2b3c4d"


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    return make_shop(tmp_path_factory.mktemp("shop"), rows_per_day=50)


@pytest.fixture
def config(shop, tmp_path) -> Path:
    shutil.copytree(shop.parent, tmp_path / "shop")
    return tmp_path / "shop" / "hivemill.yaml"


@pytest.fixture
def root(config) -> Path:
    return config.parent / "root"


@pytest.fixture
def begun(root) -> RunFolder:
    """A run that job-1 has begun; its compiled pipeline is no real one."""
    folder = RunFolder(root, RUN_ID)
    folder.write(new_record())
    folder.file(PIPELINE_JSON).write_text("{}")
    return folder


def new_record(**facts) -> dict:
    made = records.new_record(RUN_ID, dates.day(RUN_DATE), 1, runner="steps", lateness=None, job="job-1")
    return made | facts


def test_run_that_a_job_has_begun_is_running_and_keeps_other_runs_out(begun, config, root, capsys):
    (shown,) = records.list_runs(root)
    assert shown["state"] == "running"
    before = tree(root)
    assert hivemill(config, "run", "--date", RUN_DATE) == LockHeldError.exit_code
    said = capsys.readouterr().err
    assert RUN_ID in said and "job job-1 launches its nodes" in said and "node --end --job job-1" in said
    assert hivemill(config, "node", "--begin", "--date", RUN_DATE, "--job", "job-2") == LockHeldError.exit_code
    after = tree(root)
    assert {name for name in after if name.startswith("runs/")} == {name for name in before if name.startswith("runs/")}


def test_job_that_begins_twice_goes_on_with_its_run(begun, config, capsys):
    """An orchestrator starts the container again when its machine was lost after the work was done."""
    target = config.parent / "out" / "path"
    words = ["--date", RUN_DATE, "--job", "job-1", "--pipeline-to", str(target)]
    assert hivemill(config, "node", "--begin", *words) == 0
    assert target.read_text() == str(begun.file(PIPELINE_JSON)) == capsys.readouterr().out.strip()
    assert begun.read()["attempt"] == 1


def test_begin_that_fails_while_it_compiles_leaves_no_run_that_stands_as_running(config, root, monkeypatch):
    def broken(self):
        raise InfrastructureError("no TensorFlow today")

    monkeypatch.setattr(run._Run, "compiled", broken)
    assert hivemill(config, "node", "--begin", "--date", RUN_DATE, "--job", "job-1") == 6
    assert document(only_run(config), "run.json")["state"] == "failed"
    assert json.loads((root / "jobs" / "job-1.json").read_text())["error"]["message"] == "no TensorFlow today"
    assert lock.stale(root) is None
    records.check_no_other_job(root, "job-2")


def test_data_that_are_not_ready_end_begin_with_3_and_end_tells_it_once(config, root, capsys):
    late = ["--set", "window.train_days=40"]
    assert hivemill(config, *late, "node", "--begin", "--date", RUN_DATE, "--job", "job-1") == 3
    assert not (root / "runs").exists()
    capsys.readouterr()
    assert hivemill(config, *late, "--json", "node", "--end", "--job", "job-1") == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["run_id"] is None and "2026-10" in said.err


def test_job_that_never_began_is_told_and_alerted(config, root, capsys, monkeypatch):
    monkeypatch.delenv("HOOK", raising=False)
    channel = "alerts.channels=[{type: webhook, url_env: HOOK}]"
    assert hivemill(config, "--set", channel, "node", "--end", "--job", "job-9") == 6
    said = capsys.readouterr().err
    assert "job job-9 has begun no run" in said
    assert "was not delivered" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--begin", "--job", "j"], "hivemill node --begin needs --date"),
        (["--begin", "--date", RUN_DATE], "hivemill node --begin needs --job"),
        (["--end"], "hivemill node --end needs --job"),
        (["--node", "Trainer"], "hivemill node --node needs --pipeline"),
        (["--node", "Trainer", "--end"], "not allowed with argument"),
        ([], "one of the arguments --begin --node --end is required"),
        (["--begin", "--date", RUN_DATE, "--job", "../x"], "--job must be letters"),
        (["--end", "--job", "j", "--overrides", "training.epochs=5"], "--overrides must be a JSON list"),
        (["--end", "--job", "j", "--overrides", "[5]"], "--overrides must be a JSON list"),
        (["--end", "--job", "j", "--config-text", "nmae: x"], "nmae"),
        (["--node", "Trainer", "--pipeline", "nowhere/pipeline.json"], "there is no run beside"),
    ],
)
def test_usage(config, capsys, words, said):
    assert hivemill(config, "node", *words) == 2
    assert said in capsys.readouterr().err


def test_node_of_a_finished_run_does_nothing_and_of_a_failed_one_says_so(begun, capsys):
    begun.write(new_record(state="succeeded", exit_code=0))
    assert stepwise_run.launch(str(begun.file(PIPELINE_JSON)), "Trainer", Console()) is None
    assert "Nothing to do" in capsys.readouterr().err
    begun.write(new_record(state="failed", exit_code=5))
    with pytest.raises(InfrastructureError, match="has ended with exit code 5"):
        stepwise_run.launch(str(begun.file(PIPELINE_JSON)), "Trainer", Console())


def test_verdict_is_told_again_without_a_second_try_and_an_outage_is_tried_again(begun, monkeypatch):
    tried = []
    monkeypatch.setattr(stepwise_run, "_launched", lambda *words: tried.append(words[1]))
    monkeypatch.setattr(stepwise_run, "read_pipeline", lambda path: None)
    card = {"message": "JS 0.31 > 0.20", "hint": "Look.", "exit_code": 4, "details": {"colour": "red"}}
    begun.write_node(NodeRecord("DataVerdict", "failed", 1.0, error=card))
    with pytest.raises(DataVerdictError, match=r"JS 0\.31") as caught:
        stepwise_run.launch(str(begun.file(PIPELINE_JSON)), "DataVerdict", Console())
    assert (caught.value.hint, caught.value.details, tried) == ("Look.", {"colour": "red"}, [])
    begun.write_node(NodeRecord("DataVerdict", "failed", 1.0, error=card | {"exit_code": 6}))
    stepwise_run.launch(str(begun.file(PIPELINE_JSON)), "DataVerdict", Console())
    assert tried == ["DataVerdict"]


def test_end_of_a_run_without_a_pipeline_says_what_is_missing_and_frees_the_root(begun, config, root, capsys):
    """begin was killed before it had compiled."""
    begun.file(PIPELINE_JSON).unlink()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-m", "hivemill", "--config", str(config), "node", "--end", "--job", "job-1"]
    done = subprocess.run(command, cwd=config.parent, env=environment, capture_output=True, text=True, timeout=300)
    record = begun.read()
    assert (done.returncode, record["state"], record["exit_code"]) == (6, "failed", 6), done.stderr
    assert "has not compiled" in record["error"]["message"]
    assert begun.file(records.VERDICT_JSON).exists() and begun.file(records.REPORT_HTML).exists()
    records.check_no_other_job(root, None)
    assert hivemill(config, "node", "--end", "--job", "job-1") == 6


def test_config_text_stands_for_the_file(config, monkeypatch, tmp_path):
    text = config.read_text()
    elsewhere = tmp_path / "elsewhere" / "hivemill.yaml"
    loaded = load(elsewhere, text=text)
    assert loaded.config.root == str(elsewhere.parent / "root")
    assert loaded.config.model_copy(update={"root": "x"}) != load(config).config


def test_identity_of_a_root_is_its_own_and_stays(tmp_path):
    first, second = identity(tmp_path / "a"), identity(tmp_path / "b")
    assert first != second and identity(tmp_path / "a") == first
    assert len(first) == 8
