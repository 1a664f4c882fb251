"""One run at a time; a dead owner holds nothing."""

import os
import signal
import subprocess
import sys
import time

import pytest

from common.errors import InfrastructureError, LockHeldError
from pipeline import lock

_HOLDER = """
import sys, time
from pathlib import Path
from pipeline.lock import run_lock
with run_lock(Path(sys.argv[1]), "2026-11-15-abc"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", _HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_second_run_is_told_who_holds_the_lock(tmp_path, holder):
    with pytest.raises(LockHeldError) as refused, lock.run_lock(tmp_path, "mine"):
        pass
    assert "2026-11-15-abc" in refused.value.message
    assert str(holder.pid) in refused.value.message
    assert refused.value.exit_code == 7
    assert lock.owner(tmp_path)["pid"] == holder.pid


def test_killed_owner_leaves_no_lock(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    time.sleep(0.1)
    assert lock.owner(tmp_path) is None
    with lock.run_lock(tmp_path, "mine"):
        pass


def test_free_again_after_an_error_inside(tmp_path):
    with pytest.raises(RuntimeError), lock.run_lock(tmp_path, "a"):
        raise RuntimeError
    with lock.run_lock(tmp_path, "b"):
        assert lock.owner(tmp_path)["run_id"] == "b"
    assert lock.owner(tmp_path) is None


def test_root_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with (
        pytest.raises(InfrastructureError, match="cannot be written") as refused,
        lock.run_lock(tmp_path / "file" / "x", "a"),
    ):
        pass
    assert "`root`" in refused.value.hint
