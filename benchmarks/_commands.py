"""Times whole commands, as a person who types them waits for them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks._harness import REPOSITORY


def seconds_of(*words: str, folder: Path) -> tuple[float, float]:
    """(wall, CPU) seconds of `hivemill words…` run in `folder`. Raises RuntimeError with its errors where it fails."""
    command = [sys.executable, "-m", "hivemill", *words]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    before, started = os.times(), time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    wall, after = time.monotonic() - started, os.times()
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu
