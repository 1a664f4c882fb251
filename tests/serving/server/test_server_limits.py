"""What requests may cost: a server in a process of its own, and the peak of its memory."""

import json
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_service_pb2_grpc

from tests.serving.server.click_model import save
from tests.serving.server.server_kit import Store

MEBIBYTE = 2**20
CODE = """
import sys
from pathlib import Path
import hivemill.common.runtime
hivemill.common.runtime.tensorflow_core_only()
from hivemill.serving.server import app
from hivemill.serving.server.options import ServerOptions
options = ServerOptions(
    Path(sys.argv[1]), port=0, rest_port=0, max_message_bytes=8 * 2**20, max_in_flight_bytes=256 * 2**20
)
sys.exit(app.serve(options, exit_with_parent=True))
"""
BOUND = 256 * MEBIBYTE + 64 * MEBIBYTE  # and what a message and its answer are outside of the decoded request


class Process:
    def __init__(self, config: Path):
        command = [sys.executable, "-c", CODE, str(config)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        lines = iter(self._process.stderr.readline, "")
        self.ports = next(json.loads(line.split(": ", 1)[1]) for line in lines if "listening" in line)
        next(line for line in lines if "is available" in line)
        threading.Thread(target=self._process.stderr.read, daemon=True).start()
        channel = grpc.insecure_channel(f"127.0.0.1:{self.ports['grpc']}")
        self.channel, self.stub = channel, prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def memory(self) -> dict[str, int]:
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        return {key: int(value) * 1024 for key, value in re.findall(r"(VmHWM|VmRSS):\s+(\d+)", text)}

    def peak_of(self, ask) -> tuple[object, int]:
        """What `ask()` gives, and how far it raised the memory."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")
        before = self.memory()["VmRSS"]
        return ask(), self.memory()["VmHWM"] - before

    def rest(self, method: str, body: bytes) -> tuple[int, bytes]:
        url = f"http://127.0.0.1:{self.ports['rest']}/v1/models/shop:{method}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def grpc(self, call, request) -> tuple[str, str]:
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=60)
        return caught.value.code().name, caught.value.details()

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    store = Store(tmp_path_factory.mktemp("store"), save(tmp_path_factory.mktemp("saved") / "model"))
    store.add(1)
    store.write([1])
    process = Process(store.config)
    assert process.rest("predict", b'{"instances": [""]}')[0] == 200
    yield process
    process.stop()


def filled(start: bytes, unit: bytes, end: bytes) -> bytes:
    return start + unit * ((8 * MEBIBYTE - len(start + end)) // len(unit)) + end


_TAGS = b'{"signature_name": "predict", "inputs": {"hour": [1], "item": ["a"], "price": [1], "tags": [], '
BODIES = {
    "lists": ("predict", filled(b'{"x": [', b"[],", b'0], "instances": [""]}'), 200),
    "objects": ("predict", filled(b'{"x": [', b'{"":0},', b'0], "instances": [""]}'), 200),
    "texts": ("predict", filled(b'{"instances": [', b'"",', b'""]}'), 400),
    "base64": ("predict", filled(b'{"instances": [', b'{"b64":""},', b'""]}'), 400),
    "numbers": ("predict", filled(_TAGS + b'"tags_row_lengths": [', b"9999,", b"0]}}"), 400),
    "examples": ("classify", filled(b'{"signature_name": "classify", "examples": [', b"{},", b"{}]}"), 400),
    "features": ("classify", filled(b'{"signature_name": "classify", "examples": [', b'{"":0},', b"{}]}"), 400),
}


@pytest.mark.parametrize("name", BODIES)
def test_json_that_stands_for_more_stays_below_the_bound(server, name):
    method, body, expected = BODIES[name]
    (status, answer), peak = server.peak_of(lambda: server.rest(method, body))
    assert status == expected, answer[:300]
    assert peak < BOUND, f"{peak / MEBIBYTE:.0f} MiB"


def test_small_messages_that_stand_for_gigabytes_are_refused_before_memory_is_taken(server):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "shop"
    tensor = request.inputs["examples"]
    tensor.dtype = 7
    tensor.tensor_shape.dim.add(size=2000)
    tensor.string_val.append(b"x" * MEBIBYTE)
    (code, words), peak = server.peak_of(lambda: server.grpc(server.stub.Predict, request))
    assert code == "INVALID_ARGUMENT" and "larger than" in words and peak < 32 * MEBIBYTE
    contextual = classification_pb2.ClassificationRequest()
    contextual.model_spec.name, contextual.model_spec.signature_name = "shop", "classify"
    parts = contextual.input.example_list_with_context
    parts.context.features.feature["a"].bytes_list.value.append(b"x" * 100_000)
    for _ in range(20_000):
        parts.examples.add()
    (code, words), peak = server.peak_of(lambda: server.grpc(server.stub.Classify, contextual))
    assert code == "INVALID_ARGUMENT" and "20000 examples" in words and peak < 32 * MEBIBYTE
    contextual.model_spec.signature_name = "none"
    assert "No signature was found" in server.grpc(server.stub.Classify, contextual)[1]


def test_messages_of_many_empty_parts_stay_below_the_bound(server):
    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), b""
        while size > 127:
            size, length = size >> 7, length + bytes([size & 127 | 128])
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    spec = field(1, field(1, b"shop") + field(3, b"classify"))
    classify = server.channel.unary_unary("/tensorflow.serving.PredictionService/Classify")
    for example in (b"\x0a\x00", b"\x0a\x02\x0a\x00", b"\x0a\x06\x0a\x04\x0a\x02\x0a\x00"):
        message = spec + field(2, field(1, example * (7 * MEBIBYTE // len(example))))
        (code, words), peak = server.peak_of(lambda m=message: server.grpc(classify, m))
        assert code == "INVALID_ARGUMENT" and "stand for more" in words
        assert peak < BOUND, f"{peak / MEBIBYTE:.0f} MiB"
