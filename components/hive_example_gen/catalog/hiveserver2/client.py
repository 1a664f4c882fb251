"""One statement at a HiveServer2 (Hive, Spark Thrift Server), its rows fetched by columns, FETCH_ROWS at a time.

A result is never held as a whole. Source: TCLIService.thrift, protocol V6, through impyla.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hivemill.common.errors import ConfigError, HivemillError, InfrastructureError
from hivemill.components.hive_example_gen.catalog.auth import transport
from hivemill.components.hive_example_gen.catalog.auth.transport import Address
from hivemill.components.hive_example_gen.options import HiveOptions

DEFAULT_PORT = 10_000
FETCH_ROWS = 8192
HIVE = "Apache Hive"
_REASON_LETTERS = 400
_URL = re.compile(r"hiveserver2://(?P<hosts>[^/?#]+)(?:/(?P<database>\w*))?")
_MECHANISMS = {"none": "PLAIN", "password": "LDAP", "kerberos": "GSSAPI", "nosasl": "NOSASL"}
# What Hive and Spark say of a statement that will never run, as against one that failed while it ran.
_REFUSED = re.compile(r"while compiling|ParseException|SemanticException|AnalysisException|SQLSTATE: 42")


@dataclass(frozen=True)
class ServerAddress:
    hosts: tuple[Address, ...]
    database: str


@dataclass(frozen=True)
class ResultColumn:
    """`type` as the server's metadata name it: BIGINT, DECIMAL, ARRAY; precision and scale of a DECIMAL."""

    name: str
    type: str
    precision: int | None = None
    scale: int | None = None


@dataclass(frozen=True)
class RawColumn:
    """The values of one fetch: int, float, bool, or bytes for everything else; what stands under a null is no value."""

    values: Sequence[Any]
    nulls: np.ndarray


def server_address(url: str) -> ServerAddress:
    """`hiveserver2://host:10000/database`, or several hosts to try in turn. Raises ConfigError."""
    match = _URL.fullmatch(url)
    if match is None:
        shown = "hiveserver2://…" if "@" in url else repr(url)
        raise ConfigError(f"source.server: {shown} is no server", hint="hiveserver2://HOST:10000/DATABASE.")
    hosts = transport.addresses("source.server", match["hosts"], DEFAULT_PORT)
    return ServerAddress(hosts, match["database"] or "default")


@contextlib.contextmanager
def connected(url: str, hive: HiveOptions) -> Iterator[Session]:
    """A session of its own. Raises InfrastructureError naming host and port, ConfigError."""
    address = server_address(url)
    transport.needed("impala.dbapi", "impyla", "hive")
    host = _first_that_listens(address.hosts)
    with contextlib.ExitStack() as stack:
        with _translated(host, "lets this process not in"), transport.ticket_errors(host, hive):
            connection = _connection(host, hive)
        stack.callback(_quietly, connection.close)  # the transport may be gone; what went wrong is on its way already
        with _translated(host, f"opens no session in {address.database!r}"), transport.ticket_errors(host, hive):
            cursor = connection.cursor(
                user=_user(hive), convert_types=False, convert_strings_to_unicode=False, close_finished_queries=False
            )
            stack.callback(_quietly, cursor.close)
            cursor.execute(f"USE `{address.database}`")
            for key, value in hive.settings.items():
                cursor.execute(f"SET {key}={value}")
        yield Session(cursor, host)


def _first_that_listens(hosts: Sequence[Address]) -> Address:
    reasons = []
    for host in hosts:
        try:
            socket.create_connection((host.host, host.port), transport.CONNECT_SECONDS).close()
        except OSError as error:
            reasons.append(f"{host}: {error.strerror or error}")
        else:
            return host
    raise InfrastructureError(
        "no HiveServer2 answers: " + "; ".join(reasons),
        hint="Check that it runs, the port (10000 by default) and the network.",
    )


def _connection(host: Address, hive: HiveOptions) -> Any:
    import impala.dbapi

    transport.check_kerberos(hive)
    transport.tls_context(hive)  # names a CA file that cannot be read
    password = transport.credentials(hive)[1]
    return impala.dbapi.connect(
        host=host.host,
        port=host.port,
        timeout=hive.timeout_seconds,
        use_ssl=hive.tls,
        ca_cert=hive.ca_file,
        verify_cert=True,
        auth_mechanism=_MECHANISMS[hive.auth],
        user=_user(hive),
        password=password,
        kerberos_service_name=hive.kerberos_service,
        retries=1,
    )


def _user(hive: HiveOptions) -> str | None:
    """Without authentication too Hive reads files in the name of a user; the process's own if none is set."""
    return transport.credentials(hive)[0] if hive.auth == "password" else os.environ.get(transport.USER) or None


class Session:
    """Runs one statement at a time."""

    def __init__(self, cursor: Any, host: Address):
        self._cursor, self.host = cursor, host

    def product(self) -> str:
        """What the server calls itself: `Apache Hive`, `Spark SQL`."""
        from impala._thrift_gen.TCLIService.ttypes import TGetInfoReq, TGetInfoType

        session = self._cursor.session
        request = TGetInfoReq(sessionHandle=session.handle, infoType=TGetInfoType.CLI_DBMS_NAME)
        with _translated(self.host, "does not say what it is"):
            return session.client.GetInfo(request).infoValue.stringValue or ""

    @contextlib.contextmanager
    def result(self, sql: str, what: str) -> Iterator[Result]:
        """The open result of a SELECT; `what` names it in messages. Where the block ends early, it is cancelled.

        Raises ConfigError: the server refuses the statement. InfrastructureError: it fails, or the connection breaks.
        """
        cancel = True
        try:
            with _translated(self.host, f"fails on {what}"):
                self._cursor.set_arraysize(FETCH_ROWS)
                self._cursor.execute(sql)
                columns = _described(self._cursor, what)
            yield Result(self._cursor, columns, self.host, what)
            cancel = False
        finally:
            if cancel:
                _quietly(lambda: self._cursor.cancel_operation(reset_state=False))
            _quietly(self._cursor.close_operation)


class Result:
    """Rows of a statement, to be read once."""

    def __init__(self, cursor: Any, columns: tuple[ResultColumn, ...], host: Address, what: str):
        self._cursor, self.columns, self.host, self.what = cursor, columns, host, what
        self._some = False

    def fetches(self) -> Iterator[list[RawColumn]]:
        """What each fetch gives, one RawColumn per column. Raises InfrastructureError."""
        rows = 0
        while True:
            with _translated(self.host, f"breaks off after {rows:,} rows of {self.what}"):
                fetched = self._fetch()
            if fetched is None:
                return
            self._some = True
            yield fetched
            rows += len(fetched[0].nulls)

    def _fetch(self) -> list[RawColumn] | None:
        try:
            batch = self._cursor.fetchcbatch()
        except IndexError:  # impyla cannot take a row set without columns, as Spark sends one that never has a row
            if self._some:
                raise
            return None
        if batch is not None:
            return [_raw(column) for column in batch.columns]
        # No rows now: the end, or a server that has none yet. Asked for one row, impyla waits until it knows.
        row = self._cursor.fetchone()
        if row is None:
            return None
        return [RawColumn([value], np.array([value is None])) for value in row]


def _described(cursor: Any, what: str) -> tuple[ResultColumn, ...]:
    try:
        described = cursor.description or ()
    except KeyError as error:  # impyla looks types up by number; intervals are beyond its table
        raise ConfigError(
            f"{what} gives a column of a type that is not supported (number {error} of TCLIService.thrift's TTypeId)",
            hint="CAST(… AS STRING) intervals and other rare types, or leave them out.",
        ) from error
    return tuple(ResultColumn(each[0], each[1], each[4], each[5]) for each in described)


def _raw(column: Any) -> RawColumn:
    """Of an impyla column, what is not taken yet; its nulls are a bit map, the lowest bit first."""
    start = column.num_rows - column.rows_left
    bits = np.unpackbits(np.frombuffer(column.nulls.tobytes(), np.uint8), bitorder="little")
    return RawColumn(column.values[start:], bits[start : column.num_rows].astype(bool))


@contextlib.contextmanager
def _translated(host: Address, what: str) -> Iterator[None]:
    from impala.error import Error, HttpError
    from thrift.protocol.TProtocol import TProtocolException
    from thrift.Thrift import TException
    from thrift.transport.TTransport import TTransportException

    try:
        yield
    except HivemillError:
        raise
    except (Error, HttpError, TException, TTransportException, TProtocolException, OSError, EOFError) as error:
        message = f"HiveServer2 {host} {what}: {_reason(error)}"
        if isinstance(error, Error) and _REFUSED.search(str(error)):
            raise ConfigError(message, hint="Correct source.query; try it in beeline with a date filled in.") from error
        raise InfrastructureError(
            message, hint="See the server's log; check source.hive (auth, tls, timeout_seconds) and the network."
        ) from error


def _reason(error: Exception) -> str:
    """The beginning of what the server says; a stack trace may follow it."""
    lines = str(getattr(error, "message", None) or error).split("\n")
    return " ".join(filter(None, map(str.strip, lines)))[:_REASON_LETTERS] or type(error).__name__


def _quietly(function: Any) -> None:
    with contextlib.suppress(Exception):
        function()
