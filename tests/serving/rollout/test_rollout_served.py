"""A rollout against the dev server with a real model and real requests: none fails, and the way back is quick."""

import collections
import random
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import tensorflow as tf
import yaml

from hivemill.components.pusher.warm_up import WARM_UP_FILE, warm_up_requests
from hivemill.serving.rollout.controller import RolloutMachine
from hivemill.serving.rollout.model_server import ModelServers
from hivemill.serving.server.app import DevServer
from hivemill.serving.server.options import ServerOptions
from hivemill.serving.store.model_store import ModelStore
from tests.pipeline.shop import CONFIG
from tests.serving.rollout.rollouts import NO_WAIT, metrics
from tests.serving.server.click_model import rows, save
from tests.serving.server.server_kit import Client

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
ROWS = rows(20)


@pytest.fixture
def shop(tmp_path):
    """(store with two versions that have warm-up requests, client of the dev server on it)."""
    source = save(tmp_path / "export")
    warm_up = warm_up_requests(source, "shop", ROWS, ("serving_default", "predict"))
    store = ModelStore(tmp_path / "root" / "models", "shop")
    for number in range(2):
        store.publish(source, {"run_id": f"run-{number}"}, f"source-{number}", {WARM_UP_FILE: warm_up})
    options = ServerOptions(store.path / "models.config", port=0, rest_port=0, poll_seconds=0.05)
    server = DevServer(options, log=lambda _: None)
    server.start()
    try:
        assert server.wait_until_loaded(60)
        yield store, Client(server)
    finally:
        server.stop()


class Users(threading.Thread):
    """Asks for both labels without a pause; counts the versions that answered and keeps what failed."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self._client, self._done = client, threading.Event()
        self.answers, self.failures = collections.Counter(), []
        self.last = {}

    def run(self):
        while not self._done.is_set():
            for label in ("stable", "canary"):
                try:
                    answer = self._client.predict({"examples": ROWS[:2]}, label=label)
                except Exception as error:
                    self.failures.append((label, repr(error)))
                    continue
                self.last[label] = answer.model_spec.version.value
                self.answers[label, self.last[label]] += 1

    def wait_until(self, label, version):
        """Seconds until the label is answered by `version`."""
        started = time.monotonic()
        while self.last.get(label) != version:
            assert time.monotonic() - started < 30 and self.is_alive()
            time.sleep(0.001)
        return time.monotonic() - started

    def stop(self):
        self._done.set()
        self.join()


def _steps(machine, store, count):
    for number in range(1, count + 1):
        machine.step(metrics(store, {"impressions": 10_000 * number}))


def test_no_request_fails_from_start_to_rollback_and_back_is_under_a_second(shop):
    store, client = shop
    old, new = store.versions()
    seconds = []
    with ModelServers([f"127.0.0.1:{client.server.port}"]) as servers:
        machine = RolloutMachine(store, NO_WAIT, servers)
        machine.start()
        users = Users(client)
        users.start()
        for attempt in range(3):
            if attempt:
                machine.start(again=True)
            users.wait_until("canary", new)
            _steps(machine, store, 4)
            users.wait_until("stable", new)
            started = time.monotonic()
            machine.rollback()
            users.wait_until("stable", old)
            seconds.append(time.monotonic() - started)
            users.wait_until("canary", old)
        users.stop()
    assert users.failures == []
    assert {key for key, count in users.answers.items() if count} == {
        (label, version) for label in ("stable", "canary") for version in (old, new)
    }
    assert min(seconds) < 1, seconds
    client.wait_for(lambda: client.states() == {old: 30, new: 50})  # AVAILABLE, END


def test_a_broken_warm_up_keeps_the_version_from_users(shop, tmp_path):
    store, client = shop
    old = store.versions()[0]
    source = tmp_path / "export"
    requests = warm_up_requests(source, "shop", ROWS, ("predict",)).replace(b"tags_row_lengths", b"tags_row_lengthz")
    broken = store.publish(source, {}, "broken", {WARM_UP_FILE: _with_right_checksums(requests)})
    with ModelServers([f"127.0.0.1:{client.server.port}"]) as servers, pytest.raises(Exception, match="cannot load"):
        RolloutMachine(store, NO_WAIT.model_copy(update={"load_timeout_seconds": 30}), servers).start(broken)
    assert store.labels() == {"stable": old} and store.state().pending is None


def _with_right_checksums(content):
    with tempfile.TemporaryDirectory() as folder:
        file, begin = Path(folder) / "records", 0
        with tf.io.TFRecordWriter(str(file)) as writer:
            while begin < len(content):  # length (8 bytes), its checksum (4), the record, its checksum (4)
                (length,) = struct.unpack_from("<Q", content, begin)
                writer.write(content[begin + 12 : begin + 12 + length])
                begin += 16 + length
        return file.read_bytes()


def test_commands_killed_at_random_moments(shop, tmp_path):
    """The whole command with gRPC and all, killed; afterwards files and server agree, and no request has failed."""
    store, client = shop
    old, new = store.versions()
    server = {"server": f"127.0.0.1:{client.server.port}", "min_hours": 0, "min_impressions": 1}
    (tmp_path / "hivemill.yaml").write_text(yaml.safe_dump({**CONFIG, "rollout": server}))
    command = [sys.executable, "-m", "hivemill", "--config", str(tmp_path / "hivemill.yaml")]
    started = time.monotonic()
    subprocess.run([*command, "rollout", "start"], cwd=ROOT, check=True)
    seconds = time.monotonic() - started
    users = Users(client)
    users.start()
    moments = random.Random(5)
    for number in range(10):
        words = ["rollback"] if store.state().rollout["state"] == "running" else ["rollout", "start", "--again"]
        process = subprocess.Popen([*command, *words], cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(moments.uniform(0.5, 1.0) * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with ModelServers([server["server"]]) as servers:
            RolloutMachine(store, NO_WAIT, servers).end_interrupted()
        state = store.state()
        assert state.pending is None and state.also_served == () and state.change == store.audit()[-1], number
        expected = {"stable": old, "canary": new if state.rollout["state"] == "running" else old}
        assert state.labels == expected
        for label, version in expected.items():
            users.wait_until(label, version)
    users.stop()
    assert users.failures == []
