"""What a rollout asks of the servers, over TensorFlow Serving's ModelService (gRPC): take this config, what is loaded.

Works with tensorflow_model_server and with `hivemill serve`. There may be several servers (replicas); all of them must
agree before a label moves.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from common.errors import InfrastructureError
from serving import protos, server_config

AVAILABLE = "AVAILABLE"
_FAILED = "END"
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.02, 1.0
_FAILURE_STANDS_SECONDS = 2.0  # a failure of an earlier attempt is shown until the server begins the new one


@dataclasses.dataclass(frozen=True)
class VersionState:
    """`state` as TensorFlow Serving names it (START LOADING AVAILABLE UNLOADING END); `error` is empty when well."""

    state: str
    error: str = ""


class Server(Protocol):
    """One server or several that act as one. Both raise InfrastructureError where one is not reached or refuses."""

    def reload(self, config_text: str) -> None:
        """Hands over a whole models.config."""

    def states(self, model: str) -> dict[int, VersionState]:
        """Of all versions that the servers know, the state that is furthest from AVAILABLE."""


class ModelServers:
    """The servers at `addresses` ("host:port" each). Use as a context; the connections close with it."""

    def __init__(self, addresses: Sequence[str], timeout_seconds: float = 10.0):
        """`timeout_seconds` is for one call, in which a server does not wait for a model to load."""
        import grpc

        self._timeout_seconds = timeout_seconds
        self._channels = {address: grpc.insecure_channel(address) for address in addresses}
        stub = protos.load("apis.model_service_pb2_grpc").ModelServiceStub
        self._stubs = {address: stub(channel) for address, channel in self._channels.items()}

    def __enter__(self) -> ModelServers:
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self._channels.values():
            channel.close()

    def reload(self, config_text: str) -> None:
        request = protos.load("apis.model_management_pb2").ReloadConfigRequest()
        request.config.CopyFrom(server_config.parse_models_config(config_text))
        for address, stub in self._stubs.items():
            with _translated(address, "took no new config"):
                status = stub.HandleReloadConfigRequest(request, timeout=self._timeout_seconds).status
            if status.error_code:
                raise _refused(address, "took no new config", status.error_message)

    def states(self, model: str) -> dict[int, VersionState]:
        per_server = [self._states_of(address, model) for address in self._stubs]
        versions = {version for states in per_server for version in states}
        return {version: _worst([states.get(version) for states in per_server]) for version in versions}

    def _states_of(self, address: str, model: str) -> dict[int, VersionState]:
        import grpc

        messages = protos.load("apis.get_model_status_pb2")
        request = messages.GetModelStatusRequest()
        request.model_spec.name = model
        try:
            response = self._stubs[address].GetModelStatus(request, timeout=self._timeout_seconds)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return {}
            raise _unreachable(address, "tells no state", error) from error
        state_name = messages.ModelVersionStatus.State.Name
        return {one.version: VersionState(state_name(one.state), _error(one)) for one in response.model_version_status}


def wait_until_available(server: Server, model: str, versions: Sequence[int], timeout_seconds: float) -> None:
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


@contextlib.contextmanager
def _translated(address: str, what: str) -> Iterator[None]:
    import grpc

    try:
        yield
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise _unreachable(address, what, error) from error
        raise _refused(address, what, error.details()) from error


def _unreachable(address: str, what: str, error: Any) -> InfrastructureError:
    return InfrastructureError(
        f"the model server {address} {what}: {error.code().name}: {error.details()}",
        hint="Is it running, is rollout.server its gRPC address? `--without-server` moves labels without asking it.",
    )


def _refused(address: str, what: str, why: str | None) -> InfrastructureError:
    return InfrastructureError(
        f"the model server {address} {what}: {why}", hint="Does it read this store, at the same path as here?"
    )
