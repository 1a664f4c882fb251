"""The way to ML Metadata: which server or file, and patience with a server that goes away.

A compiled pipeline carries the connection without the password, so it can be kept and shown; whoever opens the store
takes the password from the environment.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hivemill.common import runtime

runtime.prepare_tensorflow()

from absl import logging  # noqa: E402
from ml_metadata import MetadataStore, errors  # noqa: E402
from ml_metadata.proto import metadata_store_pb2 as mlmd  # noqa: E402
from tfx.orchestration import metadata  # noqa: E402
from tfx.orchestration.local import runner_utils  # noqa: E402
from tfx.proto.orchestration import pipeline_pb2  # noqa: E402

from hivemill.common.errors import InfrastructureError  # noqa: E402
from hivemill.pipeline.metadata.options import PASSWORD_VARIABLE, MetadataOptions  # noqa: E402
from hivemill.pipeline.metadata.probe import why_silent  # noqa: E402

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 15.0
_TRIES_OF_A_REFUSED_LOGIN = 3  # a server that has just started may refuse for a moment
_NO_REASON = "errno: , error: "  # what the client says of a connection that it could not make
# Servers that did not come back in time. They are tried once from then on, until one answers: what is left of a run
# that fails (its record in the metadata, its page) must not wait as long again, each time.
_GIVEN_UP: set[bytes] = set()
# ML Metadata hands on what the MySQL client and SQLite say, as text only, under several codes.
_AWAY = (
    "Lost connection",
    "gone away",
    "Can't connect",
    "Connection was killed",
    "Server shutdown in progress",
    "mysql_real_connect failed",
    "database is locked",
    "Concurrent writes aborted",  # of ML Metadata's own retries: its SQLite file is locked, or MySQL's rows are
)
_SQLITE_CANNOT = (
    "unable to open database file",
    "attempt to write a readonly database",
    "database or disk is full",
    "disk I/O error",
)
_HINT = "Finished nodes are in it: once it answers, run again, and the run goes on where it stopped."


def connection_config(options: MetadataOptions, sqlite_file: Path) -> mlmd.ConnectionConfig:
    """What a compiled pipeline carries: all but the password. `sqlite_file` is used by backend sqlite."""
    config = mlmd.ConnectionConfig()
    config.retry_options.max_num_retries = options.retries
    if options.backend == "sqlite":
        config.sqlite.filename_uri = str(sqlite_file)
        config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        return config
    server = config.mysql
    server.host, server.port, server.database, server.user = options.host, options.port, options.database, options.user
    server.skip_db_creation = True  # the user has rights on its own database only
    if options.tls_ca_file:
        server.ssl_options.ca = options.tls_ca_file
    return config


def metadata_of(ir: pipeline_pb2.Pipeline) -> PatientMetadata:
    """A context manager with the metadata store that the compiled pipeline is run with."""
    config = runner_utils.extract_local_deployment_config(ir).metadata_connection_config
    return PatientMetadata(getattr(config, config.WhichOneof("connection_config")))


class PatientMetadata(metadata.Metadata):
    """TFX's metadata handle. Its store repeats calls while the server is away.

    Every call of ML Metadata is one transaction, so one that fails has changed nothing. Only where the connection
    breaks between a commit and its answer is a repeated call a second entry; TFX then refuses the node ("no more than
    one previous execution"), and the next attempt, a pipeline run of its own, takes what is whole from the cache.
    """

    def __init__(self, config: mlmd.ConnectionConfig):
        super().__init__(config)
        self._patient: _PatientStore | None = None
        self._depth = 0

    def __enter__(self) -> PatientMetadata:
        if self._patient is None:
            self._patient = _PatientStore(self._connection_config)
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._patient = None

    @property
    def store(self) -> Any:
        if self._patient is None:
            raise RuntimeError("the metadata store is used outside of its `with`")
        return self._patient


class _PatientStore:
    """A MetadataStore whose methods are repeated with growing pauses while the server is away."""

    def __init__(self, config: mlmd.ConnectionConfig):
        self._config, self._key = config, config.SerializeToString(deterministic=True)
        self._store: MetadataStore | None = None
        self._patiently(lambda store: None)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(MetadataStore, name)
        if not callable(attribute):
            return self._patiently(lambda store: getattr(store, name))

        @functools.wraps(attribute)
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._patiently(lambda store: getattr(store, name)(*args, **kwargs))

        return call

    def _patiently(self, call: Callable[[MetadataStore], Any]) -> Any:
        retries = 0 if self._key in _GIVEN_UP else self._config.retry_options.max_num_retries
        for tried, pause in enumerate((*_pauses(retries), None), start=1):
            try:
                if self._store is None:
                    self._store = _opened(self._config)
                result = call(self._store)
                _GIVEN_UP.discard(self._key)
                return result
            except (errors.StatusError, RuntimeError) as error:
                if not _is_away(error):
                    raise _translated(error) from None  # never from itself: that would be a circle
                self._store = None
                self._wait_or_give_up(None if _is_hopeless(self._config, error, tried) else pause, tried, error)
        raise AssertionError("the last pause gives up")

    def _wait_or_give_up(self, pause: float | None, tried: int, error: Exception) -> None:
        what, _ = _diagnosis(self._config)
        reason = "" if _NO_REASON in str(error) else f": {error}"
        if pause is None:
            _GIVEN_UP.add(self._key)
            times = "once" if tried == 1 else f"{tried} times"
            raise InfrastructureError(f"{what}{reason} (tried {times})", hint=_HINT) from error
        logging.warning("%s%s; tried again in %s s", what, reason, pause)
        time.sleep(pause)


def _is_hopeless(config: mlmd.ConnectionConfig, error: Exception, tried: int) -> bool:
    """A server that answers and refuses the login again and again will go on so."""
    return "mysql_real_connect failed" in str(error) and _diagnosis(config)[1] and tried >= _TRIES_OF_A_REFUSED_LOGIN


def _pauses(retries: int) -> Iterator[float]:
    pause = _FIRST_PAUSE_SECONDS
    for _ in range(retries):
        yield pause
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def _opened(config: mlmd.ConnectionConfig) -> MetadataStore:
    complete = mlmd.ConnectionConfig()
    complete.CopyFrom(config)
    if config.HasField("mysql"):
        complete.mysql.password = os.environ.get(PASSWORD_VARIABLE, "")
    else:
        Path(config.sqlite.filename_uri).parent.mkdir(parents=True, exist_ok=True)
    return MetadataStore(complete)


def _translated(error: Exception) -> Exception:
    """A server that answers but cannot do it (disk full, read-only, no rights) is no defect of ours."""
    if isinstance(error, errors.InternalError) and "mysql_query failed" in str(error):
        return InfrastructureError(f"the metadata server cannot carry out a query: {error}", hint=_HINT)
    found = next((words for words in _SQLITE_CANNOT if words in str(error)), None)
    if found is not None:
        hint = "Free space there, or make the folder of `root` writable; then run again: it goes on where it stopped."
        return InfrastructureError(f"the metadata file cannot be written: {found}", hint=hint)
    return error


def _is_away(error: Exception) -> bool:
    return any(words in str(error) for words in _AWAY)


def _diagnosis(config: mlmd.ConnectionConfig) -> tuple[str, bool]:
    """What is wrong, and whether the server answers. ML Metadata's client gives no reason, so the port is tried."""
    if not config.HasField("mysql"):
        return f"the metadata file {config.sqlite.filename_uri} is in use", True
    server = config.mysql
    place = f"the metadata server {server.host}:{server.port}"
    silent = why_silent(server.host, server.port)
    if silent is not None:
        return f"{place} does not answer ({silent})", False
    known = "is set" if os.environ.get(PASSWORD_VARIABLE) else "is not set"
    return (
        f"{place} answers, but refuses user {server.user!r} for database {server.database!r}: wrong user, password "
        f"({PASSWORD_VARIABLE} {known}), rights, or a login other than mysql_native_password",
        True,
    )
