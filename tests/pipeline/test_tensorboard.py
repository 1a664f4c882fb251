"""What TensorBoard itself reads from the files: the trend with its bounds, the card, the runs behind links."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from hivemill.pipeline import tensorboard
from hivemill.pipeline.cli import main
from hivemill.pipeline.documents import verdict
from tests.pipeline.report import verdict2

CONFIG = {
    "name": "shop",
    "root": "root",
    "source": {"table": "log", "columns": {"click": "int", "price": "double"}},
    "label": {"column": "click"},
    "features": {"price": {"type": "numeric"}},
}


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """tag -> step -> value, by TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    read.Reload()
    return {tag: {event.step: event.value for event in read.Scalars(tag)} for tag in read.Tags()["scalars"]}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    made = verdict2.many_runs(tmp_path_factory.mktemp("tb") / "root")
    for folder in (made / "runs").iterdir():
        tensorboard.write_run(folder)
    tensorboard.write_trend(made)
    return made


def test_the_trend_by_run_date_with_bounds(root):
    lines = {line.name: scalars(line) for line in (root / "tensorboard" / "trend").iterdir()}
    assert set(lines) == {"value", "lower", "upper", "stable", "at_least", "at_most"}
    aucs = lines["value"]["metrics/auc"]
    assert len(aucs) == 12 and aucs[20261025] == pytest.approx(0.709, abs=1e-6)
    for step, value in aucs.items():
        assert lines["lower"]["metrics/auc"][step] < value < lines["upper"]["metrics/auc"][step]
    assert lines["at_least"]["metrics/auc"][20261025] == pytest.approx(0.71)
    assert lines["value"]["verdict/colour"][20261025] == 2 and lines["value"]["verdict/colour"][20261004] == 1
    assert lines["value"]["verdict/exit_code"][20261025] == 5
    assert lines["value"]["drift/price"][20261025] == pytest.approx(0.3)
    assert lines["at_most"]["drift/price"][20261025] == pytest.approx(0.2)


def test_the_same_verdicts_give_the_same_bytes(root):
    folder = root / "tensorboard" / "trend"
    before = {file: file.read_bytes() for file in folder.rglob("events*")}
    tensorboard.write_trend(root)
    assert before == {file: file.read_bytes() for file in folder.rglob("events*")}
    assert not [path for path in (root / "tensorboard").iterdir() if path.name.startswith(".")]


def test_a_run_that_is_gone_is_gone_from_the_trend(root, tmp_path):
    copy = tmp_path / "root"
    shutil.copytree(root, copy, symlinks=True)
    shutil.rmtree(copy / "runs" / "2026-10-25-1a2b3c4d")
    tensorboard.write_trend(copy)
    assert 20261025 not in scalars(copy / "tensorboard" / "trend" / "value")["metrics/auc"]
    assert not (copy / "tensorboard" / "runs" / "2026-10-25-1a2b3c4d").is_symlink()
    assert len(list((copy / "tensorboard" / "runs").iterdir())) == 11


def multiplexer(folder: Path):
    """What the TensorBoard server reads with."""
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

    made = EventMultiplexer().AddRunsFromDirectory(str(folder))
    made.Reload()
    return made


def steps(read, run: str = "trend/value", tag: str = "metrics/auc") -> list[int]:
    return [event.step for event in read.Tensors(run, tag)]


@pytest.mark.parametrize("torn_bytes", [0, 7], ids=["whole", "torn by a kill"])
def test_an_open_tensorboard_sees_the_next_run(root, tmp_path, torn_bytes):
    copy, later = tmp_path / "root", tmp_path / "later"
    shutil.copytree(root, copy, symlinks=True)
    shutil.rmtree(copy / "tensorboard")
    newest = sorted((copy / "runs").iterdir())[-1]
    shutil.move(newest, later)
    tensorboard.write_trend(copy)
    events = next((copy / "tensorboard" / "trend" / "value").iterdir())
    events.write_bytes(events.read_bytes()[: -torn_bytes or None])
    read = multiplexer(copy / "tensorboard")
    assert steps(read)[-1] < 20261122
    shutil.move(later, newest)
    tensorboard.write_trend(copy)
    read.Reload()
    assert steps(read) == steps(multiplexer(copy / "tensorboard")) and steps(read)[-1] == 20261122


def test_no_runs_and_runs_without_a_verdict(tmp_path):
    tensorboard.write_trend(tmp_path)
    (tmp_path / "runs" / "a").mkdir(parents=True)
    tensorboard.write_run(tmp_path / "runs" / "a")
    assert not list((tmp_path / "runs" / "a").iterdir())
    assert verdict.all_verdicts(tmp_path) == []


def test_the_verb_writes_the_files(root, tmp_path, capsys):
    shutil.copytree(root / "runs", tmp_path / "root" / "runs")
    path = tmp_path / "hivemill.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    assert main.main(["--config", str(path), "tensorboard", "--write-only"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert folder == tmp_path / "root" / "tensorboard" and (folder / "trend" / "value").is_dir()


@pytest.mark.slow
def test_the_server_shows_trend_and_runs(root, tmp_path):
    """The real server, on this machine: the runs behind the links are there too, and Ctrl-C ends it."""
    shutil.copytree(root / "runs", tmp_path / "root" / "runs")
    path = tmp_path / "hivemill.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "hivemill", "--config", str(path), "tensorboard", "--port", str(port)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE)
    try:
        names = _runs_of_server(port)
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert "trend/value" in names and "runs/2026-10-25-1a2b3c4d/verdict" in names


def _runs_of_server(port: int) -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/runs", timeout=10) as answer:
                text = answer.read().decode()
            if "verdict" in text:
                return text
        except OSError:
            pass
        time.sleep(1)
    raise AssertionError("the server did not show the runs")
