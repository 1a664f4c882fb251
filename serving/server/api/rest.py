"""The REST side: TensorFlow Serving's `/v1/models/…` and Prometheus' page, over the standard library's HTTP server."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from google.protobuf import json_format
from tensorflow.python.framework import tensor_util
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from hivemill.serving.server import metrics as metrics_lib
from hivemill.serving.server.api import rest_json, tensors
from hivemill.serving.server.api.errors import ServingError, code_of, invalid
from hivemill.serving.server.api.operations import SIGNATURE_FIELD, Operations
from hivemill.serving.server.metrics import Metrics
from hivemill.serving.server.options import ServerOptions

_MODEL = r"/v1/models(?:/(?P<model>[^/:]+))?(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_ASK = re.compile(_MODEL + r":(?P<method>classify|regress|predict)", re.IGNORECASE | re.ASCII)
_LOOK = re.compile(_MODEL + r"(?:/(?P<part>metadata))?", re.IGNORECASE | re.ASCII)
_ENTRYPOINT = "REST"
_IDLE_SECONDS = 30.0
_MAX_VERSION, _MAX_VERSION_DIGITS = 2**63 - 1, 19

Page = Callable[[], str]


class RestServer:
    """Listens from construction on; `start` answers. Raises OSError where the address is not free."""

    def __init__(self, operations: Operations, metrics: Metrics, page: Page, options: ServerOptions, port: int):
        """`page()` is Prometheus' page."""
        self._http = _Http((options.host, port), _Answers(operations, metrics, page), options)
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, grace_seconds: float) -> bool:
        """Takes no more connections and lets running requests finish; False where some were not within the time."""
        self._http.shutdown()
        self._http.server_close()
        return self._http.wait_until_quiet(grace_seconds)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], answers: _Answers, options: ServerOptions):
        self.answers, self.max_bytes = answers, options.max_message_bytes
        self._tls = options.tls.context() if options.tls else None
        self._free = threading.BoundedSemaphore(options.max_concurrent)
        self._running, self._changed = 0, threading.Condition()
        self.is_closing = False
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A connection has a thread; more than `max_concurrent` of them are closed again."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread can be started: whoever calls this closes the connection
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            request = self._encrypted(request)
            if request is not None:
                super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def _encrypted(self, request: Any) -> Any:
        """The handshake, in the connection's own thread; None where the client has no right to one, or leaves."""
        if self._tls is None:
            return request
        request.settimeout(_IDLE_SECONDS)
        try:
            return self._tls.wrap_socket(request, server_side=True)
        except OSError:  # ssl.SSLError is one
            self.shutdown_request(request)
            return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""

    def running(self, change: int) -> None:
        with self._changed:
            self._running += change
            self._changed.notify_all()

    def wait_until_quiet(self, seconds: float) -> bool:
        with self._changed:
            self.is_closing = True
            return self._changed.wait_for(lambda: not self._running, seconds)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "hivemill", ""
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True
    server: _Http

    def do_POST(self) -> None:
        self._answered(lambda: self.server.answers.post(self._path(), self._body()))

    def do_GET(self) -> None:
        if self._path() == metrics_lib.PATH:
            self._answered(lambda: (self.server.answers.page().encode(), metrics_lib.CONTENT_TYPE))
        else:
            self._answered(lambda: self.server.answers.get(self._path()))

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are counted, not logged."""

    def _path(self) -> str:
        return urlsplit(self.path).path

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self.close_connection = True
            raise _HttpError(411, "the request needs a Content-Length")
        if int(length) > self.server.max_bytes:
            self.close_connection = True
            raise _HttpError(413, f"the request has {length} bytes, more than {self.server.max_bytes}")
        return self.rfile.read(int(length))

    def _answered(self, answer: Callable[[], tuple[bytes, str]]) -> None:
        self.server.running(+1)
        try:
            self._send(*_answer(answer))
        finally:  # a client that has gone, or was too slow to send what it announced, runs no more either
            self.server.running(-1)

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection or self.server.is_closing:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)


_JSON = "application/json"


class _HttpError(Exception):
    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def _answer(answer: Callable[[], tuple[bytes, str]]) -> tuple[int, bytes, str]:
    """(status, body, content type), of errors too. Raises OSError where the client has gone."""
    try:
        return 200, *answer()
    except _HttpError as error:
        return error.status, rest_json.written({"error": str(error)}), _JSON
    except ServingError as error:
        return error.http_status, rest_json.written({"error": error.message}), _JSON
    except OSError:
        raise
    except Exception as error:
        return 500, rest_json.written({"error": f"{type(error).__name__}: {error}"}), _JSON


class _Answers:
    """Path and body to (body, content type). Raises ServingError, _HttpError."""

    def __init__(self, operations: Operations, metrics: Metrics, page: Page):
        self._operations, self._metrics, self.page = operations, metrics, page

    def post(self, path: str, body: bytes) -> tuple[bytes, str]:
        found = _ASK.fullmatch(path)
        if found is None or not found["model"]:
            raise _malformed("POST", path)
        method = found["method"].lower()
        answer = {"predict": self._predict, "classify": self._classify, "regress": self._regress}[method]
        started = time.monotonic()
        try:
            spec = _spec(found)
            document, version = answer(spec, rest_json.parse(body))
        except ServingError as error:
            took = time.monotonic() - started
            self._metrics.request("", "", method.capitalize(), _ENTRYPOINT, error.code.name, took)
            raise
        took = time.monotonic() - started
        self._metrics.request(spec.name, str(version), method.capitalize(), _ENTRYPOINT, "OK", took)
        return rest_json.written(document), _JSON

    def get(self, path: str) -> tuple[bytes, str]:
        if not path.lower().startswith("/v1/"):
            raise _HttpError(404, "Not Found")
        found = _LOOK.fullmatch(path)
        if found is None:
            raise _malformed("GET", path)
        if not found["model"]:
            raise invalid("Missing model name in request.")
        document = self._metadata(_spec(found)) if found["part"] else self._status(_spec(found))
        return rest_json.written(document), _JSON

    def _predict(self, spec: model_pb2.ModelSpec, document: dict[str, Any]) -> tuple[Any, int]:
        spec.signature_name = rest_json.signature_name(document)
        form, feeds = rest_json.predict_inputs(document, self._operations.inputs_of(spec))
        request = predict_pb2.PredictRequest(model_spec=spec)
        for alias, value in feeds.items():
            request.inputs[alias].CopyFrom(tensors.to_proto(value))
        response, version = self._operations.predict(request)
        outputs = {alias: tensor_util.MakeNdarray(proto) for alias, proto in sorted(response.outputs.items())}
        return rest_json.predict_result(form, outputs), version

    def _classify(self, spec: model_pb2.ModelSpec, document: dict[str, Any]) -> tuple[Any, int]:
        spec.signature_name = rest_json.signature_name(document)
        request = classification_pb2.ClassificationRequest(model_spec=spec, input=rest_json.examples(document))
        response, version = self._operations.classify(request)
        rows = response.result.classifications
        return {"results": [[[one.label, _float(one.score)] for one in row.classes] for row in rows]}, version

    def _regress(self, spec: model_pb2.ModelSpec, document: dict[str, Any]) -> tuple[Any, int]:
        spec.signature_name = rest_json.signature_name(document)
        request = regression_pb2.RegressionRequest(model_spec=spec, input=rest_json.examples(document))
        response, version = self._operations.regress(request)
        return {"results": [_float(one.value) for one in response.result.regressions]}, version

    def _status(self, spec: model_pb2.ModelSpec) -> Any:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
        response, _ = self._operations.status(request)
        found = []
        for one in response.model_version_status:
            code = code_of(one.status.error_code).name
            status = {"error_code": code, "error_message": one.status.error_message}
            state = get_model_status_pb2.ModelVersionStatus.State.Name(one.state)
            found.append({"version": str(one.version), "state": state, "status": status})
        return {"model_version_status": found}

    def _metadata(self, spec: model_pb2.ModelSpec) -> Any:
        request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=[SIGNATURE_FIELD])
        response, _ = self._operations.metadata(request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata[SIGNATURE_FIELD].Unpack(signatures)
        return {"model_spec": _dict(response.model_spec), "metadata": {SIGNATURE_FIELD: _dict(signatures)}}


def _spec(found: re.Match[str]) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=unquote(found["model"]))
    if found["version"]:
        if len(found["version"]) > _MAX_VERSION_DIGITS or int(found["version"]) > _MAX_VERSION:
            raise invalid(f"Failed to convert version: {found['version'][:40]} to numeric.")
        spec.version.value = int(found["version"])
    elif found["label"]:
        spec.version_label = unquote(found["label"])
    return spec


def _malformed(method: str, path: str) -> ServingError:
    return invalid(f"Malformed request: {method} {path}")


def _float(value: float) -> float:
    """A protocol buffer's float32 as the shortest text that means it."""
    return float(str(np.float32(value)))


def _dict(message: Any) -> Any:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
