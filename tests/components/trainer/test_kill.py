"""A training that is killed with SIGKILL goes on where it was, and ends where an unbroken one ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.components.trainer import click_world

pytest.importorskip("tensorflow_transform")
pytestmark = pytest.mark.slow

_REPOSITORY = Path(__file__).parents[3]


def _start(world: Path, name: str) -> subprocess.Popen:
    command = [sys.executable, click_world.__file__, str(world), name]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=_REPOSITORY, env=_environment()
    )


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(_REPOSITORY)}


def _progress(process: subprocess.Popen) -> list[int]:
    assert process.stdout is not None
    lines = [line.split() for line in process.stdout]
    return [int(words[1]) for words in lines if words[0] == "progress"]


def test_killed_in_the_second_epoch_goes_on_from_the_checkpoint(tmp_path):
    click_world.write_world(tmp_path)
    unbroken = _start(tmp_path, "unbroken")
    total = _progress(unbroken)
    assert unbroken.wait() == 0 and total[-1] == 12_000

    killed = _start(tmp_path, "killed")
    for line in killed.stdout:
        # An epoch is 30 steps of 100 examples, a checkpoint comes every 7 steps: 37 steps are in the second epoch.
        if line.startswith("progress") and int(line.split()[1]) >= 3_700:
            killed.send_signal(signal.SIGKILL)
            break
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed/model_run/history.json").exists()
    assert list((tmp_path / "checkpoints").iterdir())

    resumed = _start(tmp_path, "killed")
    steps = _progress(resumed)
    assert resumed.wait() == 0
    assert 3_500 <= steps[0] < steps[-1] == 12_000  # not from the start
    assert list((tmp_path / "checkpoints").iterdir()) == []
    metrics = [
        [[e["loss"], e["auc"], e["val_loss"], e["val_auc"]] for e in _epochs(tmp_path / name)]
        for name in ("unbroken", "killed")
    ]
    assert np.allclose(metrics[0], metrics[1], rtol=0, atol=1e-5)


def _epochs(run: Path) -> list[dict]:
    return json.loads((run / "model_run/history.json").read_text())["checks"]
