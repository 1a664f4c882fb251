"""The REST side: TensorFlow Serving's `/v1/models/…` and Prometheus' page, whatever carries HTTP (`http_server`)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import grpc
import numpy as np
from google.protobuf import json_format
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
from hivemill.serving.server.api.errors import MAX_MESSAGE, ServingError, code_of, failed_precondition, invalid
from hivemill.serving.server.api.operations import SIGNATURE_FIELD, Operations
from hivemill.serving.server.http_server import Reply
from hivemill.serving.server.in_flight import DECODED_FACTOR, Claim
from hivemill.serving.server.loading.saved_model import DEFAULT_SIGNATURE
from hivemill.serving.server.metrics import ServerMetrics
from hivemill.serving.server.request_log import RequestLog

_MODEL = r"/v1/models(?:/(?P<model>[^/:]+))?(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_ASK = re.compile(_MODEL + r":(?P<method>classify|regress|predict)", re.IGNORECASE | re.ASCII)
_LOOK = re.compile(_MODEL + r"(?:/(?P<part>metadata))?", re.IGNORECASE | re.ASCII)
_ENTRYPOINT = "REST"
_MAX_VERSION, _MAX_VERSION_DIGITS = 2**63 - 1, 19

Page = Callable[[], str]


class RestAnswers:
    """Requests to replies; errors are replies too."""

    def __init__(self, operations: Operations, metrics: ServerMetrics, page: Page, request_log: RequestLog):
        """`page()` is Prometheus' page."""
        self._operations, self._metrics, self._page, self._log = operations, metrics, page, request_log

    def look(self, method: str, path: str, origin: str | None) -> Reply:
        """Everything but POST: states, metadata, the list of models, metrics; other methods as TensorFlow Serving."""
        try:
            if method == "GET" and path == metrics_lib.PATH:
                return Reply(200, self._page().encode(), metrics_lib.CONTENT_TYPE)
            _check_prefix(path)
            if method == "OPTIONS":
                return _preflight(origin)
            return self._get(method, path)
        except Exception as error:
            return _failed(error)

    def ask(self, path: str, body: bytes, claim: Claim, timeout: float) -> Reply:
        """POST: predict, classify, regress. `body` was read within the bound of a message."""
        found = _ASK.fullmatch(path)
        api = found["method"].capitalize() if found else ""
        started, name, version, status = time.monotonic(), "", None, "OK"
        try:
            _check_prefix(path)
            if found is None:
                raise _malformed("POST", path)
            spec = _spec(found)
            name = spec.name
            claim.resize(len(body) * DECODED_FACTOR, timeout)
            document, version = self._method(api)(spec, rest_json.parse(body), timeout)
            return Reply(200, rest_json.written(document))
        except Exception as error:
            status = error.code.name if isinstance(error, ServingError) else "INTERNAL"
            return _failed(error)
        finally:
            self._metrics.request(
                self._operations.known(name), version, api, _ENTRYPOINT, status, time.monotonic() - started
            )

    def _method(self, api: str) -> Callable[..., tuple[Any, int]]:
        return {"Predict": self._predict, "Classify": self._classify, "Regress": self._regress}[api]

    def _get(self, method: str, path: str) -> Reply:
        found = _LOOK.fullmatch(path) if method == "GET" else None
        if found is None:
            raise _malformed(method, path)
        if path.lower() == "/v1/models":
            return Reply(200, rest_json.written({"models": self._operations.models()}))
        if not found["model"]:
            raise invalid("Missing model name in request.")
        document = self._metadata(_spec(found)) if found["part"] else self._status(_spec(found))
        return Reply(200, rest_json.written(document))

    def _predict(self, spec: model_pb2.ModelSpec, document: dict[str, Any], timeout: float) -> tuple[Any, int]:
        spec.signature_name = rest_json.signature_name(document)
        form, feeds = rest_json.predict_inputs(document, self._operations.inputs_of(spec), self._operations.max_bytes)
        outputs, version = self._operations.predict_arrays(spec, feeds, timeout)
        if self._log.sampled(spec.name):
            self._log.write(spec.name, *_predict_messages(spec, version, feeds, outputs))
        return rest_json.predict_result(form, outputs), version

    def _classify(self, spec: model_pb2.ModelSpec, document: dict[str, Any], timeout: float) -> tuple[Any, int]:
        spec.signature_name = rest_json.signature_name(document)
        self._operations.check_takes_examples(spec, "classification")
        request = classification_pb2.ClassificationRequest(
            model_spec=spec, input=rest_json.examples(document, self._operations.max_bytes)
        )
        response, version = self._operations.classify(request, timeout)
        if self._log.sampled(spec.name):
            self._log.write(spec.name, request, response)
        rows = response.result.classifications
        return {"results": [[[one.label, _float(one.score)] for one in row.classes] for row in rows]}, version

    def _regress(self, spec: model_pb2.ModelSpec, document: dict[str, Any], timeout: float) -> tuple[Any, int]:
        spec.signature_name = rest_json.signature_name(document)
        self._operations.check_takes_examples(spec, "regression")
        request = regression_pb2.RegressionRequest(
            model_spec=spec, input=rest_json.examples(document, self._operations.max_bytes)
        )
        response, version = self._operations.regress(request, timeout)
        if self._log.sampled(spec.name):
            self._log.write(spec.name, request, response)
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


def _predict_messages(
    spec: model_pb2.ModelSpec, version: int, feeds: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
) -> tuple[predict_pb2.PredictRequest, predict_pb2.PredictResponse]:
    """What gRPC would have carried, for the log."""
    request, response = predict_pb2.PredictRequest(model_spec=spec), predict_pb2.PredictResponse()
    response.model_spec.name, response.model_spec.signature_name = spec.name, spec.signature_name or DEFAULT_SIGNATURE
    response.model_spec.version.value = version
    for arrays, protos in ((feeds, request.inputs), (outputs, response.outputs)):
        for alias, array in arrays.items():
            protos[alias].CopyFrom(tensors.to_proto(array))
    return request, response


def _check_prefix(path: str) -> None:
    if not path.lower().startswith("/v1/"):
        raise ServingError(grpc.StatusCode.NOT_FOUND, "Not Found")


def _preflight(origin: str | None) -> Reply:
    if origin is None or re.match("https?://", origin) is None:
        raise failed_precondition("Origin header is missing in CORS preflight")
    return Reply(200, b"")


def _failed(error: Exception) -> Reply:
    if isinstance(error, ServingError):
        return Reply(error.http_status, rest_json.written({"error": error.message}))
    return Reply(500, rest_json.written({"error": f"{type(error).__name__}: {error}"[:MAX_MESSAGE]}))


def _spec(found: re.Match[str]) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=unquote(found["model"]))
    if found["version"]:
        digits = found["version"].lstrip("0") or "0"
        if len(digits) > _MAX_VERSION_DIGITS or int(digits) > _MAX_VERSION:
            raise invalid(f"Failed to convert version: {found['version'][:40]} to numeric.")
        spec.version.value = int(digits)
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
