"""The gRPC side: TensorFlow Serving's PredictionService and ModelService."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from hivemill.serving.server.api.errors import MAX_MESSAGE, ServingError
from hivemill.serving.server.api.operations import Operations
from hivemill.serving.server.metrics import Metrics
from hivemill.serving.server.options import ServerOptions

Reload = Callable[[Any], None]
_ENTRYPOINT = "gRPC"
_LONGEST_SECONDS = 86_400.0


def make_server(
    operations: Operations, metrics: Metrics, reload: Reload, options: ServerOptions, ending: threading.Event
) -> grpc.Server:
    """Not started, without ports. `reload(ModelServerConfig)` applies a config or raises ServingError. Once `ending`
    is set, new requests are answered with UNAVAILABLE."""
    server = grpc.server(
        futures.ThreadPoolExecutor(options.threads, "grpc"),
        options=[
            ("grpc.max_receive_message_length", options.max_message_bytes),
            ("grpc.max_send_message_length", options.max_message_bytes),
            ("grpc.so_reuseport", 0),  # a second server at the same port is a mistake, not a partner
        ],
        maximum_concurrent_rpcs=options.max_concurrent,
    )
    calls = _Calls(metrics, ending)
    prediction = prediction_service_pb2_grpc.PredictionServiceServicer()
    prediction.Predict = calls.of("Predict", operations.predict)
    prediction.Classify = calls.of("Classify", operations.classify)
    prediction.Regress = calls.of("Regress", operations.regress)
    prediction.MultiInference = calls.of("MultiInference", operations.multi_inference)
    prediction.GetModelMetadata = calls.of("GetModelMetadata", operations.metadata)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, server)
    management = model_service_pb2_grpc.ModelServiceServicer()
    management.GetModelStatus = calls.of("GetModelStatus", operations.status)
    management.HandleReloadConfigRequest = calls.of("HandleReloadConfigRequest", _reloading(reload))
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(management, server)
    return server


def _reloading(reload: Reload) -> Callable[[Any, float | None], tuple[Any, None]]:
    def handle(request: model_management_pb2.ReloadConfigRequest, _: float | None) -> tuple[Any, None]:
        reload(request.config)
        return model_management_pb2.ReloadConfigResponse(), None

    return handle


class _Calls:
    """Turns an operation into a handler: its errors into gRPC's, its time into metrics."""

    def __init__(self, metrics: Metrics, ending: threading.Event):
        self._metrics = metrics
        self._ending = ending

    def of(self, api: str, operation: Callable[[Any, float | None], tuple[Any, int | None]]) -> Callable[..., Any]:
        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            started = time.monotonic()
            try:
                if self._ending.is_set():
                    raise ServingError(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
                response, version = operation(request, _timeout(context))
            except ServingError as error:
                self._metrics.request("", "", api, _ENTRYPOINT, error.code.name, time.monotonic() - started)
                context.abort(error.code, error.message)
            except Exception as error:
                self._metrics.request("", "", api, _ENTRYPOINT, "INTERNAL", time.monotonic() - started)
                context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"[:MAX_MESSAGE])
            name = _model_name(request)
            self._metrics.request(name, str(version or ""), api, _ENTRYPOINT, "OK", time.monotonic() - started)
            return response

        return handle


def _timeout(context: grpc.ServicerContext) -> float | None:
    """Seconds that are left; without a deadline gRPC gives centuries, which no lock takes."""
    left = context.time_remaining()
    return left if left is not None and left < _LONGEST_SECONDS else None


def _model_name(request: Any) -> str:
    """Of a request that was answered, so it names a model that is there."""
    if hasattr(request, "tasks"):
        return request.tasks[0].model_spec.name
    return request.model_spec.name if hasattr(request, "model_spec") else ""
