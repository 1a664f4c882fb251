"""The few calls of a Hive metastore that planning needs, and the translation of everything that can go wrong in them.

Source: hive_metastore.thrift. pymetastore's generated client speaks to Hive 2.3, 3 and 4.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.components.hive_example_gen.catalog.auth import transport as login
from hivemill.components.hive_example_gen.catalog.auth.transport import Address
from hivemill.components.hive_example_gen.options import HiveOptions

DEFAULT_PORT = 9083
_URL = re.compile(r"hive://(?P<hosts>[^/?#]+)/(?P<database>[^/.?#]+)\.(?P<table>[^/.?#]+)/?")
# One answer of a metastore is built in memory at both ends: some thousand bytes per partition.
_PARTITIONS_PER_CALL = 500
_ALL = -1
_UNFIT = "does not appear to support"
QUERY_HINT = "Ask a server for its rows instead: source.query and source.server (HiveServer2, Spark Thrift Server)."
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class TableAddress:
    hosts: tuple[Address, ...]
    database: str
    table: str

    def __str__(self) -> str:
        return f"{self.database}.{self.table}"


def table_address(url: str) -> TableAddress:
    """`hive://a:9083,b:9083/db.table`. Raises ConfigError."""
    match = _URL.fullmatch(url)
    if match is None:
        shown = "hive://…" if "@" in url else repr(url)
        raise ConfigError(
            f"source.table: {shown} is no table of a metastore",
            hint="hive://HOST:9083/DATABASE.TABLE, or several hosts: hive://A:9083,B:9083/DATABASE.TABLE.",
        )
    hosts = login.addresses("source.table", match["hosts"], DEFAULT_PORT)
    return TableAddress(hosts, match["database"].lower(), match["table"].lower())


@contextlib.contextmanager
def connected(address: TableAddress, hive: HiveOptions) -> Iterator[Metastore]:
    """The first of the hosts that answers. Raises InfrastructureError naming all of them, ConfigError."""
    generated = login.needed("pymetastore.hive_metastore.ThriftHiveMetastore", "pymetastore", "hive")
    binary = login.needed("thrift.protocol.TBinaryProtocol", "thrift", "hive")
    host, transport = _open_first(address.hosts, hive)
    try:
        client = generated.Client(binary.TBinaryProtocolAccelerated(transport))
        yield Metastore(client, host, address)
    finally:
        transport.close()


def _open_first(hosts: Sequence[Address], hive: HiveOptions) -> tuple[Address, Any]:
    from thrift.transport.TTransport import TTransportException

    reasons = []
    for host in hosts:
        try:
            return host, login.open_transport(host, hive)
        except (TTransportException, OSError) as error:
            reasons.append(f"{host}: {_reason(error)}")
    raise InfrastructureError(
        "no Hive metastore answers: " + "; ".join(reasons),
        hint="Check that it runs, the port (9083 by default), the network, and source.hive (auth, tls).",
    )


class Metastore:
    """One open connection. Every call raises InfrastructureError naming host and port where the service fails."""

    def __init__(self, client: Any, host: Address, address: TableAddress):
        self._client, self._host, self._address = client, host, address
        self._key = (address.database, address.table)

    def table(self) -> Any:
        """The Thrift Table. Raises ConfigError where there is none of this name."""
        from pymetastore.hive_metastore.ttypes import GetTableRequest, NoSuchObjectException
        from thrift.Thrift import TApplicationException

        database, table = self._key
        try:
            try:
                return self._call("get_table", lambda: self._client.get_table(database, table))
            except TApplicationException:  # a metastore that has only the newer call
                request = GetTableRequest(dbName=database, tblName=table)
                return self._call("get_table_req", lambda: self._client.get_table_req(request)).table
        except NoSuchObjectException as error:
            raise ConfigError(
                f"source.table: the metastore {self._host} has no table {self._address}",
                hint="Check database and name: SHOW TABLES IN " + database + ";",
            ) from error
        except InfrastructureError as error:
            if _UNFIT in error.message:  # Hive 3 and 4 do not show some transactional tables to clients that cannot
                raise ConfigError(f"source.table: {error.message}", hint=QUERY_HINT) from error
            raise

    def partitions_where(self, condition: str) -> list[Any] | None:
        """The Thrift Partitions of a filter on string columns; None where this metastore refuses it."""
        from pymetastore.hive_metastore.ttypes import MetaException
        from thrift.Thrift import TApplicationException

        with contextlib.suppress(MetaException, TApplicationException):
            return self._call(
                "get_partitions_by_filter",
                lambda: self._client.get_partitions_by_filter(*self._key, condition, _ALL),
                (MetaException,),
            )
        return None

    def partition_names(self) -> list[str]:
        """All of them, as folders are written: `dt=2026-11-15/hour=07`."""
        return self._call("get_partition_names", lambda: self._client.get_partition_names(*self._key, _ALL))

    def partition_names_like(self, values: Sequence[str]) -> list[str]:
        """Those with these values, "" for any."""
        call = self._client.get_partition_names_ps
        return self._call("get_partition_names_ps", lambda: call(*self._key, list(values), _ALL))

    def partitions_named(self, names: Sequence[str]) -> Iterator[Any]:
        for start in range(0, len(names), _PARTITIONS_PER_CALL):
            chunk = list(names[start : start + _PARTITIONS_PER_CALL])
            yield from self._call(
                "get_partitions_by_names", lambda chunk=chunk: self._client.get_partitions_by_names(*self._key, chunk)
            )

    def _call(self, name: str, function: Callable[[], _Result], passed: tuple[type[Exception], ...] = ()) -> _Result:
        from pymetastore.hive_metastore.ttypes import MetaException, NoSuchObjectException
        from thrift.protocol.TProtocol import TProtocolException
        from thrift.Thrift import TApplicationException
        from thrift.transport.TTransport import TTransportException

        try:
            return function()
        except (NoSuchObjectException, TApplicationException, *passed):
            raise
        except (MetaException, TTransportException, TProtocolException, OSError, EOFError) as error:
            raise InfrastructureError(
                f"Hive metastore {self._host}: {name} of {self._address} failed: {_reason(error)}",
                hint="See the metastore's log; a longer source.hive.timeout_seconds helps a slow one. One that wants "
                "another login (source.hive.auth) or TLS just closes the connection.",
            ) from error


def _reason(error: Exception) -> str:
    text = str(getattr(error, "message", None) or error).strip()
    return text.split("\n")[0] or type(error).__name__
