"""The server as a process of its own: what it loads, and how it ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.serving.server.click_model import rows, save
from tests.serving.server.server_kit import Store

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store", save(tmp_path / "model"))
    store.folder.mkdir()
    store.add(1)
    store.write([1], stable=1)
    return store


def test_sigterm_while_it_is_asked_fails_no_request_that_had_begun(store, tmp_path):
    socket = tmp_path / "grpc.sock"
    command = [
        sys.executable,
        "-m",
        "hivemill.serving.server",
        "--model-config",
        str(store.config),
        "--socket",
        str(socket),
    ]
    with subprocess.Popen(command, env=ENVIRONMENT, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        channel = grpc.insecure_channel(f"unix:{socket}")
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.version_label = "shop", "stable"
        request.inputs["examples"].CopyFrom(tf.make_tensor_proto(rows(3)))
        _wait_until_answered(stub, request, process)
        answered, wrong = [0], []

        def ask():
            while True:
                try:
                    stub.Predict(request, timeout=30)
                    answered[0] += 1
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.UNAVAILABLE:  # it is stopping, or nobody listens any more
                        wrong.append(error)
                    return

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for thread in asking:
            thread.start()
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0  # all that had begun could finish
        for thread in asking:
            thread.join()
        log = process.stderr.read()
    assert not wrong and answered[0] > 20
    assert "stopping: running requests may finish" in log and log.strip().endswith("stopped")
    assert "deprecated" not in log


def _wait_until_answered(stub, request, process):
    until = time.monotonic() + 60
    while True:
        try:
            return stub.Predict(request, timeout=20, wait_for_ready=True)
        except grpc.RpcError as error:
            assert error.code() in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE), error
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.1)


def test_it_loads_no_public_tensorflow_and_no_tfx(store):
    code = f"""
import sys, hivemill.common.runtime
hivemill.common.runtime.tensorflow_core_only()
from hivemill.serving.server.loading.servable import Servable
servable = Servable({str(store.folder / "shop" / "1")!r})
assert "predict" in servable.signatures
import tensorflow
try:
    tensorflow.constant
except AttributeError as error:
    print(error)
print(sorted(set(sys.modules) & {{"tfx", "keras", "tf_keras", "apache_beam", "tensorflow.python.keras"}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=120
    )
    assert "this process has TensorFlow's core only" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_config_that_is_absent_ends_with_2_and_says_so(tmp_path):
    command = [sys.executable, "-m", "hivemill.serving.server", "--model-config", str(tmp_path / "models.config")]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "there is no" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_versions_that_come_and_go_leave_no_memory_behind(store):
    """Twenty versions loaded, asked and closed in turn; the first ones warm allocators and caches."""
    code = f"""
import hivemill.common.runtime
hivemill.common.runtime.tensorflow_core_only()
import gc
import numpy as np
from hivemill.serving.server.loading.servable import Servable
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
for number in range(25):
    servable = Servable({str(store.folder / "shop" / "1")!r}, max_batch_rows=8)
    servable.run("serving_default", {{"examples": np.array([b""] * 4, object)}})
    servable.close()
    if number == 4:
        before = resident()
del servable
gc.collect()
print(resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 40, "MiB more after 20 versions"
