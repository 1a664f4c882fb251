"""How long users get a bad version after somebody decides to take it back, and how long a rollout's commands take.

    make bench NAME=rollout

A dev server in a process of its own serves two versions of a small model to a client that never pauses. Each repeat
starts a rollout, takes it to 100 % and rolls it back. Measured are the whole command `hivemill rollback`, from its
start to the first answer of the old version, and the same call inside a process. There is no peer; the ratio is the
first median over the bound of one second. Below 1 is good. A failed request ends the benchmark.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks._harness import REPOSITORY, median, print_result, print_table
from hivemill.serving import protos
from hivemill.serving.rollout.controller import RolloutMachine
from hivemill.serving.rollout.metrics import read_metrics
from hivemill.serving.rollout.model_server import ModelServers, wait_until_available
from hivemill.serving.rollout.options import RolloutOptions
from hivemill.serving.store.model_store import ModelStore

BOUND_SECONDS = 1.0
_OPTIONS = RolloutOptions(min_hours=0, min_impressions=1)
_MODEL = """
import sys, hivemill.common.runtime
hivemill.common.runtime.prepare_tensorflow()
import tensorflow as tf
class Model(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(self, examples):
        price = tf.io.parse_example(examples, {"price": tf.io.FixedLenFeature([], tf.float32, 0.0)})["price"]
        return {"click_probability": tf.sigmoid(price)[:, None]}
model = Model()
tf.saved_model.save(model, sys.argv[1], signatures={"serving_default": model.serve})
"""
_CONFIG = """
name: shop
root: .
source: {{table: log}}
label: {{column: click}}
features: {{price: {{type: categorical}}}}
rollout: {{server: "127.0.0.1:{port}", min_hours: 0, min_impressions: 1, metrics: metrics.json}}
"""


class Users(threading.Thread):
    """Asks for `stable` without a pause, and knows which version answered last."""

    def __init__(self, address: str):
        super().__init__(daemon=True)
        import grpc

        self._stub = protos.load("apis.prediction_service_pb2_grpc").PredictionServiceStub(
            grpc.insecure_channel(address)
        )
        self._request = protos.load("apis.predict_pb2").PredictRequest()
        self._request.model_spec.name, self._request.model_spec.version_label = "shop", "stable"
        tensor = self._request.inputs["examples"]
        tensor.dtype = 7  # DT_STRING
        tensor.tensor_shape.dim.add(size=1)
        tensor.string_val.append(b"")
        self.version: int | None = None
        self.num_answers = 0
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            while True:
                self.version = self._stub.Predict(self._request, timeout=10).model_spec.version.value
                self.num_answers += 1
                time.sleep(0.001)  # leaves the processor to what is measured
        except Exception as error:
            self.failure = error

    def wait_for(self, version: int) -> None:
        while self.version != version:
            if self.failure:
                raise RuntimeError("a request failed") from self.failure
            time.sleep(0.001)


class Shop:
    """A store with two versions, a server and users below `folder`."""

    def __init__(self, folder: Path, port: int):
        self.folder, self.address = folder, f"127.0.0.1:{port}"
        self._environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        subprocess.run([sys.executable, "-c", _MODEL, str(folder / "export")], env=self._environment, check=True)
        self.store = ModelStore(folder / "models", "shop")
        self.old, self.new = (self.store.publish(folder / "export", {}, name) for name in ("old", "new"))
        (folder / "hivemill.yaml").write_text(_CONFIG.format(port=port))

    @contextlib.contextmanager
    def served(self, port: int) -> Iterator[None]:
        command = [sys.executable, "-m", "hivemill", "serve", "--port", str(port), "--rest-port", "0"]
        with open(self.folder / "serve.log", "w") as log:
            process = subprocess.Popen(command, cwd=self.folder, env=self._environment, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait()

    def command(self, *words: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "hivemill", *words]
        return subprocess.Popen(command, cwd=self.folder, env=self._environment, stdout=subprocess.DEVNULL)

    def write_metrics(self) -> None:
        rollout = self.store.state().rollout
        counts = {"impressions": 1000 * (1 + rollout["percent"]), "clicks": 10 * (1 + rollout["percent"]), "errors": 0}
        means = {"p99_latency_seconds": 0.01, "mean_prediction": 0.01}
        versions = {name: {"model_version": rollout[name], **counts, **means} for name in ("stable", "canary")}
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        document = {"version": 1, "since_utc": rollout["started_utc"], "until_utc": now, "variants": versions}
        (self.folder / "metrics.json").write_text(json.dumps(document | {"lift": {"low": -0.01, "high": 0.01}}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="hivemill-rollout-") as folder:
        shop = Shop(Path(folder), port)
        with shop.served(port), ModelServers([shop.address]) as servers:
            _wait_for_server(servers, shop)
            users = Users(shop.address)
            users.start()
            machine = RolloutMachine(shop.store, _OPTIONS, servers)
            rows = [_measured(shop, users, machine, by_command=number % 2 == 0) for number in range(2 * repeats)]
            num_answers = users.num_answers
    medians = {
        name: median(row[name] for row in rows if name in row) for name in sorted({k for row in rows for k in row})
    }
    print_table(("what", "median seconds"), [(name, f"{seconds:.3f}") for name, seconds in medians.items()])
    print(f"{num_answers} requests meanwhile, none failed")
    answered = medians["rollback, command: first old answer"]
    print_result(
        "rollout",
        round(answered / BOUND_SECONDS, 3),
        "bound of 1 s",
        "seconds over bound",
        in_process_seconds=round(medians["rollback, in process: first old answer"], 3),
        step_seconds=round(medians["step, in process"], 3),
        requests=num_answers,
    )


def _measured(shop: Shop, users: Users, machine: RolloutMachine, by_command: bool) -> dict[str, float]:
    """Seconds by what was done, of one rollout from start to rollback."""
    seconds = {"start, in process": _timed(lambda: machine.start(again=True))}
    for _ in range(4):
        shop.write_metrics()
        metrics = read_metrics(shop.folder / "metrics.json")
        seconds["step, in process"] = _timed(lambda metrics=metrics: machine.step(metrics))
    users.wait_for(shop.new)
    how = "command" if by_command else "in process"
    started = time.monotonic()
    if by_command:
        process = shop.command("rollback")
        users.wait_for(shop.old)
        seconds[f"rollback, {how}: first old answer"] = time.monotonic() - started
        if process.wait():
            raise RuntimeError("hivemill rollback failed")
    else:
        machine.rollback()
        users.wait_for(shop.old)
        seconds[f"rollback, {how}: first old answer"] = time.monotonic() - started
    seconds[f"rollback, {how}: all done"] = time.monotonic() - started
    return seconds


def _timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _wait_for_server(servers: ModelServers, shop: Shop) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            return wait_until_available(servers, "shop", [shop.old], 60)
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
