"""A client of TensorFlow Serving that keeps each user in one variant, for models that Hivemill exports.

    split = Split.at_percent(salt, 5)
    with PredictionClient("localhost:8500", "shop", split, timeout_seconds=0.1) as client:
        answer = client.predict([{"hour": 9, "item": "a", "tags": ["x", "y"]}], user=4711)
        answer.click_probabilities    # one for each row
        answer.exposures()            # one row of the exposure log for each row (docs/experiments.md)

A request goes to the label of the user's variant. Where canary fails in a way that stable may not, stable is asked
within the same deadline; the exposure still says canary, with the error. Loads no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.serving import protos, tls
from hivemill.serving.experiment.assignment import CANARY, STABLE, Split, UserId
from hivemill.serving.store.labels import read_state

SIGNATURE, EXAMPLES, PROBABILITY = "serving_default", "examples", "click_probability"
Value = str | bytes | int | float | bool | None | Sequence[str] | Sequence[bytes] | Sequence[int] | Sequence[float]
_DT_FLOAT, _DT_STRING = 1, 7  # tensorflow/core/framework/types.proto
_FALLBACK_CODES = (
    "ABORTED",
    "CANCELLED",
    "DATA_LOSS",
    "DEADLINE_EXCEEDED",
    "FAILED_PRECONDITION",
    "INTERNAL",
    "NOT_FOUND",
    "UNAVAILABLE",
    "UNKNOWN",
)
"""After these another version may do better. Not RESOURCE_EXHAUSTED: to ask once more makes an overload worse."""


class PredictionError(InfrastructureError):
    """No version answered. `code` is gRPC's name of the last failure, such as `DEADLINE_EXCEEDED`."""

    def __init__(self, message: str, *, code: str = "UNKNOWN", hint: str | None = None):
        super().__init__(message, hint=hint)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.message, self.code, self.hint)


def _rebuilt(message: str, code: str, hint: str | None) -> PredictionError:
    return PredictionError(message, code=code, hint=hint)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a request gave.

    Attributes:
        click_probabilities: float32 [rows].
        variant: the one that the user is assigned to, also where stable answered for it.
        propensity: the probability of that variant for this user.
        model_version: the version that answered.
        error: why canary did not answer, None where it did or was not asked.
        latency_seconds: of the whole call, a fallback included.
        request_time: UTC, when the call began.
    """

    click_probabilities: np.ndarray
    variant: str
    propensity: float
    model_version: int | None
    error: str | None
    latency_seconds: float
    request_time: datetime.datetime
    request_id: str
    user: UserId

    @property
    def fell_back(self) -> bool:
        return self.error is not None

    def exposures(self, shown: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """Rows of the exposure log for the requested rows, or those that were `shown`; `click` is to be filled in."""
        chosen = range(len(self.click_probabilities)) if shown is None else shown
        return [
            {
                "request_time": self.request_time,
                "user_id": None if self.user is None else str(self.user),
                "request_id": f"{self.request_id}/{row}",
                "model_version": self.model_version,
                "variant": self.variant,
                "propensity": self.propensity,
                "prediction": float(self.click_probabilities[row]),
                "latency_seconds": self.latency_seconds,
                "error": self.error,
                "click": None,
            }
            for row in chosen
        ]


class PredictionClient:
    """Asks one server, or one address behind which there are several. Safe to share between threads."""

    def __init__(
        self,
        address: str,
        model: str,
        split: Split | Callable[[], Split],
        *,
        timeout_seconds: float = 1.0,
        canary_share_of_timeout: float = 0.5,
        credentials: Any = None,
    ):
        """Connects at the first request.

        Args:
            address: `host:port` of the gRPC API.
            model: its name in models.config.
            split: who sees canary; a function is asked for each request, such as `split_of_store`.
            timeout_seconds: deadline of a call, fallback included.
            canary_share_of_timeout: how much of it canary may use up before stable is asked, 0 to 1.
            credentials: for TLS, `serving.tls.channel_credentials(ca_file)`; None is plain text.
        """
        import grpc

        _check_timeout(timeout_seconds)
        if not 0 < canary_share_of_timeout <= 1:
            raise ConfigError(
                f"canary_share_of_timeout must be above 0, at most 1; received {canary_share_of_timeout!r}"
            )
        self._model, self._split = model, split
        self._timeout_seconds, self._canary_share = timeout_seconds, canary_share_of_timeout
        self._channel = grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address)
        self._stub = protos.load("apis.prediction_service_pb2_grpc").PredictionServiceStub(self._channel)
        self._address = address

    def __enter__(self) -> PredictionClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def predict(
        self,
        rows: Sequence[Mapping[str, Value] | bytes],
        user: UserId = None,
        *,
        timeout_seconds: float | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """Click probabilities of `rows`: raw columns by name, or serialised tf.Examples.

        Raises ConfigError for values that no tf.Example holds, PredictionError where nobody answered in time.
        """
        timeout = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        _check_timeout(timeout)
        examples = [row if isinstance(row, bytes) else serialised_example(row) for row in rows]
        if not examples:
            raise ConfigError("a request needs at least one row")
        split = self._split() if callable(self._split) else self._split
        variant = split.variant(user)
        began, request_time = time.monotonic(), datetime.datetime.now(datetime.timezone.utc)
        probabilities, version, error = self._ask(variant, examples, began + timeout)
        return Answer(
            click_probabilities=probabilities,
            variant=variant,
            propensity=split.propensity(user),
            model_version=version,
            error=error,
            latency_seconds=time.monotonic() - began,
            request_time=request_time,
            request_id=request_id or uuid.uuid4().hex,
            user=user,
        )

    def _ask(self, variant: str, examples: list[bytes], until: float) -> tuple[np.ndarray, int | None, str | None]:
        """Probabilities, the version that answered, and why canary did not."""
        if variant != CANARY:
            return *self._call(variant, examples, until - time.monotonic()), None
        try:
            return *self._call(CANARY, examples, (until - time.monotonic()) * self._canary_share), None
        except PredictionError as error:
            left = until - time.monotonic()
            if left <= 0 or not _may_fall_back(error):
                raise
            return *self._call(STABLE, examples, left), f"{error.code}: {error.message}"[:500]

    def _call(self, label: str, examples: list[bytes], timeout_seconds: float) -> tuple[np.ndarray, int | None]:
        import grpc

        request = predict_request(self._model, label, examples)
        try:
            response = self._stub.Predict(request, timeout=timeout_seconds)
        except grpc.RpcError as error:
            code = error.code().name
            message = f"{self._address}: {label} of {self._model} gave no prediction: {code}: {error.details()}"
            raise PredictionError(message, code=code, hint=tls.hint_of(error.details() or "")) from error
        version = response.model_spec.version.value if response.model_spec.HasField("version") else None
        return _probabilities(response, len(examples), f"{self._address}: {label} of {self._model}"), version


def split_of_store(model_folder: Path | str, salt: str) -> Split:
    """The split of the running rollout as the model store says (`<store>/<model>/labels.json`); all stable without one.

    Reads one small file. Raises InfrastructureError where it is damaged.
    """
    try:
        rollout = read_state(Path(model_folder)).rollout or {}
    except OSError as error:
        raise InfrastructureError(f"{error.filename or model_folder}: cannot be read: {error.strerror}") from error
    return Split.at_percent(salt, rollout["percent"] if rollout.get("state") == "running" else 0)


def predict_request(model: str, label: str, examples: Sequence[bytes]) -> Any:
    """A tensorflow.serving.PredictRequest for serialised tf.Examples."""
    request = protos.load("apis.predict_pb2").PredictRequest()
    request.model_spec.name, request.model_spec.version_label = model, label
    request.model_spec.signature_name = SIGNATURE
    request.output_filter.append(PROBABILITY)
    tensor = request.inputs[EXAMPLES]
    tensor.dtype = _DT_STRING
    tensor.tensor_shape.dim.add(size=len(examples))
    tensor.string_val.extend(examples)
    return request


def serialised_example(row: Mapping[str, Value]) -> bytes:
    """A tf.Example: text and bytes, whole numbers (and booleans), floats, or lists of one kind.

    None is left out, and so is an empty list: it has no type, and one of the wrong type is refused by the server.
    """
    example = protos.load("apis.input_pb2").ExampleList().examples.add()
    for name, value in row.items():
        if value is None:
            continue
        values = list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value]
        values = [one.item() if isinstance(one, np.generic) else one for one in values]
        if not values:
            continue
        feature = example.features.feature[name]
        if all(isinstance(one, (str, bytes)) for one in values):
            feature.bytes_list.value.extend(one.encode() if isinstance(one, str) else one for one in values)
        elif all(isinstance(one, int) and -(2**63) <= one < 2**63 for one in values):
            feature.int64_list.value.extend(int(one) for one in values)
        elif all(isinstance(one, (int, float)) for one in values) and any(isinstance(one, float) for one in values):
            feature.float_list.value.extend(float(one) for one in values)
        else:
            raise ConfigError(
                f"column {name!r} must be text, bytes, whole numbers of 64 bits or floats; received {value!r:.100}"
            )
    return example.SerializeToString()


def _may_fall_back(error: PredictionError) -> bool:
    """A label that is gone is INVALID_ARGUMENT in TensorFlow Serving; any other of these is a fault of the request."""
    return error.code in _FALLBACK_CODES or (error.code == "INVALID_ARGUMENT" and "version label" in error.message)


def _probabilities(response: Any, rows: int, place: str) -> np.ndarray:
    if PROBABILITY not in response.outputs:
        raise PredictionError(f"{place}: the answer has no {PROBABILITY!r}", code="INTERNAL")
    tensor = response.outputs[PROBABILITY]
    if tensor.dtype != _DT_FLOAT:
        raise PredictionError(f"{place}: {PROBABILITY} is of type {tensor.dtype}, not float", code="INTERNAL")
    content = tensor.tensor_content
    values = np.frombuffer(content, "<f4") if content else np.asarray(tensor.float_val, np.float32)
    if len(values) == 1 and math.prod(one.size for one in tensor.tensor_shape.dim) == rows:
        values = np.repeat(values, rows)  # TensorFlow writes equal values once
    if len(values) != rows or not np.isfinite(values).all():
        raise PredictionError(f"{place}: {rows} rows asked for, {len(values)} answered or not finite", code="INTERNAL")
    return values


def _check_timeout(seconds: float) -> None:
    if not isinstance(seconds, (int, float)) or not (math.isfinite(seconds) and seconds > 0):
        raise ConfigError(f"a timeout must be a number of seconds above 0; received {seconds!r}")
