"""SIGTERM: an error where Python can raise it, the end of the process in time where it cannot."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hivemill.common.errors import InfrastructureError
from hivemill.pipeline.runs.sigterm import GRACE_SECONDS, stopped_by_sigterm

REPOSITORY = Path(__file__).parents[3]


def test_signal_is_an_error_of_the_infrastructure_and_the_old_handler_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InfrastructureError, match="stopped by SIGTERM"), stopped_by_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_reason_of_our_own_is_told():
    with pytest.raises(InfrastructureError, match="lock was taken"), stopped_by_sigterm() as stop:
        stop.now("the lock was taken")
        time.sleep(5)


def test_grace_is_below_the_ten_seconds_that_docker_gives():
    assert GRACE_SECONDS < 10


_DEAF = """
import ctypes, sys, time
from pathlib import Path
from hivemill.pipeline.runs.sigterm import stopped_by_sigterm
with stopped_by_sigterm(0.5) as stop:
    stop.last_words = lambda error: Path(sys.argv[1]).write_text(str(error))
    print("ready", flush=True)
    {body}
"""


@pytest.mark.parametrize(
    "body",
    [
        """while True:
        try:
            time.sleep(60)
        except Exception:
            pass""",
        """libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)  # waits for itself in C code, and no signal ends that""",
    ],
    ids=["a library swallows the error", "the main thread is in C code"],
)
def test_process_that_cannot_stop_is_ended_after_the_grace_with_its_last_words(tmp_path, body):
    words = tmp_path / "words"
    command = [sys.executable, "-c", _DEAF.format(body=body), str(words)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(1)  # it is where it cannot stop a moment later
    started = time.monotonic()
    process.terminate()
    assert process.wait(timeout=10) == 6
    assert time.monotonic() - started < 5
    assert "stopped by SIGTERM" in words.read_text()


def test_a_forked_child_that_lives_on_does_not_hold_up_the_end():
    """It has inherited the pipe that the watching thread reads from."""
    with stopped_by_sigterm():
        child = os.fork()
        if child == 0:
            time.sleep(5)
            os._exit(0)
        started = time.monotonic()
    assert time.monotonic() - started < 2
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
