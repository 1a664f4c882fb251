"""The command line as a contract: verbs, options, exit codes, one JSON document, no heavy imports, documentation."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hivemill.common.errors import DataNotReadyError, LockHeldError
from hivemill.pipeline.cli import main
from hivemill.pipeline.runs import records
from hivemill.pipeline.runs.records import RunFolder
from hivemill.pipeline.scheduling import dates
from hivemill.serving.store.model_store import ModelStore

ROOT = Path(__file__).parents[3]
CONFIG = "name: shop\nsource: {table: log}\nlabel: {column: click}\nfeatures:\n  city: {type: categorical}\n"


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    (tmp_path / "hivemill.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def started(project) -> dict:
    """A run that ended with a refused model."""
    folder = RunFolder(project / "hivemill", "2026-11-15-1a2b3c4d")
    record = records.new_record(folder.run_id, runs_date(), 1, runner="local", baseline_version=None)
    record |= {"state": "failed", "started_utc": "2026-11-16T01:00:00+00:00"}
    record |= {"finished_utc": "2026-11-16T01:02:05+00:00", "exit_code": 5}
    folder.write(record)
    folder.file(records.VERDICT_JSON).write_text('{"colour": "red", "reason": "auc is 0.4"}')
    return record


def runs_date():
    return dates.day("2026-11-15")


def run_json(capsys, *argv: str) -> tuple[int, dict]:
    code = main.main(["--json", *argv])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("argv", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(argv):
    code = (
        "import sys\nfrom hivemill.pipeline.cli import main as cli\n"
        f"try: cli.main({argv!r})\nexcept SystemExit as end: assert end.code == 0\n"
        "heavy = {'tensorflow', 'tfx', 'apache_beam', 'pyarrow', 'pandas', 'numpy', 'pydantic', 'yaml'}\n"
        "sys.exit(sorted(heavy & set(sys.modules)) or 0)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert said.returncode == 0, said.stderr
    assert "hivemill" in said.stdout


def test_python_m_pipeline_is_the_same(tmp_path):
    command = [sys.executable, "-m", "hivemill", "plan", "--date", "2026-11-15", "--config", str(tmp_path / "no.yaml")]
    said = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert said.returncode == 2
    assert said.stdout == ""
    assert said.stderr.startswith(f"error: there is no config file {tmp_path / 'no.yaml'}\n  Give it with --config")
    assert "Traceback" not in said.stderr


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"hivemill {(ROOT / 'VERSION').read_text().strip()}\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "the following arguments are required: VERB"),
        (["publish"], "argument VERB: invalid choice: 'publish'"),
        (["plan"], "the following arguments are required: --date"),
        (["plan", "--dat", "2026-11-15"], "required: --date"),
        (["plan", "--date", "15.11.2026"], "--date must be YYYY-MM-DD; received '15.11.2026'"),
        (["plan", "--date", "2026-02-30"], "--date must be YYYY-MM-DD; received '2026-02-30'"),
        (["run", "--date", "2026-11-15", "--runner", "flink"], "argument --runner: invalid choice: 'flink'"),
        (["runs", "--limit", "0"], "--limit: must be a whole number, at least 1; received '0'"),
        (["config"], "the following arguments are required: ACTION"),
        (["status", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["report", "2026-11-15-none"], "there are no runs below"),
    ],
)
def test_usage_errors(project, capsys, argv, words):
    assert main.main(argv) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    code, document = run_json(capsys, *argv)
    assert code == document["error"]["exit_code"] == 2
    assert words in document["error"]["message"]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DataNotReadyError("dt=2026-11-15 is missing", hint="Wait for it."), 3, "dt=2026-11-15 is missing\n  Wait"),
        (LockHeldError("another run holds the lock"), 7, "another run holds the lock"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), 6, "/data/x: No space left on device\n  Free"),
        (PermissionError(errno.EACCES, "Permission denied", "/data"), 6, "/data: Permission denied\n  Check"),
        (OSError(errno.EBADF, "Bad file descriptor"), 1, "this is a defect of ours: OSError"),
        (ZeroDivisionError("division by zero"), 1, "this is a defect of ours: ZeroDivisionError: division by zero"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_become_messages_and_exit_codes(project, capsys, monkeypatch, error, code, words):
    def broken(*_):
        raise error

    monkeypatch.setattr(records, "status", broken)
    assert main.main(["status"]) == code
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    if code != 130:
        assert main.main(["status", "--debug"]) == code
        assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_has_gone_is_no_defect(project):
    command = f"{sys.executable} -m hivemill config show --config {project}/hivemill.yaml | head -1"
    # PIPESTATUS: the exit code of hivemill, not of head. The output is longer than what a pipe holds.
    script = f"{command}; exit ${{PIPESTATUS[0]}}"
    features = "".join(f"  f{number}: {{type: categorical}}\n" for number in range(500))
    (project / "hivemill.yaml").write_text(CONFIG + features)
    said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert said.stdout.startswith("KEY")
    assert said.stderr == ""
    assert said.returncode == main.BROKEN_PIPE


def test_a_terminal_without_unicode(project):
    (project / "hivemill.yaml").write_text(CONFIG.replace("city:", "城市:"), encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "hivemill", "config", "show", "--config", str(project / "hivemill.yaml")]
    said = subprocess.run([*command, "--json"], capture_output=True, cwd=ROOT, env=environment, check=True)
    assert json.loads(said.stdout)["features.城市.type"]["value"] == "categorical"
    said = subprocess.run(command, capture_output=True, cwd=ROOT, env=environment, check=True)
    assert rb"features.\u57ce\u5e02.type" in said.stdout


def test_global_options_stand_before_or_after_the_verb(project, capsys):
    (project / "other.yaml").write_text(CONFIG)
    words = [
        "--set",
        "training.epochs=5",
        "config",
        "show",
        "--set",
        "training.seed=3",
        "--config",
        "other.yaml",
        "--json",
    ]
    assert main.main(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["training.epochs"] == {"value": 5, "origin": "--set"}
    assert document["training.seed"] == {"value": 3, "origin": "--set"}
    assert document["name"] == {"value": "shop", "origin": "other.yaml:1"}
    assert document["window.train_days"] == {"value": 28, "origin": "default"}


def test_config_show_as_text(project, capsys, monkeypatch):
    monkeypatch.setenv("HIVEMILL__MODEL__DROPOUT", "0.5")
    assert main.main(["config", "show"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["KEY", "VALUE", "FROM"]
    assert ["name", '"shop"', "hivemill.yaml:1"] in lines
    assert ["model.dropout", "0.5", "environment", "HIVEMILL__MODEL__DROPOUT"] in lines


def test_config_error_as_json(project, capsys):
    (project / "hivemill.yaml").write_text(CONFIG + "trainning: {epochs: 2}\n")
    code, document = run_json(capsys, "plan", "--date", "2026-11-15")
    assert code == 2
    message = "hivemill.yaml:6: trainning: unknown key; did you mean `training`?"
    assert document == {"error": {"kind": "ConfigError", "message": message, "hint": None, "exit_code": 2}}


def test_runs_and_status_before_the_first_run(project, capsys):
    assert run_json(capsys, "runs") == (0, [])
    assert run_json(capsys, "status") == (
        0,
        {"lock": None, "running": [], "last_finished": None, "verdict": None, "stale_lock": None, "damaged_runs": []},
    )
    assert main.main(["runs"]) == 0
    assert capsys.readouterr().out == f"No runs below {project / 'hivemill'} yet.\n"


def test_runs(project, started, capsys):
    assert main.main(["runs"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["RUN", "DATE", "STATE", "VERDICT", "EXIT", "VERSION", "STARTED", "SECONDS"]
    expected = [started["run_id"], "2026-11-15", "failed", "red", "5", "-", started["started_utc"], "125"]
    assert row.split() == expected
    assert run_json(capsys, "runs") == (0, [{**started, "colour": "red"}])


def test_limit_keeps_the_last(project, started, capsys):
    later = {**started, "run_id": "2026-11-22-00000000", "date": "2026-11-22"}
    RunFolder(project / "hivemill", later["run_id"]).write(later)
    code, documents = run_json(capsys, "runs", "--limit", "1")
    assert (code, [each["run_id"] for each in documents]) == (0, ["2026-11-22-00000000"])


def test_status(project, started, capsys):
    assert main.main(["status"]) == 0
    nothing, last, *verdict = capsys.readouterr().out.splitlines()
    assert verdict == ["Verdict: Red: Not pushed: a gate refused the model (exit code 5)", "  auc is 0.4"]
    assert nothing == f"Nothing runs below {project / 'hivemill'}."
    assert last == f"Last finished: {started['run_id']}, failed (exit code 5), 2026-11-16T01:02:05+00:00."
    with records.lock.run_lock(project / "hivemill", "2026-11-22-00000000"):
        assert main.main(["status"]) == 0
        assert "Run 2026-11-22-00000000 holds the lock: process" in capsys.readouterr().out


def test_report(project, started, capsys):
    code, document = run_json(capsys, "report")
    page = project / "hivemill" / "runs" / started["run_id"] / "report.html"
    assert (code, document) == (0, {"run_id": started["run_id"], "path": str(page)})
    assert started["run_id"] in page.read_text(encoding="utf-8")
    assert main.main(["report", "2026-11-15-1a2b3c4e"]) == 2
    assert f"did you mean `{started['run_id']}`?" in capsys.readouterr().err


def test_run_ends_with_the_exit_code_of_the_record(project, started, capsys, monkeypatch):
    from hivemill.pipeline.runs import run

    calls = []
    record = {**started, "error": {"message": "model not blessed: auc", "hint": "See the report.", "exit_code": 5}}
    monkeypatch.setattr(run, "run", lambda *arguments, **_: calls.append(arguments) or record)
    assert main.main(["run", "--date", "2026-11-15", "--runner", "beam", "--force", "--json"]) == 5
    said = capsys.readouterr()
    assert json.loads(said.out) == record
    assert said.err == "error: model not blessed: auc\n  See the report.\n"
    loaded, date, runner, force = calls[0]
    assert (loaded.config.name, date.isoformat(), runner, force) == ("shop", "2026-11-15", "beam", True)


def test_models(project, tmp_path_factory, capsys):
    assert main.main(["models"]) == 0
    assert "No version of shop" in capsys.readouterr().out
    saved = tmp_path_factory.mktemp("model")
    (saved / "saved_model.pb").write_bytes(b"model")
    store = ModelStore(project / "hivemill" / "models", "shop")
    version = store.publish(saved, {"run_id": "2026-11-15-1a2b3c4d", "metrics": {"auc": 0.71234, "logloss": 0.25}}, "f")
    assert main.main(["models"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["VERSION", "LABELS", "AUC", "LOGLOSS", "CALIBRATION", "CREATED", "RUN"]
    cells = row.split()
    assert cells[:5] == [str(version), "stable", "0.7123", "0.2500", "-"]
    assert cells[6] == "2026-11-15-1a2b3c4d"
    code, document = run_json(capsys, "models")
    assert code == 0
    assert document["labels"] == {"stable": version}
    assert document["versions"][0]["metrics"]["auc"] == 0.71234
    assert document["versions"][0]["path"] == str(store.path_of(version))
