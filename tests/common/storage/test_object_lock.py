"""The lock in an object store: real clients, real threads and processes."""

import concurrent.futures
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hivemill.common.errors import LockHeldError
from hivemill.common.storage import object_store
from hivemill.common.storage.object_lock import Patience, object_lock, owner, remove, stale, words
from tests.support.object_stores import KINDS, bucket

QUICK = Patience(lease_seconds=1.0, beat_seconds=0.1)
HOLDER = """
import sys, time
from hivemill.common.storage.object_lock import Patience, object_lock
with object_lock(sys.argv[1], "a run", Patience(lease_seconds=1.0, beat_seconds=0.1)):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=KINDS)
def url(request, monkeypatch, tmp_path):
    with bucket(request.param, tmp_path, monkeypatch) as (_, place):
        yield f"{place}/locks/run"


def foreign(url, beat=3, host="elsewhere"):
    card = {"run_id": "theirs", "host": host, "pid": 1, "since_utc": "2026-11-15T00:00:00+00:00", "beat": beat}
    object_store.write_bytes(f"{url}/theirs.json", json.dumps(card).encode())


def test_held_then_free(url):
    with object_lock(url, "mine", QUICK) as left:
        assert left is None
        assert owner(url)["run_id"] == "mine"
        with pytest.raises(LockHeldError, match=f"mine, process {os.getpid()} on"), object_lock(url, "other", QUICK):
            pass
    assert owner(url) is None and object_store.sizes(url) == {}


def test_of_many_at_once_one_at_a_time_holds_it(url):
    inside, seen = [], []

    def work(number):
        with object_lock(url, f"worker {number}", Patience(wait_seconds=60, lease_seconds=30, beat_seconds=1)):
            inside.append(number)
            seen.append(len(inside))
            time.sleep(0.02)
            inside.remove(number)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(12)))
    assert seen == [1] * 12


def test_dead_owner_of_another_host_is_watched_for_a_lease_then_taken_over_and_said(url):
    foreign(url)
    said, started = [], time.monotonic()
    with object_lock(url, "mine", QUICK, said.append) as left:
        assert time.monotonic() - started >= QUICK.lease_seconds
        assert left["run_id"] == "theirs"
    assert ["watching it for 1 s" in line or "no heartbeat for 1 s" in line for line in said] == [True, True]


def test_living_owner_of_another_host_is_believed_at_its_next_beat(url):
    foreign(url, 0)
    stop = threading.Event()

    def beat():
        number = 0
        while not stop.wait(0.1):
            number += 1
            foreign(url, number)

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(LockHeldError, match="theirs, process 1 on elsewhere"), object_lock(url, "mine", QUICK):
            pass
    finally:
        stop.set()
        beating.join()
    assert list(object_store.sizes(url)) == ["theirs.json"]


def test_killed_process_of_this_host_is_taken_over_at_once(url):
    command = [sys.executable, "-c", HOLDER, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as process:
        assert process.stdout.readline() == "held\n"
        assert owner(url)["pid"] == process.pid
        process.kill()
    assert owner(url) is None and stale(url)["pid"] == process.pid
    with object_lock(url, "mine", Patience(lease_seconds=60)) as left:
        assert left["pid"] == process.pid


def test_owner_whose_claim_was_removed_is_told(url):
    told = threading.Event()
    with object_lock(url, "mine", QUICK, lost=lambda reason: told.set()):
        for name in object_store.sizes(url):
            object_store.delete(f"{url}/{name}")
        assert told.wait(10)


def test_remove_for_a_host_that_is_known_to_be_dead(url):
    assert remove(url) is None
    foreign(url)
    with pytest.raises(LockHeldError, match="on elsewhere, not on other"):
        remove(url, "other")
    assert "theirs" in words(remove(url, "elsewhere"))
    assert object_store.sizes(url) == {}
    foreign(url)
    assert remove(url, patience=QUICK)["run_id"] == "theirs"
