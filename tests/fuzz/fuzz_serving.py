"""Fuzzes what decodes requests of the dev server, REST and gRPC: python tests/fuzz/fuzz_serving.py rest --runs 1000000.

Coverage guided by atheris (libFuzzer). The first byte of an input chooses the method, the rest is the body or message.
All of the server's own code runs, with a model whose signatures have every type and which answers zeros. An input must
end in an answer or a documented error; an exception, HTTP 500, more than TIMEOUT_S seconds, or more than MEMORY_BYTES
above the start is a finding, and libFuzzer writes the input to a file.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
TIMEOUT_S = 5
MAX_BYTES = 4096
PRINTED_EVERY = 100_000
MEMORY_BYTES = 64 << 20
REQUEST_BYTES = 1 << 20  # the bound of the server under test


def _instrumented() -> contextlib.AbstractContextManager:
    if __name__ != "__main__":
        return contextlib.nullcontext()
    import atheris

    return atheris.instrument_imports(include=["hivemill.serving.server"])


from hivemill.common import runtime  # noqa: E402

if __name__ == "__main__":
    runtime.tensorflow_core_only()

import grpc  # noqa: E402
import numpy as np  # noqa: E402
from google.protobuf.message import DecodeError  # noqa: E402
from tensorflow.core.framework import types_pb2  # noqa: E402
from tensorflow.core.protobuf import meta_graph_pb2  # noqa: E402
from tensorflow.python.framework import dtypes  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    classification_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)
from tensorflow_serving.config import file_system_storage_path_source_pb2  # noqa: E402

with _instrumented():
    from hivemill.serving.server import in_flight, metrics, request_log
    from hivemill.serving.server.api import operations, rest
    from hivemill.serving.server.api.errors import ServingError
    from hivemill.serving.server.loading import config_file, models

_TYPES = {
    "f": types_pb2.DT_FLOAT, "d": types_pb2.DT_DOUBLE, "i": types_pb2.DT_INT64, "s": types_pb2.DT_STRING,
    "b": types_pb2.DT_BOOL, "u": types_pb2.DT_UINT8, "h": types_pb2.DT_HALF,
}  # fmt: skip
_METHODS = ("predict", "classify", "regress")
_REQUESTS = (
    (predict_pb2.PredictRequest, "predict"),
    (classification_pb2.ClassificationRequest, "classify"),
    (regression_pb2.RegressionRequest, "regress"),
    (inference_pb2.MultiInferenceRequest, "multi_inference"),
)


def _signature(inputs: dict[str, int], outputs: dict[str, int]) -> meta_graph_pb2.SignatureDef:
    signature = meta_graph_pb2.SignatureDef()
    for infos, types in ((signature.inputs, inputs), (signature.outputs, outputs)):
        for name, dtype in types.items():
            infos[name].name, infos[name].dtype = f"{name}:0", dtype
            infos[name].tensor_shape.unknown_rank = True
    return signature


class ZeroServable:
    """Every signature answers zeros, one row for each row of its first input."""

    path = ""
    signatures = {  # noqa: RUF012
        "serving_default": _signature({"examples": types_pb2.DT_STRING}, {"p": types_pb2.DT_FLOAT}),
        "predict": _signature(_TYPES, {"p": types_pb2.DT_FLOAT, "x_bytes": types_pb2.DT_STRING}),
        "numbers": _signature({"i": types_pb2.DT_INT32}, {"p": types_pb2.DT_DOUBLE}),
        "classify": _signature({"inputs": types_pb2.DT_STRING}, {"scores": types_pb2.DT_FLOAT}),
        "regress": _signature({"inputs": types_pb2.DT_STRING}, {"outputs": types_pb2.DT_FLOAT}),
    }

    def run(self, name, feeds, timeout=None):
        first = next(iter(feeds.values()))
        rows, found = len(first) if first.ndim else 1, {}
        for alias, info in self.signatures[name].outputs.items():
            is_text = info.dtype == types_pb2.DT_STRING
            shape = (rows, 1) if alias != "outputs" else (rows,)
            found[alias] = np.full(shape, b"\xff", object) if is_text else np.zeros(shape, _numpy(info.dtype))
        return found

    def close(self):
        pass


def _numpy(dtype: int) -> type:
    return dtypes.as_dtype(dtype).as_numpy_dtype


def target_of(protocol: str) -> Callable[[bytes], str]:
    """Input to the name of its outcome. Raises AssertionError, or what the server should have caught."""
    folder = Path(tempfile.mkdtemp())
    (folder / "1").mkdir()
    policy = file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy()
    served = models.Models(lambda *_: ZeroServable())
    served.assign({"m": config_file.ModelTarget("m", folder, policy, {"stable": 1})}, labels_must_be_available=False)
    served.work()
    asked = operations.Operations(served, REQUEST_BYTES)
    claims = in_flight.InFlight(64 * REQUEST_BYTES)
    answers = rest.RestAnswers(asked, metrics.ServerMetrics(), str, request_log.RequestLog(lambda _: None))
    start = _peak()

    def ask_rest(data: bytes) -> str:
        with claims.claim() as claim:
            path = f"/v1/models/m:{_METHODS[data[0] % len(_METHODS)]}"
            reply = answers.ask(path, data[1:], claim, 1.0)
        assert reply.status in (200, 400, 404, 501), reply
        assert reply.status == 200 or "error" in json.loads(reply.body)
        return "answered" if reply.status == 200 else "refused"

    def ask_grpc(data: bytes) -> str:
        kind, method = _REQUESTS[data[0] % len(_REQUESTS)]
        try:
            getattr(asked, method)(kind.FromString(data[1:]))
        except (ServingError, DecodeError) as error:
            code = getattr(error, "code", grpc.StatusCode.INVALID_ARGUMENT)
            assert code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), error
            return "refused"
        return "answered"

    def target(data: bytes) -> str:
        if not data:
            return "refused"
        outcome = {"rest": ask_rest, "grpc": ask_grpc}[protocol](data)
        assert _peak() - start < MEMORY_BYTES, f"{_peak() - start} bytes above the start"
        assert claims.held == 0
        return outcome

    return target


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def seeds_of(protocol: str) -> list[bytes]:
    """Good requests of every kind."""
    return _rest_seeds() if protocol == "rest" else _grpc_seeds()


def _rest_seeds() -> list[bytes]:
    row = {"f": 1.5, "d": 1e39, "i": -1, "s": "a", "b": True, "u": 255}
    predict: list[dict] = [
        {"instances": ["a", {"b64": "YQ=="}]},
        {"inputs": {"examples": ["a"]}, "signature_name": "serving_default"},
        {"instances": [row, row], "signature_name": "predict"},
        {"inputs": {name: [[value]] for name, value in row.items()}, "signature_name": "predict"},
        {"instances": [1, 2], "signature_name": "numbers"},
    ]
    examples = {"examples": [{"a": 1, "b": [1.5], "c": ["x", {"b64": "YQ"}]}], "context": {"d": [True]}}
    bodies = [(0, one) for one in predict]
    bodies += [(n, {**examples, "signature_name": _METHODS[n]}) for n in (1, 2)]
    odd = b'\x00\xef\xbb\xbf{"instances": [Inf, -NaN, "\\ud83d\\ude00", [[]], 1e308, null], "instances": 0}'
    return [*(bytes([n]) + json.dumps(body).encode() for n, body in bodies), odd]


def _grpc_seeds() -> list[bytes]:
    found = []
    for number, (kind, _) in enumerate(_REQUESTS):
        request = kind()
        if kind is predict_pb2.PredictRequest:
            request.model_spec.name, tensor = "m", request.inputs["examples"]
            tensor.dtype = types_pb2.DT_STRING
            tensor.tensor_shape.dim.add(size=3)
            tensor.string_val.append(b"abc")
            request.output_filter.append("p")
        else:
            spec = request.tasks.add(method_name="tensorflow/serving/classify") if number == 3 else request
            spec.model_spec.name, spec.model_spec.signature_name = "m", "regress" if number == 2 else "classify"
            parts = request.input.example_list_with_context
            parts.context.features.feature["a"].int64_list.value.append(1)
            parts.examples.add().features.feature["b"].float_list.value.append(1.0)
        found.append(bytes([number]) + request.SerializeToString())
    numbers = predict_pb2.PredictRequest()
    numbers.model_spec.name, numbers.model_spec.signature_name = "m", "numbers"
    numbers.inputs["i"].dtype = types_pb2.DT_INT32
    numbers.inputs["i"].tensor_shape.dim.add(size=2)
    numbers.inputs["i"].tensor_content = bytes(8)
    return [*found, b"\x00" + numbers.SerializeToString()]


def edited(seed: bytes, chooser: random.Random) -> bytes:
    """A seed with a few bytes replaced, removed, doubled or inserted."""
    data = bytearray(seed)
    for _ in range(chooser.randint(1, 4)):
        at, size = chooser.randrange(len(data) + 1), chooser.choice((1, 1, 1, 2, 8, 64))
        kind = chooser.randrange(4)
        new = {0: b"", 1: bytes(data[at : at + size]) * 2}.get(kind, chooser.randbytes(min(size, 8)))
        data[at : at if kind == 3 else at + size] = new
    return bytes(data[:MAX_BYTES])


def main() -> int:
    import atheris

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("protocol", choices=("rest", "grpc"))
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=0, help="0: no limit")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="a folder that inputs of new coverage are kept in")
    arguments = parser.parse_args()
    corpus = arguments.corpus or Path(tempfile.mkdtemp())
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds_of(arguments.protocol)):
        (corpus / f"seed-{number}").write_bytes(seed)
    target, outcomes, began = target_of(arguments.protocol), collections.Counter(), time.monotonic()

    def counted(data: bytes) -> None:
        outcomes[target(data)] += 1
        if outcomes.total() % PRINTED_EVERY == 0:
            print(f"{arguments.protocol}: {dict(outcomes)} in {time.monotonic() - began:.0f} s", flush=True)

    options = [f"-runs={arguments.runs}", f"-max_len={MAX_BYTES}", f"-timeout={TIMEOUT_S}", f"-seed={arguments.seed}"]
    options.append(f"-max_total_time={arguments.seconds}")
    atheris.Setup([sys.argv[0], *options, str(corpus)], counted)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
