"""Asks the server what the model itself has answered: by each signature, in other sizes and orders; and how fast."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc, predict_pb2

from hivemill.common.errors import InfrastructureError
from hivemill.components.serving_check import requests
from hivemill.components.serving_check.server_process import MODEL, ServerProcess
from hivemill.components.trainer.signature_names import column_name

LATENCY_ROWS = (1, 64)
_BATCH_ROWS = 64
_SINGLE_ROWS = 8
_CALL_SECONDS = 60.0
_WARM_UP_CALLS, _MAX_CALLS = 5, 1000
_POLL_SECONDS = 0.05
_DEATH_SECONDS = 3.0  # between the end of a connection and that of its process
_STATE = get_model_status_pb2.ModelVersionStatus
_DEFAULT, _PREDICT = "serving_default", "predict"
_SEED = 7
_SIGNATURES_AT_ONCE = 4

Outputs = dict[str, np.ndarray]


class Replay:
    """One connection to the server under check."""

    def __init__(self, server: ServerProcess):
        self._server = server
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(server.target, options)
        # Bytes go out as they are: the order of a request's columns is part of the check.
        self._predict = self._channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            response_deserializer=predict_pb2.PredictResponse.FromString,
        )

    def close(self) -> None:
        self._channel.close()

    def wait_until_loaded(self, timeout_seconds: float) -> float:
        """Seconds from the start of the process until the model is AVAILABLE. Raises InfrastructureError."""
        stub = model_service_pb2_grpc.ModelServiceStub(self._channel)
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = MODEL
        while time.monotonic() - self._server.started < timeout_seconds:
            self._server.check_alive()
            with contextlib.suppress(grpc.RpcError):  # not listening yet
                for one in stub.GetModelStatus(request, timeout=5, wait_for_ready=False).model_version_status:
                    if one.state == _STATE.AVAILABLE:
                        return time.monotonic() - self._server.started
                    if one.state == _STATE.END:
                        raise self._cannot_load(one.status.error_message)
            time.sleep(_POLL_SECONDS)
        raise self._cannot_load(f"not AVAILABLE after {timeout_seconds:.0f} s")

    def call(self, request: bytes) -> Outputs:
        """Raises InfrastructureError where the server does not answer."""
        try:
            response = self._predict(request, timeout=_CALL_SECONDS)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                self._server.check_alive(_DEATH_SECONDS)
            name = predict_pb2.PredictRequest.FromString(request).model_spec.signature_name
            raise InfrastructureError(
                f"serving check: the {self._server.kind.name} refused a request of the signature `{name}` "
                f"({error.code().name}): {error.details()}",
                hint="The model answers in this process but not in a server; nothing was pushed.",
            ) from error
        return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def latency(self, rows: Sequence[bytes], seconds: float) -> list[dict[str, float]]:
        """[{rows, calls, p50_ms, p99_ms}] of one client that asks `serving_default` again and again."""
        return [self._latency_of(rows, size, seconds) for size in LATENCY_ROWS]

    def _latency_of(self, rows: Sequence[bytes], size: int, seconds: float) -> dict[str, float]:
        repeated = [rows[number % len(rows)] for number in range(len(rows) + size)]
        starts = range(0, len(rows), max(1, len(rows) // 8))
        asked = [requests.examples_request(_DEFAULT, repeated[start : start + size]) for start in starts]
        for number in range(_WARM_UP_CALLS):
            self.call(asked[number % len(asked)])
        took: list[float] = []
        until = time.perf_counter() + seconds
        while len(took) < _MAX_CALLS and (len(took) < 10 or time.perf_counter() < until):
            started = time.perf_counter()
            self.call(asked[len(took) % len(asked)])
            took.append(1000 * (time.perf_counter() - started))
        p50, p99 = np.percentile(took, [50, 99])
        return {"rows": size, "calls": len(took), "p50_ms": float(p50), "p99_ms": float(p99)}

    def _cannot_load(self, why: str) -> InfrastructureError:
        return InfrastructureError(
            f"serving check: the {self._server.kind.name} cannot load the model: {why.splitlines()[0] if why else ''}",
            hint="\n  ".join(self._server.log_tail().splitlines()[-5:]) or None,
        )


def differences(model: Any, rows: Sequence[bytes], ask: Callable[[bytes], Outputs]) -> list[dict[str, Any]]:
    """[{signature, what, rows, difference}]: what is served against the model's own batch predictions of `rows`.

    `difference` is the largest of all values; infinite where a shape, a string or an integer is another one. `model` is
    the SavedModel as TensorFlow loads it in this process.
    """
    reference = _run(model, _DEFAULT, rows)

    def compare(signature: str) -> list[dict[str, Any]]:
        arguments = model.signatures[signature].structured_input_signature[1]
        inputs = {column_name(argument): spec for argument, spec in arguments.items()}
        if requests.takes_examples(inputs):
            return list(_by_examples(model, signature, rows, ask, reference if signature == _DEFAULT else None))
        if signature == _PREDICT:
            return list(_by_columns(inputs, rows, ask, reference))
        return [_not_asked(signature, "its inputs are not known to this check")]

    # The first request of a signature costs a server 2 s of CPU, for the functions of its graph: so all at once.
    with futures.ThreadPoolExecutor(_SIGNATURES_AT_ONCE, "serving check") as pool:
        return [one for found in pool.map(compare, sorted(model.signatures)) for one in found]


def _by_examples(
    model: Any, signature: str, rows: Sequence[bytes], ask: Callable[[bytes], Outputs], reference: Outputs | None
) -> Iterator[dict[str, Any]]:
    specs = model.signatures[signature].structured_outputs
    dense = sorted(name for name, spec in specs.items() if isinstance(spec, tf.TensorSpec))
    if not dense:
        yield _not_asked(signature, "TensorFlow Serving's APIs cannot carry its sparse outputs")
        return
    # All outputs of a request are served, or those that it names: sparse ones cannot be.
    named = dense if len(dense) < len(specs) else []

    def served(chunk: Sequence[bytes]) -> Outputs:
        return ask(requests.examples_request(signature, chunk, named))

    def expected(start: int, stop: int) -> Outputs:
        # Packed outputs (transformed_features) are not one row per example, so they are compared batch by batch.
        if reference is None:
            return _run(model, signature, rows[start:stop])
        return {name: value[start:stop] for name, value in reference.items()}

    def compare(what: str, spans: Sequence[tuple[int, int]], change: Callable[[bytes], bytes]) -> dict[str, Any]:
        worst = max(_difference(expected(*span), served([change(row) for row in rows[slice(*span)]])) for span in spans)
        what += f" (outputs {', '.join(named)})" if named else ""
        return {"signature": signature, "what": what, "rows": spans[-1][1], "difference": worst}

    yield compare(f"{_BATCH_ROWS} rows a request", _spans(len(rows), _BATCH_ROWS), lambda row: row)
    yield compare("one row a request", _spans(min(len(rows), _SINGLE_ROWS), 1), lambda row: row)
    yield compare("features in another order", _spans(min(len(rows), _BATCH_ROWS), _BATCH_ROWS), _reversed_features)


def _not_asked(signature: str, why: str) -> dict[str, Any]:
    return {"signature": signature, "what": f"not asked: {why}", "rows": 0, "difference": 0.0}


def _by_columns(
    specs: dict[str, Any], rows: Sequence[bytes], ask: Callable[[bytes], Outputs], reference: Outputs
) -> Iterator[dict[str, Any]]:
    table = requests.ColumnRows(rows, {name: spec.dtype for name, spec in specs.items()})
    kept = {name: value[table.kept] for name, value in reference.items()}
    for what, order in (("named columns", sorted), ("columns in another order", _shuffled)):
        worst = 0.0
        for start, stop in _spans(len(table.kept), _BATCH_ROWS):
            served = ask(requests.request(_PREDICT, table.columns(start, stop), order))
            worst = max(worst, _difference({name: value[start:stop] for name, value in kept.items()}, served))
        yield {"signature": _PREDICT, "what": what, "rows": len(table.kept), "difference": worst}


def _difference(expected: Outputs, served: Outputs) -> float:
    if set(expected) != set(served):
        return float("inf")
    return max((_difference_of(expected[name], served[name]) for name in expected), default=0.0)


def _difference_of(one: np.ndarray, other: np.ndarray) -> float:
    if one.shape != other.shape or one.dtype != other.dtype:
        return float("inf")
    if one.dtype.kind != "f":
        return 0.0 if np.array_equal(one, other) else float("inf")
    unlike = np.isfinite(one) != np.isfinite(other)
    odd = ~np.isfinite(one) & ~((one == other) | (np.isnan(one) & np.isnan(other)))
    if (unlike | odd).any():
        return float("inf")
    finite = np.isfinite(one)
    return float(np.max(np.abs(one[finite].astype(np.float64) - other[finite]), initial=0.0))


def _run(model: Any, signature: str, rows: Sequence[bytes]) -> Outputs:
    outputs = model.signatures[signature](**{requests.EXAMPLES_KEY: tf.constant(list(rows), tf.string)})
    return {name: value.numpy() for name, value in outputs.items() if isinstance(value, tf.Tensor)}


def _spans(rows: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, rows)) for start in range(0, rows, size)]


def _shuffled(names: Sequence[str]) -> list[str]:
    shuffled = sorted(names)
    random.Random(_SEED).shuffle(shuffled)
    return shuffled


def _reversed_features(row: bytes) -> bytes:
    return requests.reordered(row, lambda names: list(reversed(names)))
