"""Transports to Hive's Thrift services: plain, SASL with user and password, Kerberos; each with or without TLS."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import ssl
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.catalog.auth import kerberos
from hivemill.components.hive_example_gen.options import HiveOptions

USER, PASSWORD = "HIVE_USER", "HIVE_PASSWORD"
CONNECT_SECONDS = 20
_HOST = re.compile(r"(?:(?P<host>[^\s\[\]:/@?,]+)|\[(?P<v6>[0-9A-Fa-f:.]+)\])(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def addresses(key: str, text: str, default_port: int) -> tuple[Address, ...]:
    """`a:9083,b` as addresses. Raises ConfigError naming the config key; it never shows what stands before an @."""
    if "@" in text:
        raise ConfigError(
            f"{key} names a user or a password", hint=f"Give them as {USER} and {PASSWORD} in the environment."
        )
    return tuple(_address(key, each.strip(), default_port) for each in text.split(","))


def _address(key: str, text: str, default_port: int) -> Address:
    match = _HOST.fullmatch(text)
    port = int(match["port"] or default_port) if match else 0
    if match is None or not 0 < port < 65536:
        raise ConfigError(f"{key}: {text!r} is no host:port", hint=f"For instance hive-1.example.org:{default_port}.")
    return Address(match["host"] or match["v6"], port)


def needed(module: str, package: str, extra: str) -> ModuleType:
    """The module, or ConfigError that names what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"the package {package} is not installed, and this source needs it ({error})",
            hint=f"pip install 'hivemill[{extra}]'",
        ) from error


def credentials(hive: HiveOptions) -> tuple[str | None, str | None]:
    """User and password of `auth: password`, from the environment alone; (None, None) otherwise. Raises ConfigError."""
    if hive.auth != "password":
        return None, None
    missing = [name for name in (USER, PASSWORD) if not os.environ.get(name)]
    if missing:
        raise ConfigError(
            f"source.hive.auth is password, and the environment has no {' and no '.join(missing)}",
            hint="Set them where the run starts; they never stand in the configuration.",
        )
    return os.environ[USER], os.environ[PASSWORD]


def check_kerberos(hive: HiveOptions) -> None:
    """pure-sasl takes kerberos or winkerberos for GSSAPI; without them it only says that no mechanism fits."""
    if hive.auth == "kerberos" and not any(map(importlib.util.find_spec, ("kerberos", "winkerberos"))):
        raise ConfigError(
            "source.hive.auth is kerberos, and the package kerberos is not installed",
            hint="pip install 'hivemill[hive-kerberos]' (it needs the Kerberos headers: libkrb5-dev), then kinit.",
        )


def tls_context(hive: HiveOptions) -> ssl.SSLContext | None:
    """Checks the certificate and the host's name. Raises ConfigError where `ca_file` cannot be read."""
    if not hive.tls:
        return None
    try:
        return ssl.create_default_context(cafile=hive.ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"source.hive.ca_file: {hive.ca_file} cannot be read as PEM: {error}") from error


def open_transport(address: Address, hive: HiveOptions) -> Any:
    """An open Thrift transport to a metastore. Raises TTransportException, OSError, and as `kerberos_tickets`."""
    socket = _socket(address, hive)
    socket.setTimeout(min(CONNECT_SECONDS, hive.timeout_seconds) * 1000)
    transport = _wrapped(socket, address, hive)
    with ticket_errors(address, hive):
        transport.open()
    socket.setTimeout(hive.timeout_seconds * 1000)
    return transport


def ticket_errors(address: Address, hive: HiveOptions) -> contextlib.AbstractContextManager[None]:
    """Around what logs in: errors of Kerberos in words."""
    if hive.auth != "kerberos":
        return contextlib.nullcontext()
    return kerberos.translated(str(address), hive.kerberos_service)


def _socket(address: Address, hive: HiveOptions) -> Any:
    context = tls_context(hive)
    if context is None:
        return needed("thrift.transport.TSocket", "thrift", "hive").TSocket(address.host, address.port)
    tls = needed("thrift.transport.TSSLSocket", "thrift", "hive")
    return tls.TSSLSocket(address.host, address.port, ssl_context=context)


def _wrapped(socket: Any, address: Address, hive: HiveOptions) -> Any:
    if hive.auth in ("none", "nosasl"):
        return needed("thrift.transport.TTransport", "thrift", "hive").TBufferedTransport(socket)
    check_kerberos(hive)
    user, password = credentials(hive)
    thrift_sasl = needed("thrift_sasl", "thrift_sasl", "hive")
    sasl = needed("impala.sasl_compat", "impyla", "hive").PureSASLClient

    def client() -> Any:
        if hive.auth == "kerberos":
            return kerberos.sasl_client(address.host, hive.kerberos_service)
        return sasl(address.host, username=user, password=password)

    mechanism = "GSSAPI" if hive.auth == "kerberos" else "PLAIN"
    return thrift_sasl.TSaslClientTransport(client, mechanism, socket)
