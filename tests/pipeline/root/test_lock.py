"""One run at a time; a dead owner holds nothing."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from hivemill.common.errors import InfrastructureError, LockHeldError
from hivemill.pipeline.root import lock
from hivemill.pipeline.root.lock import LockOptions

QUICK = LockOptions(lease_seconds=0.6, beat_seconds=0.1)

_HOLDER = """
import sys, time
from pathlib import Path
from hivemill.pipeline.root.lock import run_lock
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
    assert lock.stale(tmp_path)["pid"] == holder.pid
    said = []
    with lock.run_lock(tmp_path, "mine", say=said.append) as left:
        assert left["run_id"] == "2026-11-15-abc"
    assert "Takes over the lock of 2026-11-15-abc" in said[0] and "dead" in said[0]
    assert lock.stale(tmp_path) is None


def test_status_that_looks_all_the_time_keeps_nobody_from_starting(tmp_path):
    done = threading.Event()
    looker = threading.Thread(target=lambda: [lock.owner(tmp_path) for _ in iter(done.is_set, True)])
    with lock.run_lock(tmp_path, "first"):
        pass
    looker.start()
    try:
        for _ in range(100):
            with lock.run_lock(tmp_path, "mine"):
                pass
    finally:
        done.set()
        looker.join()


def test_who_may_wait_gets_the_lock_when_it_is_free(tmp_path, holder):
    said = []
    threading.Timer(1.5, holder.kill).start()
    with lock.run_lock(tmp_path, "mine", LockOptions(wait_seconds=30), said.append):
        assert lock.owner(tmp_path)["run_id"] == "mine"
    assert "Waiting at most 0.5 min for the lock of 2026-11-15-abc" in said[0]


def _left_by_another_host(root, **changes):
    card = {"run_id": "theirs", "host": "other", "pid": 7, "since_utc": "2026-11-15T03:00:00+00:00", "beat": 3}
    (root / lock.LOCK_NAME).write_text(json.dumps(card | changes))


def test_silent_owner_of_another_host_is_watched_for_a_lease_and_then_taken_over_aloud(tmp_path):
    _left_by_another_host(tmp_path)
    assert lock.owner(tmp_path)["host"] == "other"  # its last beat is young
    said, started = [], time.monotonic()
    with lock.run_lock(tmp_path, "mine", QUICK, said.append) as left:
        assert left["host"] == "other"
    assert time.monotonic() - started >= QUICK.lease_seconds
    assert "watching" in said[0] and "no heartbeat" in said[1] and "on other" in said[1]


def test_owner_of_another_host_that_beats_is_left_alone_though_flock_does_not_show_it(tmp_path):
    """As on a filesystem whose flock is known to one host only."""
    _left_by_another_host(tmp_path)
    beats = threading.Timer(0.2, lambda: _left_by_another_host(tmp_path, beat=4))
    beats.start()
    with pytest.raises(LockHeldError, match="theirs, process 7 on other"), lock.run_lock(tmp_path, "mine", QUICK):
        pass
    assert json.loads((tmp_path / lock.LOCK_NAME).read_text())["run_id"] == "theirs"


def test_old_card_of_another_host_is_stale(tmp_path):
    _left_by_another_host(tmp_path)
    os.utime(tmp_path / lock.LOCK_NAME, (0, time.time() - 2 * lock.LEASE_SECONDS))
    assert lock.owner(tmp_path) is None
    assert lock.stale(tmp_path)["host"] == "other" and lock.stale(tmp_path)["age_seconds"] > 0


def test_owner_counts_its_beats(tmp_path):
    with lock.run_lock(tmp_path, "mine", QUICK):
        time.sleep(0.5)
        assert lock.owner(tmp_path)["beat"] >= 2
        assert lock.owner(tmp_path)["age_seconds"] >= 0


def test_owner_whose_lock_is_taken_away_is_told(tmp_path):
    reasons = []
    with lock.run_lock(tmp_path, "mine", QUICK, lost=reasons.append):
        (tmp_path / lock.LOCK_NAME).unlink()
        time.sleep(0.5)
        with lock.run_lock(tmp_path, "theirs", QUICK):
            pass
    assert len(reasons) == 1 and "taken away" in reasons[0]


@pytest.mark.parametrize("jump_seconds", [86_400, -365 * 86_400], ids=["ahead a day", "back a year"])
def test_clock_that_jumps_while_a_run_beats_loses_no_lock_and_frees_none(tmp_path, monkeypatch, jump_seconds):
    lost, jump = [], [0.0]
    real = time.time
    monkeypatch.setattr(
        lock, "time", SimpleNamespace(time=lambda: real() + jump[0], sleep=time.sleep, monotonic=time.monotonic)
    )
    with lock.run_lock(tmp_path, "mine", QUICK, lost=lost.append):
        jump[0] = jump_seconds
        beat = lock.owner(tmp_path)["beat"]
        with pytest.raises(LockHeldError, match="mine"), lock.run_lock(tmp_path, "theirs", QUICK):
            pass
        assert lock.owner(tmp_path)["beat"] > beat  # the heartbeat goes on
        assert lock.owner(tmp_path)["age_seconds"] >= 0 and lock.stale(tmp_path) is None
    assert lost == [] and lock.owner(tmp_path) is None


@pytest.mark.parametrize("jump_seconds", [86_400, -86_400], ids=["ahead", "back"])
def test_clock_that_is_a_day_off_steals_nothing_from_an_owner_on_another_host(tmp_path, monkeypatch, jump_seconds):
    """By its age the lock would be stale; its beats are counted before anybody takes it over."""
    real = time.time
    monkeypatch.setattr(
        lock, "time", SimpleNamespace(time=lambda: real() + jump_seconds, sleep=time.sleep, monotonic=time.monotonic)
    )
    _left_by_another_host(tmp_path)
    threading.Timer(0.2, lambda: _left_by_another_host(tmp_path, beat=4)).start()
    with pytest.raises(LockHeldError, match="theirs, process 7 on other"), lock.run_lock(tmp_path, "mine", QUICK):
        pass


def test_remove_takes_what_a_dead_owner_left_and_nothing_of_a_living_one(tmp_path, holder):
    with pytest.raises(LockHeldError):
        lock.remove(tmp_path, None, QUICK)
    with pytest.raises(LockHeldError, match="lives, on this host"):
        lock.remove(tmp_path, lock.owner(tmp_path)["host"], QUICK)
    with pytest.raises(LockHeldError, match="not on nowhere"):
        lock.remove(tmp_path, "nowhere", QUICK)
    holder.kill()
    holder.wait()
    assert lock.remove(tmp_path, None, QUICK)["run_id"] == "2026-11-15-abc"
    assert lock.stale(tmp_path) is lock.remove(tmp_path, None, QUICK) is None


def test_remove_of_a_named_dead_host_does_not_wait_and_replaces_a_lock_that_its_file_server_keeps(tmp_path):
    _left_by_another_host(tmp_path)
    with open(tmp_path / lock.LOCK_NAME) as kept:
        lock.fcntl.flock(kept, lock.fcntl.LOCK_EX)
        assert lock.remove(tmp_path, "other")["run_id"] == "theirs"
        with lock.run_lock(tmp_path, "mine"):
            assert lock.owner(tmp_path)["run_id"] == "mine"


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
