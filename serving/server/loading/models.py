"""Which versions are loaded: they follow a config, are loaded before others are unloaded, and are leased to requests.

A version goes START -> LOADING -> AVAILABLE -> UNLOADING -> END, TensorFlow Serving's states; one that cannot be loaded
goes from LOADING to END with an error. A request holds a lease on the version that it was given, so a version is closed
only when its last request is done, and a label moves between two requests, never within one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from hivemill.serving.server.api.errors import ServingError, failed_precondition, invalid, not_found
from hivemill.serving.server.loading.config_file import ModelTarget
from hivemill.serving.server.loading.servable import Servable

_STATE = get_model_status_pb2.ModelVersionStatus
RETRY_SECONDS = 30.0  # a version that could not be loaded is tried again so often
MAX_ENDED = 50  # versions of a model that are remembered after their end

Load = Callable[[str, int, str], Servable]


@dataclasses.dataclass
class _Version:
    number: int
    state: int = _STATE.START
    error: ServingError | None = None
    servable: Servable | None = None
    leases: int = 0
    ended: float = 0.0
    retry_at: float = 0.0


@dataclasses.dataclass
class _Model:
    versions: dict[int, _Version] = dataclasses.field(default_factory=dict)
    labels: dict[str, int] = dataclasses.field(default_factory=dict)
    configured_labels: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Lease:
    """A version that a request may use until it gives the lease back."""

    model: str
    version: int
    servable: Servable


class Models:
    """All models of a server. `assign` takes a new config, `work` brings the loaded versions in line with it."""

    def __init__(self, load: Load, log: Callable[[str], None] = lambda _: None):
        """`load(model, version, path)` gives the servable, warmed up, or raises ServingError."""
        self._load, self._log = load, log
        self._models: dict[str, _Model] = {}
        self._targets: dict[str, ModelTarget] = {}
        self._lock = threading.Condition()
        self._working = threading.Lock()
        self._closed = False
        self._empty: set[str] = set()  # models that were logged as having no versions

    def assign(self, targets: Mapping[str, ModelTarget], labels_must_be_available: bool) -> None:
        """A new config. Labels of available versions hold at once; the others as soon as their version is available.

        With `labels_must_be_available` one that is not is an error, as for TensorFlow Serving's
        HandleReloadConfigRequest, and nothing changes.
        """
        with self._lock:
            if labels_must_be_available:
                self._check_labels(targets)
            self._targets = dict(targets)
            for name, target in targets.items():
                model = self._models.setdefault(name, _Model())
                model.configured_labels = dict(target.labels)
                for version in model.versions.values():
                    version.retry_at = 0.0  # whoever changes the config may have mended what failed
            self._move_labels()

    def work(self) -> None:
        """Loads what is wanted and not there, moves labels, then unloads what is no longer wanted."""
        with self._working:
            with self._lock:
                targets = dict(self._targets)
            wanted = {name: target.wanted() for name, target in targets.items()}
            self._log_empty(targets, wanted)
            for name, versions in wanted.items():
                for version in versions:
                    self._load_version(targets[name], version)
            with self._lock:
                if self._closed or targets != self._targets:
                    return  # a newer config came meanwhile; its own call of `work` decides what is unloaded
                self._move_labels()
                doomed = self._unwanted(wanted)
                for one in doomed:
                    one.state = _STATE.UNLOADING
                idle = [one for one in doomed if not one.leases]
            for one in idle:
                self._close(one)

    @contextlib.contextmanager
    def lease(self, spec: model_pb2.ModelSpec) -> Iterator[Lease]:
        """The version that a request asks for: by number, by label, or the newest. Raises ServingError."""
        with self._lock:
            version = self._resolve(spec)
            version.leases += 1
        try:
            assert version.servable is not None  # a version that a request may have is loaded
            yield Lease(spec.name, version.number, version.servable)
        finally:
            with self._lock:
                version.leases -= 1
                is_last = version.leases == 0 and version.state == _STATE.UNLOADING
                self._lock.notify_all()
            if is_last:
                self._close(version)

    def statuses(self, spec: model_pb2.ModelSpec) -> list[get_model_status_pb2.ModelVersionStatus]:
        """TensorFlow Serving's ModelVersionStatus, newest version first. Raises ServingError (NOT_FOUND)."""
        _check_name(spec)
        with self._lock:
            model = self._models.get(spec.name)
            if not spec.HasField("version"):  # a label is not looked at, as there
                if model is None or not model.versions:
                    raise not_found(f"Could not find any versions of model {spec.name}")
                numbers = sorted(model.versions, reverse=True)
            else:
                number = spec.version.value
                if model is None or number not in model.versions:
                    raise not_found(f"Could not find version {number} of model {spec.name}")
                numbers = [number]
            return [_status(model.versions[number]) for number in numbers]

    def targets(self) -> list[str]:
        """The names of the models that the config asks for."""
        with self._lock:
            return list(self._targets)

    def states(self) -> list[tuple[str, int, str]]:
        """(model, version, name of its state) of all, for metrics."""
        with self._lock:
            return [
                (name, version.number, _STATE.State.Name(version.state))
                for name, model in self._models.items()
                for version in model.versions.values()
            ]

    def labels(self) -> list[tuple[str, str, int]]:
        """(model, label, version) of the labels that hold."""
        with self._lock:
            return [(name, *item) for name, model in self._models.items() for item in sorted(model.labels.items())]

    def close(self, grace_seconds: float) -> bool:
        """Ends all versions when their requests are done; False where some were not within the time.

        A load that goes on is not waited for: its version is closed as soon as it is there.
        """
        until = time.monotonic() + grace_seconds
        with self._lock:
            self._closed, self._targets = True, {}
            versions = [v for model in self._models.values() for v in model.versions.values()]
            is_quiet = self._lock.wait_for(
                lambda: not any(version.leases for version in versions), max(0.0, until - time.monotonic())
            )
            idle = [v for v in versions if v.state in (_STATE.AVAILABLE, _STATE.UNLOADING) and not v.leases]
            for version in idle:
                version.state = _STATE.UNLOADING
        for version in idle:
            self._close(version)
        return is_quiet

    def _log_empty(self, targets: Mapping[str, ModelTarget], wanted: Mapping[str, list[int]]) -> None:
        """A base path without versions, once; it is no error, since the first version may still come."""
        for name, versions in wanted.items():
            if not versions and name not in self._empty:
                self._log(f"No versions of servable {name} found under base path {targets[name].base_path}")
        self._empty = {name for name, versions in wanted.items() if not versions}

    def _check_labels(self, targets: Mapping[str, ModelTarget]) -> None:
        for name, target in targets.items():
            model = self._models.get(name, _Model())
            for label, number in target.labels.items():
                if not _is_available(model, number):
                    raise failed_precondition(
                        f"Request to assign label {label} to version {number} of model {name}, which is not currently "
                        "available for inference"
                    )

    def _move_labels(self) -> None:
        """A label stays where it is until its new version is available."""
        for model in self._models.values():
            kept = {label: number for label, number in model.labels.items() if label in model.configured_labels}
            moved = {label: n for label, n in model.configured_labels.items() if _is_available(model, n)}
            model.labels = kept | moved

    def _load_version(self, target: ModelTarget, number: int) -> None:
        with self._lock:
            model = self._models.setdefault(target.name, _Model())
            known = model.versions.get(number)
            if self._closed or (known and known.state != _STATE.END):
                return
            if known and time.monotonic() < known.retry_at:
                return
            version = model.versions[number] = _Version(number, _STATE.LOADING)
        started = time.monotonic()
        try:
            servable = self._load(target.name, number, target.path_of(number))
        except Exception as caught:
            error = caught if isinstance(caught, ServingError) else _unforeseen(caught)
            self._log(f"version {number} of {target.name} cannot be loaded: {error.message}")
            with self._lock:
                version.state, version.error, version.ended = _STATE.END, error, time.monotonic()
                version.retry_at = version.ended + RETRY_SECONDS
            return
        with self._lock:
            version.servable, version.state = servable, _STATE.UNLOADING if self._closed else _STATE.AVAILABLE
            self._move_labels()
        if version.state == _STATE.UNLOADING:
            self._close(version)
            return
        self._log(f"version {number} of {target.name} is available after {time.monotonic() - started:.1f} s")

    def _unwanted(self, wanted: Mapping[str, list[int]]) -> list[_Version]:
        """Available versions that nobody wants any more; a model keeps its last one while those wanted fail to load."""
        doomed = []
        for name, model in self._models.items():
            is_safe = name not in wanted or any(_is_available(model, number) for number in wanted[name])
            keep = {*wanted.get(name, ()), *(model.labels.values() if name in wanted else ())}
            for version in model.versions.values():
                if version.state == _STATE.AVAILABLE and is_safe and version.number not in keep:
                    doomed.append(version)
            _forget_oldest(model)
        return doomed

    def _close(self, version: _Version) -> None:
        with self._lock:
            servable, version.servable = version.servable, None
        if servable is None:
            return
        servable.close()
        with self._lock:
            version.state, version.ended = _STATE.END, time.monotonic()
        self._log(f"version {version.number} is unloaded")

    def _resolve(self, spec: model_pb2.ModelSpec) -> _Version:
        _check_name(spec)
        model = self._models.get(spec.name, _Model())
        choice = spec.WhichOneof("version_choice")
        if choice is None:
            number = max((n for n in model.versions if _is_available(model, n)), default=None)
            wanted = f"Latest({spec.name})"
        else:
            number = spec.version.value if choice == "version" else self._labelled(spec)
            wanted = f"Specific({spec.name}, {number})"
        if number is None or not _is_available(model, number):
            raise not_found(f"Servable not found for request: {wanted}")
        return model.versions[number]

    def _labelled(self, spec: model_pb2.ModelSpec) -> int:
        model = self._models.get(spec.name, _Model())
        label = spec.version_label
        if label in model.labels:
            return model.labels[label]
        if label in model.configured_labels:
            raise failed_precondition(
                f"label {label} is for version {model.configured_labels[label]} of model {spec.name}, which is not "
                "currently available for inference"
            )
        raise invalid(f"Unrecognized servable version label: {label}")


def _unforeseen(error: Exception) -> ServingError:
    return ServingError(grpc.StatusCode.UNKNOWN, f"{type(error).__name__}: {error}")


def _check_name(spec: model_pb2.ModelSpec) -> None:
    if not spec.name:
        raise invalid("ModelSpec has no name specified.")


def _is_available(model: _Model, number: int) -> bool:
    return number in model.versions and model.versions[number].state == _STATE.AVAILABLE


def _status(version: _Version) -> get_model_status_pb2.ModelVersionStatus:
    status = _STATE(version=version.number, state=version.state)
    status.status.error_code = version.error.code.value[0] if version.error else grpc.StatusCode.OK.value[0]
    status.status.error_message = version.error.message if version.error else ""
    return status


def _forget_oldest(model: _Model) -> None:
    ended = sorted((v for v in model.versions.values() if v.state == _STATE.END), key=lambda v: v.ended)
    for version in ended[: max(0, len(ended) - MAX_ENDED)]:
        del model.versions[version.number]
