"""The gRPC side: TensorFlow Serving's PredictionService and ModelService, and grpc.health.v1.

Requests are decoded here rather than by gRPC, so that their memory is claimed first (`in_flight`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from hivemill.serving.server.api.errors import MAX_MESSAGE, ServingError
from hivemill.serving.server.api.operations import Operations
from hivemill.serving.server.in_flight import DECODED_FACTOR, InFlight
from hivemill.serving.server.metrics import ServerMetrics
from hivemill.serving.server.options import ServerOptions
from hivemill.serving.server.request_log import RequestLog

Reload = Callable[[Any], None]
PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
_HEALTH_SERVICES = ("", "PredictionService", "ModelService", PREDICTION_SERVICE, MODEL_SERVICE)
_ENTRYPOINT = "gRPC"
_LONGEST_SECONDS = 86_400.0
_HANDSHAKE_MILLISECONDS = 10_000
_IDLE_MILLISECONDS = 300_000
_HEALTH_CALLS = 64  # answered beside the most requests that may be in progress


def make_server(
    operations: Operations,
    metrics: ServerMetrics,
    reload: Reload,
    options: ServerOptions,
    ending: threading.Event,
    in_flight: InFlight,
    health_service: HealthService,
    request_log: RequestLog,
) -> grpc.Server:
    """Not started, without ports. `reload(ModelServerConfig)` applies a config or raises ServingError. Once `ending`
    is set, new requests are answered with UNAVAILABLE."""
    server = grpc.server(
        futures.ThreadPoolExecutor(options.threads, "grpc"),
        options=[
            ("grpc.max_receive_message_length", options.max_message_bytes),
            ("grpc.max_send_message_length", options.max_message_bytes),
            ("grpc.so_reuseport", 0),  # a second server at the same port is a mistake, not a partner
            ("grpc.max_allowed_incoming_connections", options.max_connections),
            ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MILLISECONDS),
            ("grpc.max_connection_idle_ms", _IDLE_MILLISECONDS),
        ],
        maximum_concurrent_rpcs=options.max_concurrent + _HEALTH_CALLS,
    )
    calls = _Calls(operations, metrics, ending, in_flight, options.max_concurrent, request_log)
    prediction = {
        "Predict": (predict_pb2.PredictRequest, operations.predict),
        "Classify": (classification_pb2.ClassificationRequest, operations.classify),
        "Regress": (regression_pb2.RegressionRequest, operations.regress),
        "MultiInference": (inference_pb2.MultiInferenceRequest, operations.multi_inference),
        "GetModelMetadata": (get_model_metadata_pb2.GetModelMetadataRequest, operations.metadata),
    }
    management = {
        "GetModelStatus": (get_model_status_pb2.GetModelStatusRequest, operations.status),
        "HandleReloadConfigRequest": (model_management_pb2.ReloadConfigRequest, _reloading(reload)),
    }
    for service, methods in ((PREDICTION_SERVICE, prediction), (MODEL_SERVICE, management)):
        handlers = {api: calls.handler(api, *method) for api, method in methods.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    health_service.add_to(server)
    return server


class HealthService:
    """grpc.health.v1, answered in threads of its own; NOT_SERVING until every model has an available version."""

    def __init__(self) -> None:
        pool = futures.ThreadPoolExecutor(2, "health")
        self._servicer = health.HealthServicer(experimental_non_blocking=True, experimental_thread_pool=pool)
        self.set(is_serving=False)

    def add_to(self, server: grpc.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    def set(self, is_serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        for service in _HEALTH_SERVICES:
            self._servicer.set(service, status.SERVING if is_serving else status.NOT_SERVING)

    def end(self) -> None:
        """NOT_SERVING for good."""
        self._servicer.enter_graceful_shutdown()


def _reloading(reload: Reload) -> Callable[[Any, float | None], tuple[Any, None]]:
    def handle(request: model_management_pb2.ReloadConfigRequest, _: float | None) -> tuple[Any, None]:
        reload(request.config)
        return model_management_pb2.ReloadConfigResponse(), None

    return handle


class _Calls:
    """Turns an operation into a handler: its errors into gRPC's, its time into metrics, its bytes into a claim."""

    def __init__(
        self,
        operations: Operations,
        metrics: ServerMetrics,
        ending: threading.Event,
        in_flight: InFlight,
        max_concurrent: int,
        request_log: RequestLog,
    ):
        self._operations, self._metrics, self._ending, self._in_flight = operations, metrics, ending, in_flight
        self._request_log = request_log
        self._free = threading.BoundedSemaphore(max_concurrent)

    def handler(self, api: str, request_type: Any, operation: Callable[..., Any]) -> grpc.RpcMethodHandler:
        def handle(message: bytes, context: grpc.ServicerContext) -> Any:
            started, names = time.monotonic(), [""]
            status, version = grpc.StatusCode.INTERNAL, None
            try:
                response, version = self._answer(message, context, request_type, operation, names)
                status = grpc.StatusCode.OK
                return response
            except ServingError as error:
                status = error.code
                context.abort(error.code, error.message)
            except Exception as error:
                context.abort(status, f"{type(error).__name__}: {error}"[:MAX_MESSAGE])
            finally:
                took, model = time.monotonic() - started, self._operations.known(names[0])
                self._metrics.request(model, version, api, _ENTRYPOINT, status.name, took)

        return grpc.unary_unary_rpc_method_handler(handle, response_serializer=lambda one: one.SerializeToString())

    def _answer(
        self,
        message: bytes,
        context: grpc.ServicerContext,
        request_type: Any,
        operation: Callable[..., Any],
        names: list[str],
    ) -> tuple[Any, int | None]:
        """Puts the model's name into `names` as soon as it is known."""
        if self._ending.is_set():
            raise ServingError(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
        if not self._free.acquire(blocking=False):
            raise ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests in progress; try again later")
        try:
            with self._in_flight.claim() as claim:
                timeout = _timeout(context)
                claim.resize(len(message) * DECODED_FACTOR, timeout)
                request = request_type.FromString(message)
                names[0] = _model_name(request)
                response, version = operation(request, timeout)
                if self._request_log.sampled(names[0]):
                    self._request_log.write(names[0], request, response)
                return response, version
        finally:
            self._free.release()


def _timeout(context: grpc.ServicerContext) -> float | None:
    """Seconds that are left; without a deadline gRPC gives centuries, which no lock takes."""
    left = context.time_remaining()
    return left if left is not None and left < _LONGEST_SECONDS else None


def _model_name(request: Any) -> str:
    if hasattr(request, "tasks"):
        return request.tasks[0].model_spec.name if request.tasks else ""
    return request.model_spec.name if hasattr(request, "model_spec") else ""
