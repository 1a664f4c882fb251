"""What a rollout asks of the servers, over TensorFlow Serving's ModelService (gRPC): take this config, what is loaded.

Works with tensorflow_model_server and with `hivemill serve`. There may be several servers (replicas); all of them must
agree before a label moves.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from hivemill.common.errors import InfrastructureError
from hivemill.serving import protos, tls
from hivemill.serving.store import server_config

AVAILABLE = "AVAILABLE"
_FAILED = "END"
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.02, 1.0
_NOT_FOUND = "NOT_FOUND"
_FAILURE_STANDS_SECONDS = 2.0  # a failure of an earlier attempt is shown until the server begins the new one


@dataclasses.dataclass(frozen=True)
class VersionState:
    """`state` as TensorFlow Serving names it (START LOADING AVAILABLE UNLOADING END); `error` is empty when well."""

    state: str
    error: str = ""


class LabelledServer(Protocol):
    """One server or several that act as one. Both raise InfrastructureError where one is not reached or refuses."""

    def reload(self, config_text: str) -> None:
        """Hands over a whole models.config."""

    def states(self, model: str) -> dict[int, VersionState]:
        """Of all versions that the servers know, the state that is furthest from AVAILABLE."""


class ModelServers:
    """The servers at `addresses` ("host:port" each). Use as a context; the connections close with it."""

    def __init__(self, addresses: Sequence[str], timeout_seconds: float = 10.0, credentials: Any = None):
        """`timeout_seconds` is for one call, in which a server does not wait for a model to load. `credentials` are
        grpc.ChannelCredentials (serving.tls); None is plain text."""
        import grpc

        self._timeout_seconds, self._rpc_error = timeout_seconds, grpc.RpcError
        self._channels = {
            address: grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address)
            for address in addresses
        }
        stub = protos.load("apis.model_service_pb2_grpc").ModelServiceStub
        self._stubs = {address: stub(channel) for address, channel in self._channels.items()}

    def __enter__(self) -> ModelServers:
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self._channels.values():
            channel.close()

    def reload(self, config_text: str) -> None:
        """All servers are told at once, whatever becomes of one; InfrastructureError tells of those that failed."""
        request = protos.load("apis.model_management_pb2").ReloadConfigRequest()
        request.config.CopyFrom(server_config.parse_models_config(config_text))
        failures = []
        for address, answer in self._answers("HandleReloadConfigRequest", request).items():
            try:
                status = answer.result().status
                if status.error_code:
                    failures.append(_refused(address, "took no new config", status.error_message))
            except self._rpc_error as error:
                failures.append(_failed(address, "took no new config", error))
        _raise_together(failures)

    def states(self, model: str) -> dict[int, VersionState]:
        messages = protos.load("apis.get_model_status_pb2")
        request = messages.GetModelStatusRequest()
        request.model_spec.name = model
        state_name = messages.ModelVersionStatus.State.Name
        per_server = [
            {one.version: VersionState(state_name(one.state), _error(one)) for one in versions}
            for versions in self._version_states(request)
        ]
        versions = {version for states in per_server for version in states}
        return {version: _worst([states.get(version) for states in per_server]) for version in versions}

    def _version_states(self, request: Any) -> Iterator[Sequence[Any]]:
        """Per server; none of a server that does not know the model yet."""
        for address, answer in self._answers("GetModelStatus", request).items():
            try:
                yield answer.result().model_version_status
            except self._rpc_error as error:
                if error.code().name != _NOT_FOUND:
                    raise _failed(address, "tells no state", error) from error
                yield ()

    def _answers(self, method: str, request: Any) -> dict[str, Any]:
        """A future of each server's answer; all are asked at the same time."""
        return {
            address: getattr(stub, method).future(request, timeout=self._timeout_seconds)
            for address, stub in self._stubs.items()
        }


def wait_until_available(server: LabelledServer, model: str, versions: Sequence[int], timeout_seconds: float) -> None:
    """Returns once all `versions` are AVAILABLE on all servers.

    Raises InfrastructureError where a version cannot be loaded, as soon as that is known, or is not there in time.
    """
    started = time.monotonic()
    wait = _FIRST_WAIT_SECONDS
    while True:
        states = server.states(model)
        missing = {v: states.get(v) for v in versions if states.get(v) != VersionState(AVAILABLE)}
        if not missing:
            return
        waited = time.monotonic() - started
        failed = {v: state for v, state in missing.items() if state and state.state == _FAILED and state.error}
        if failed and waited > _FAILURE_STANDS_SECONDS:
            told = "; ".join(f"{version}: {state.error}" for version, state in failed.items())
            raise InfrastructureError(f"the server cannot load {model} {told}", hint="Its log says more.")
        if waited > timeout_seconds:
            told = ", ".join(f"{v} is {state.state if state else 'unknown'}" for v, state in missing.items())
            raise InfrastructureError(
                f"the server must report AVAILABLE within {timeout_seconds:g} s; version {told}",
                hint="See the server's log: does it read this store, has it memory? rollout.load_timeout_seconds.",
            )
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT_SECONDS)


def _worst(states: Sequence[VersionState | None]) -> VersionState:
    """What must not be hidden by the other servers: a failure, else whatever is not AVAILABLE."""
    known = [state or VersionState("UNKNOWN") for state in states]
    return min(known, key=lambda state: (not state.error, state.state == AVAILABLE))


def _error(one: Any) -> str:
    return one.status.error_message or f"error {one.status.error_code}" if one.status.error_code else ""


def _failed(address: str, what: str, error: Any) -> InfrastructureError:
    if error.code().name not in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
        return _refused(address, what, error.details())
    return InfrastructureError(
        f"the model server {address} {what}: {error.code().name}: {error.details()}",
        hint=tls.hint_of(error.details() or "")
        or "Is it running, is rollout.server its gRPC address, does it ask for TLS (rollout.tls_ca_file) or for a "
        "client's certificate (tls_cert_file)? `--without-server` moves labels without asking it.",
    )


def _raise_together(failures: Sequence[InfrastructureError]) -> None:
    if failures:
        raise InfrastructureError("; ".join(failure.message for failure in failures), hint=failures[0].hint)


def _refused(address: str, what: str, why: str | None) -> InfrastructureError:
    return InfrastructureError(
        f"the model server {address} {what}: {why}", hint="Does it read this store, at the same path as here?"
    )
