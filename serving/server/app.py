"""The server as a whole: starts both protocols, follows models.config, ends cleanly at SIGTERM.

A process of its own calls `common.runtime.tensorflow_core_only()` before it imports this.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.serving.server.api import grpc_service, operations
from hivemill.serving.server.api.errors import ServingError, code_of, invalid
from hivemill.serving.server.in_flight import InFlight
from hivemill.serving.server.loading import config_file
from hivemill.serving.server.loading.models import Models
from hivemill.serving.server.loading.servable import Servable
from hivemill.serving.server.metrics import ServerMetrics
from hivemill.serving.server.options import ServerOptions
from hivemill.serving.server.request_log import RequestLog
from hivemill.serving.tls import ServerTls

if TYPE_CHECKING:
    from hivemill.serving.server.http_server import HttpServer

Log = Callable[[str], None]
# gRPC's own stop cancels requests that it has taken and not handed on. So for a moment all that come are answered with
# UNAVAILABLE, after which clients go elsewhere.
_FAREWELL_SECONDS = 0.3
_CANCEL_SECONDS = 0.5  # in which gRPC cancels what the grace was too short for
_OPEN_FILES = 16_384
_LOADING_SECONDS = 600.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _to_standard_error(line: str) -> None:
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%H:%M:%S")
    print(f"{now} {line}", file=sys.stderr, flush=True)


class DevServer:
    """`start`, then `stop`. One process may have several, as tests do."""

    def __init__(self, options: ServerOptions, log: Log = _to_standard_error):
        """Reads the config. Raises ConfigError where it is absent or wrong."""
        self.options, self._log = options, log
        self.metrics = ServerMetrics()
        self.models = Models(self._load, log)
        self._text, wanted = _first_config(options.model_config)
        self._roots = config_file.roots_of(options.model_config, wanted.values())
        self.models.assign(wanted, labels_must_be_available=False)
        self._operations = operations.Operations(self.models, options.max_message_bytes)
        self._grpc: Any = None
        self._rest: HttpServer | None = None
        self._in_flight = InFlight(options.max_in_flight_bytes)
        self._health = grpc_service.HealthService()
        self._request_log = RequestLog(log)
        self._request_log.assign(wanted)
        self.port, self.rest_port = 0, 0
        self._wake, self._ending = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=self._follow_config, name="config", daemon=True),
            threading.Thread(target=self._follow_versions, name="versions", daemon=True),
        ]

    def start(self) -> None:
        """Listens, then loads; state LOADING is visible meanwhile. Raises InfrastructureError for a port in use."""
        options = self.options
        self._grpc = grpc_service.make_server(
            self._operations,
            self.metrics,
            self.reload,
            options,
            self._ending,
            self._in_flight,
            self._health,
            self._request_log,
        )
        if options.socket_path:
            _listen(self._grpc, f"unix:{options.socket_path}")
        if options.port is not None:
            self.port = _listen(self._grpc, f"{_bracketed(options.host)}:{options.port}", options.tls)
        if options.rest_port is not None:
            self._rest = self._rest_server()
            self.rest_port = self._rest.port
            self._rest.start()
        self._grpc.start()
        for thread in self._threads:
            thread.start()

    def wait_until_loaded(self, timeout: float) -> bool:
        """True when every model of the config has an available version."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            if all(self._is_available(name) for name in self.models.targets()):
                return True
            if self._ending.wait(0.02):
                return False
        return False

    def reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """HandleReloadConfigRequest: holds until models.config changes. Returns when new models are available."""
        if config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        wanted = config_file.targets(config)
        config_file.check_below(wanted.values(), self._roots)
        new = [name for name in wanted if not self._is_available(name)]
        self.models.assign(wanted, labels_must_be_available=True)
        self._request_log.assign(wanted)
        self._wake.set()
        if new:
            self.models.work()
            absent = [name for name in new if not self._is_available(name)]
            if absent:
                message = f"{len(absent)} model(s) did not become available: {{{', '.join(absent)}}}"
                raise ServingError(code_of(2), message)

    def log_request(self) -> None:
        """Logs a curl line for each model, once they are loaded."""
        from hivemill.serving.server.sample_request import curl_line

        options, tls = "", self.options.tls
        if tls is not None:
            options = "--cacert CA.pem " + ("--cert CLIENT.pem --key CLIENT.key " if tls.client_ca else "")
        url = f"{'https' if tls else 'http'}://{_bracketed(self.options.host)}:{self.rest_port}"
        if self.wait_until_loaded(_LOADING_SECONDS):
            for model in self._operations.models():
                with contextlib.suppress(ServingError):  # unloaded meanwhile
                    self._log(f"ask it: {curl_line(self._operations, model, url, options)}")

    def stop(self) -> bool:
        """Lets running requests finish, for `grace_seconds` in all; False where some did not."""
        until = time.monotonic() + self.options.grace_seconds

        def left() -> float:
            return max(0.0, until - time.monotonic())

        self._ending.set()
        self._health.end()
        self._wake.set()
        time.sleep(_FAREWELL_SECONDS)
        stopped = self._grpc.stop(left()) if self._grpc else None
        is_quiet = self._rest.stop(left()) if self._rest else True
        if stopped is not None:
            is_quiet = stopped.wait(left() + _CANCEL_SECONDS) and is_quiet
        for thread in self._threads:
            if thread.is_alive():
                thread.join(left())
        self._request_log.close()
        return self.models.close(left()) and is_quiet

    def _load(self, model: str, version: int, path: str) -> Servable:
        started = time.monotonic()
        options = self.options
        servable = Servable(
            path,
            options.max_batch_rows,
            options.batch_timeout_seconds,
            lambda _, rows: self.metrics.batch(model, version, rows),
        )
        try:
            operations.warm_up(model, version, servable, options.max_message_bytes)
        except Exception:
            servable.close()
            raise
        self.metrics.loaded(model, version, time.monotonic() - started)
        return servable

    def _follow_config(self) -> None:
        """An invalid config is logged once; the current versions keep serving."""
        failed = ""
        while not self._ending.wait(self.options.poll_seconds):
            try:
                text, wanted = config_file.read(self.options.model_config)
                if text == self._text:
                    continue
                self._text, failed = text, ""
                self._roots = config_file.roots_of(self.options.model_config, wanted.values())
                self.models.assign(wanted, labels_must_be_available=False)
                self._request_log.assign(wanted)
                self._wake.set()
            except (OSError, ServingError) as error:
                if str(error) != failed:
                    failed = str(error)
                    self._log(f"{self.options.model_config} is not used, the previous config stays in force: {error}")

    def _follow_versions(self) -> None:
        while not self._ending.is_set():
            self._wake.clear()
            try:
                self.models.work()
            except Exception as error:  # one bad folder must not end the thread that serves all others
                self._log(f"versions could not be brought up to date: {type(error).__name__}: {error}")
            self._health.set(is_serving=all(self._is_available(name) for name in self.models.targets()))
            self._wake.wait(self.options.poll_seconds)

    def _rest_server(self) -> HttpServer:
        """Imported only here: the serving check starts this server without REST."""
        from hivemill.serving.server.api.rest import RestAnswers
        from hivemill.serving.server.http_server import HttpServer

        options, answers = self.options, RestAnswers(self._operations, self.metrics, self._page, self._request_log)
        try:
            return HttpServer(answers, self._in_flight, options, options.rest_port or 0)
        except OSError as error:
            raise _not_free(f"{options.host}:{options.rest_port}") from error

    def _page(self) -> str:
        return self.metrics.page(self.models.states(), self.models.labels())

    def _is_available(self, name: str) -> bool:
        try:
            with self.models.lease(model_pb2.ModelSpec(name=name)):
                return True
        except ServingError:
            return False


def serve(options: ServerOptions, exit_with_parent: bool = False, log: Log = _to_standard_error) -> int:
    """Runs a server until SIGTERM or SIGINT; 0 where all requests could finish.

    With `exit_with_parent` it also ends when its standard input does: a parent that is killed takes it along.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of the loader that TensorFlow Serving has too
    _allow_open_files()
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    if exit_with_parent:
        threading.Thread(target=_wait_for_end_of_input, args=(ending,), daemon=True).start()
    server = DevServer(options, log)
    server.start()
    places = {"grpc": server.port, "rest": server.rest_port, "socket": options.socket_path}
    log(f"listening at {options.host}: {json.dumps({key: value for key, value in places.items() if value})}")
    asks_who_is_there = options.tls is not None and options.tls.client_ca is not None
    if options.host not in _LOOPBACK and options.port is not None and not asks_who_is_there:
        log("Warning: no authentication. Anyone who can reach this address can query and switch models")
    if server.rest_port:
        threading.Thread(target=server.log_request, daemon=True).start()
    ending.wait()
    log("stopping: running requests may finish")
    is_quiet = server.stop()
    log("stopped" if is_quiet else f"stopped with requests unfinished after {options.grace_seconds:.0f} s")
    return 0 if is_quiet else 1


def _allow_open_files() -> None:
    """As many as the system lets this process have: with the 1,024 of many shells, idle clients could use them up."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _wait_for_end_of_input(ending: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    ending.set()


def _first_config(path: Path) -> tuple[str, dict[str, config_file.ModelTarget]]:
    try:
        return config_file.read(path)
    except FileNotFoundError:
        hint = "It appears with the first pushed model (`hivemill run`), or name one with --model-config FILE."
        raise ConfigError(f"there is no {path}", hint=hint) from None
    except (OSError, ServingError) as error:
        raise ConfigError(
            f"{path}: {error}", hint="It must be a tensorflow.serving.ModelServerConfig as text."
        ) from error


def _listen(server: Any, address: str, tls: ServerTls | None = None) -> int:
    try:
        port = server.add_secure_port(address, tls.grpc_credentials()) if tls else server.add_insecure_port(address)
    except RuntimeError:
        port = 0
    if not port:
        raise _not_free(address)
    return port


def _not_free(address: str) -> InfrastructureError:
    return InfrastructureError(
        f"cannot listen at {address}",
        hint="Another process has it, or the address is not of this machine: --port, --host.",
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
