"""Trainings on several replicas, in processes of their own: the same metrics, one model, written by the chief alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.components.trainer import click_world

pytest.importorskip("tensorflow_transform")
pytestmark = pytest.mark.slow

_REPOSITORY = Path(__file__).parents[3]
_METRICS = ("loss", "auc", "val_loss", "val_auc")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    click_world.write_world(folder)
    return folder


@pytest.fixture(scope="module")
def single(world) -> np.ndarray:
    _finish(_start(world, "single", "none"))
    return _metrics(world / "single")


def _start(world: Path, name: str, strategy: str, tf_config: dict | None = None) -> subprocess.Popen:
    # Each replica draws dropout masks of its own, so trainings can agree only without dropout.
    training = json.dumps({"strategy": strategy, "epochs": 2})
    environment = {**os.environ, "PYTHONPATH": str(_REPOSITORY), "CUDA_VISIBLE_DEVICES": "-1"}
    if tf_config is not None:
        environment["TF_CONFIG"] = json.dumps(tf_config)
    command = [sys.executable, click_world.__file__, str(world), name, training, '{"dropout": 0, "batch_norm": false}']
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=_REPOSITORY, env=environment
    )


def _finish(*processes: subprocess.Popen) -> None:
    try:
        for process in processes:
            output, _ = process.communicate(timeout=240)
            assert process.returncode == 0, output[-4000:]
    finally:
        for process in processes:
            process.kill()


def _metrics(run: Path) -> np.ndarray:
    epochs = json.loads((run / "model_run/history.json").read_text())["checks"]
    return np.array([[epoch[name] for name in _METRICS] for epoch in epochs])


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def test_two_replicas_train_to_the_metrics_of_one(world, single):
    _finish(_start(world, "mirrored", "mirrored"))
    assert (world / "mirrored/Format-Serving/saved_model.pb").exists()
    assert np.allclose(_metrics(world / "mirrored"), single, rtol=0, atol=2e-3)


def _tasks(kind: str) -> list[dict]:
    """TF_CONFIG of two workers: `workers` alone, or `chief and worker`, as Kubeflow's operator writes it."""
    first, second = (f"127.0.0.1:{port}" for port in _free_ports(2))
    if kind == "workers":
        cluster = {"worker": [first, second]}
        return [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(2)]
    cluster = {"chief": [first], "worker": [second]}
    return [{"cluster": cluster, "task": {"type": t, "index": 0}, "environment": "cloud"} for t in ("chief", "worker")]


@pytest.mark.parametrize("kind", ["workers", "chief and worker"])
def test_two_workers_train_to_the_metrics_of_one_and_only_the_chief_writes(world, single, kind):
    tasks = _tasks(kind)
    for place in ("worker-0", "worker-1"):
        shutil.rmtree(world / place, ignore_errors=True)
    # One machine has one checkpoint folder for both; each has an output folder of its own, to see who writes what.
    workers = [_start(world, f"worker-{i}", "multi_worker", task) for i, task in enumerate(tasks)]
    _finish(*workers)
    assert (world / "worker-0/Format-Serving/saved_model.pb").exists()
    assert np.allclose(_metrics(world / "worker-0"), single, rtol=0, atol=2e-3)
    assert [path for path in (world / "worker-1").rglob("*") if path.is_file()] == []
    assert list((world / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("victim", [1, 0], ids=["worker", "chief"])
def test_training_whose_worker_is_killed_goes_on_from_the_checkpoint_to_the_metrics_of_one(world, single, victim):
    """SIGKILL in the second epoch. The other worker must end by itself, so that an orchestrator starts both again."""
    names = [f"{name}-of-killed-{victim}" for name in ("chief", "worker")]
    started = [_start(world, n, "multi_worker", t) for n, t in zip(names, _tasks("chief and worker"), strict=True)]
    try:
        # An epoch is 30 steps of 100 examples, a checkpoint comes every 7 steps: 37 steps are in the second epoch.
        _read_until(started[victim], 3_700)
        started[victim].send_signal(signal.SIGKILL)
        said, _ = started[1 - victim].communicate(timeout=120)
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert started[1 - victim].returncode > 0
    assert "another worker of this training was lost" in said or "coordination" in said.lower(), said[-4000:]
    assert not (world / names[0] / "Format-Serving").exists()
    assert list((world / "checkpoints").iterdir())

    again = [_start(world, n, "multi_worker", t) for n, t in zip(names, _tasks("chief and worker"), strict=True)]
    first = _read_until(again[0], 1)
    _finish(*again)
    assert 3_500 <= first < 6_000  # not from the start
    assert np.allclose(_metrics(world / names[0]), single, rtol=0, atol=2e-3)
    assert not [path for path in (world / names[1]).rglob("*") if path.is_file()]
    assert list((world / "checkpoints").iterdir()) == []


def _read_until(process: subprocess.Popen, examples: int) -> int:
    """Reads what the training says until it has come so far; returns how far it is."""
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("progress") and int(line.split()[1]) >= examples:
            return int(line.split()[1])
    raise AssertionError("".join(said)[-4000:])
