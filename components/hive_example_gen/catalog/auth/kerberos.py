"""Kerberos for Hive's Thrift services: the client's half of SASL GSSAPI, and what goes wrong with tickets in words.

Source: RFC 4752 (GSSAPI in SASL), RFC 4120 7.5.9 and MIT's krb5_err.et (numbers of errors).
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from typing import Any

from hivemill.common.errors import ConfigError, InfrastructureError

_MIT = -1765328384  # where MIT's numbers begin
_NO_CREDENTIALS, _EXPIRED_CREDENTIALS = 7 << 16, 11 << 16
_WITHOUT_TICKET = frozenset(_MIT + number for number in (32, 141, 190, 193, 195))
"""Ticket expired; no matching one in the cache; cache not readable, not usable, not there."""
_UNKNOWN_SERVER = _MIT + 7
_LENGTH = struct.Struct(">I")


def sasl_client(host: str, service: str) -> Any:
    """What thrift_sasl asks for `service`@`host`, encrypting (auth-conf) where the server demands it."""
    from impala.sasl_compat import PureSASLClient
    from puresasl import QOP

    class Client(PureSASLClient):
        """impyla's has its two directions exchanged, which shows as soon as a server signs or encrypts."""

        def encode(self, outgoing: bytes) -> tuple[bool, bytes]:
            token = self.wrap(outgoing)
            return True, token if self.qop == QOP.AUTH else _LENGTH.pack(len(token)) + token

        def decode(self, incoming: bytes) -> tuple[bool, bytes]:
            return True, self.unwrap(incoming[_LENGTH.size :])

    return Client(host, service=service)


@contextlib.contextmanager
def translated(server: str, service: str) -> Iterator[None]:
    """Raises ConfigError: no ticket, or no such principal; InfrastructureError: no KDC answers, clocks differ."""
    from puresasl import mechanisms

    # Without a Kerberos package nothing of it can be raised, and an empty tuple catches nothing.
    try:
        yield
    except getattr(getattr(mechanisms, "kerberos", None), "GSSError", ()) as error:
        raise _in_words(server, service, error) from error


def _in_words(server: str, service: str, error: Exception) -> ConfigError | InfrastructureError:
    codes = {part[1] for part in error.args if isinstance(part, tuple) and len(part) == 2}
    what = _said(error)
    if codes & (_WITHOUT_TICKET | {_NO_CREDENTIALS, _EXPIRED_CREDENTIALS}):
        return ConfigError(
            f"source.hive.auth is kerberos, and this process has no ticket for {server}: {what}",
            hint="kinit USER@REALM, or KRB5_CLIENT_KTNAME=FILE.keytab in the environment, which renews itself. "
            "klist shows what is there; KRB5CCNAME names another cache.",
        )
    if _UNKNOWN_SERVER in codes:
        return ConfigError(
            f"Kerberos does not know the principal {service}/HOST of {server}: {what}",
            hint="source.hive.kerberos_service is the first part of the server's principal, the host as the URL "
            "writes it the second: klist -k on the server shows it.",
        )
    return InfrastructureError(
        f"Kerberos fails for {server}: {what}",
        hint="Check the KDC that /etc/krb5.conf (or KRB5_CONFIG) names, the realm, and the clocks.",
    )


def _said(error: Exception) -> str:
    """The last of the pairs that GSSAPI gives is the mechanism's own; the first says to look there."""
    last = error.args[-1] if error.args else error
    return str(last[0] if isinstance(last, tuple) and last else last)
