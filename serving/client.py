"""A client of TensorFlow Serving that keeps each user in one variant, for models that Hivemill exports.

    split = Split.at_percent(salt, 5)
    with PredictionClient("localhost:8500", "shop", split, timeout_seconds=0.1) as client:
        answer = client.predict([{"hour": 9, "item": "a", "tags": ["x", "y"]}], user=4711)
        answer.click_probabilities    # one for each row
        answer.exposures()            # one row of the exposure log for each row (docs/experiments.md)

A request goes to the label of the user's variant. Where canary fails in a way that stable may not, stable is asked
within the same deadline; the exposure still says canary, with the error. Loads no TensorFlow.
`AsyncPredictionClient` is the same for asyncio. Both keep one connection; make one client for a process.
"""

from __future__ import annotations

import abc
import contextlib
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
from hivemill.serving.examples import ColumnTypes, Value, serialised_example
from hivemill.serving.experiment.assignment import CANARY, STABLE, Split, UserId
from hivemill.serving.store.labels import read_state

SIGNATURE, EXAMPLES, PROBABILITY = "serving_default", "examples", "click_probability"
_DT_FLOAT, _DT_STRING = 1, 7  # tensorflow/core/framework/types.proto
COLUMNS_SIGNATURE = "predict"
_TYPES_RETRY_SECONDS = 30.0
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


class _Client(abc.ABC):
    """What both clients have in common: everything but the calls."""

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
        _check_timeout(timeout_seconds)
        if not 0 < canary_share_of_timeout <= 1:
            raise ConfigError(
                f"canary_share_of_timeout must be above 0, at most 1; received {canary_share_of_timeout!r}"
            )
        self._model, self._split = model, split
        self._timeout_seconds, self._canary_share = timeout_seconds, canary_share_of_timeout
        self._address = address
        self._channel = self._connect(address, credentials)
        self._stub = protos.load("apis.prediction_service_pb2_grpc").PredictionServiceStub(self._channel)
        self._types: dict[str, ColumnTypes] = {}
        self._ask_types_at = 0.0

    @abc.abstractmethod
    def _connect(self, address: str, credentials: Any) -> Any:
        """The channel: a blocking one, or one of asyncio."""

    def _begin(self, rows: Sequence[Any], user: UserId, timeout_seconds: float | None, request_id: str | None) -> _Call:
        timeout = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        _check_timeout(timeout)
        if not len(rows):
            raise ConfigError("a request needs at least one row")
        split = self._split() if callable(self._split) else self._split
        return _Call(rows, user, split, timeout, request_id or uuid.uuid4().hex)

    def _request(self, label: str, rows: Sequence[Mapping[str, Value] | bytes]) -> Any:
        types = self._types.get(label)
        examples = [row if isinstance(row, bytes) else serialised_example(row, types) for row in rows]
        return predict_request(self._model, label, examples)

    def _needs_types(self, label: str, rows: Sequence[Any]) -> bool:
        is_due = label not in self._types and time.monotonic() >= self._ask_types_at
        return is_due and any(not isinstance(row, bytes) for row in rows)

    def _metadata_request(self, label: str) -> Any:
        """Not asked again for a while, whatever comes of it."""
        self._ask_types_at = time.monotonic() + _TYPES_RETRY_SECONDS
        request = protos.load("apis.get_model_metadata_pb2").GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name, request.model_spec.version_label = self._model, label
        return request

    def _keep_types(self, label: str, response: Any) -> None:
        signatures = protos.load("apis.get_model_metadata_pb2").SignatureDefMap()
        is_there = "signature_def" in response.metadata and response.metadata["signature_def"].Unpack(signatures)
        if is_there and COLUMNS_SIGNATURE in signatures.signature_def:
            inputs = signatures.signature_def[COLUMNS_SIGNATURE].inputs
            types = {name: info.dtype for name, info in inputs.items()}
            self._types[label] = ColumnTypes(response.model_spec.version.value, types)
            self._ask_types_at = 0.0

    def _read(self, label: str, response: Any, rows: int) -> tuple[np.ndarray, int | None]:
        """Probabilities and the version that answered. Types of another version are forgotten."""
        version = response.model_spec.version.value if response.model_spec.HasField("version") else None
        known = self._types.get(label)
        if known is not None and version is not None and known.version != version:
            del self._types[label]
        return _probabilities(response, rows, f"{self._address}: {label} of {self._model}"), version

    def _failed(self, label: str, error: Any) -> PredictionError:
        code = error.code().name
        message = f"{self._address}: {label} of {self._model} gave no prediction: {code}: {error.details()}"
        return PredictionError(message, code=code, hint=tls.hint_of(error.details() or ""))


@dataclasses.dataclass
class _Call:
    """One call of `predict` under way."""

    rows: Sequence[Mapping[str, Value] | bytes]
    user: UserId
    split: Split
    timeout: float
    request_id: str

    def __post_init__(self) -> None:
        self.variant = self.split.variant(self.user)
        self.began, self.request_time = time.monotonic(), datetime.datetime.now(datetime.timezone.utc)

    def left(self) -> float:
        return self.began + self.timeout - time.monotonic()

    def may_ask_stable(self, error: PredictionError) -> bool:
        return self.variant == CANARY and self.left() > 0 and _may_fall_back(error)

    def answer(self, probabilities: np.ndarray, version: int | None, error: PredictionError | None = None) -> Answer:
        return Answer(
            click_probabilities=probabilities,
            variant=self.variant,
            propensity=self.split.propensity(self.user),
            model_version=version,
            error=None if error is None else f"{error.code}: {error.message}"[:500],
            latency_seconds=time.monotonic() - self.began,
            request_time=self.request_time,
            request_id=self.request_id,
            user=self.user,
        )


class PredictionClient(_Client):
    """Asks one server, or one address behind which there are several. Safe to share between threads."""

    def __enter__(self) -> PredictionClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def _connect(self, address: str, credentials: Any) -> Any:
        import grpc

        return grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address)

    def predict(
        self,
        rows: Sequence[Mapping[str, Value] | bytes],
        user: UserId = None,
        *,
        timeout_seconds: float | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """Click probabilities of `rows`: raw columns by name (`serving.examples`), or serialised tf.Examples.

        Raises ConfigError for values that no tf.Example holds, PredictionError where nobody answered in time.
        """
        call = self._begin(rows, user, timeout_seconds, request_id)
        share = self._canary_share if call.variant == CANARY else 1.0
        try:
            return call.answer(*self._call(call.variant, rows, call.left() * share))
        except PredictionError as error:
            if not call.may_ask_stable(error):
                raise
            return call.answer(*self._call(STABLE, rows, call.left()), error)

    def _call(self, label: str, rows: Sequence[Any], timeout_seconds: float) -> tuple[np.ndarray, int | None]:
        import grpc

        until = time.monotonic() + timeout_seconds
        if self._needs_types(label, rows):
            with contextlib.suppress(grpc.RpcError):  # without types, values say what they are
                metadata = self._metadata_request(label)
                self._keep_types(label, self._stub.GetModelMetadata(metadata, timeout=timeout_seconds / 2))
        try:
            response = self._stub.Predict(self._request(label, rows), timeout=until - time.monotonic())
        except grpc.RpcError as error:
            raise self._failed(label, error) from error
        return self._read(label, response, len(rows))


class AsyncPredictionClient(_Client):
    """`PredictionClient` for asyncio, made and used in one event loop: `await client.predict(…)`."""

    async def __aenter__(self) -> AsyncPredictionClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._channel.close()

    def _connect(self, address: str, credentials: Any) -> Any:
        from grpc import aio

        return aio.secure_channel(address, credentials) if credentials else aio.insecure_channel(address)

    async def predict(
        self,
        rows: Sequence[Mapping[str, Value] | bytes],
        user: UserId = None,
        *,
        timeout_seconds: float | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """As `PredictionClient.predict`."""
        call = self._begin(rows, user, timeout_seconds, request_id)
        share = self._canary_share if call.variant == CANARY else 1.0
        try:
            return call.answer(*await self._call(call.variant, rows, call.left() * share))
        except PredictionError as error:
            if not call.may_ask_stable(error):
                raise
            return call.answer(*await self._call(STABLE, rows, call.left()), error)

    async def _call(self, label: str, rows: Sequence[Any], timeout_seconds: float) -> tuple[np.ndarray, int | None]:
        import grpc

        until = time.monotonic() + timeout_seconds
        if self._needs_types(label, rows):
            with contextlib.suppress(grpc.RpcError):
                metadata = self._metadata_request(label)
                self._keep_types(label, await self._stub.GetModelMetadata(metadata, timeout=timeout_seconds / 2))
        try:
            response = await self._stub.Predict(self._request(label, rows), timeout=until - time.monotonic())
        except grpc.RpcError as error:
            raise self._failed(label, error) from error
        return self._read(label, response, len(rows))


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
