"""Errors of Kerberos in words, and the directions of signed messages; without a KDC (test_kerberos.py has one)."""

import pytest
from puresasl import QOP, mechanisms

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.components.hive_example_gen.catalog.auth import kerberos

pytest.importorskip("impala", reason="the extra `hive` is not installed")
_MIT = -1765328384


class _Library:
    class GSSError(Exception):
        """As the package kerberos raises it: pairs of words and number, GSSAPI's and the mechanism's."""


def _raised(monkeypatch, major, minor, words):
    monkeypatch.setattr(mechanisms, "kerberos", _Library, raising=False)
    with pytest.raises((ConfigError, InfrastructureError)) as raised, kerberos.translated("h:9083", "hive"):
        raise _Library.GSSError(("Unspecified GSS failure", major), (words, minor))
    assert words in raised.value.message and "h:9083" in raised.value.message
    return raised.value


@pytest.mark.parametrize(
    ("major", "minor"), [(851968, _MIT + 195), (851968, _MIT + 32), (7 << 16, 100001), (11 << 16, 100005)]
)
def test_no_ticket(monkeypatch, major, minor):
    error = _raised(monkeypatch, major, minor, "No credentials cache found")
    assert isinstance(error, ConfigError) and "no ticket" in error.message
    assert "kinit" in error.hint and "KRB5_CLIENT_KTNAME" in error.hint


def test_unknown_principal_and_everything_else(monkeypatch):
    error = _raised(monkeypatch, 851968, _MIT + 7, "Server not found in Kerberos database")
    assert isinstance(error, ConfigError) and "hive/HOST" in error.message
    error = _raised(monkeypatch, 851968, _MIT + 37, "Clock skew too great")
    assert isinstance(error, InfrastructureError) and "clocks" in error.hint


def test_other_errors_pass_and_no_package_is_needed(monkeypatch):
    monkeypatch.delattr(mechanisms, "kerberos", raising=False)
    with pytest.raises(ZeroDivisionError), kerberos.translated("h:9083", "hive"):
        raise ZeroDivisionError


def test_what_goes_out_is_wrapped_with_its_length_and_what_comes_in_unwrapped(monkeypatch):
    client = kerberos.sasl_client("h", "hive")
    monkeypatch.setattr(client, "wrap", lambda data: b"out:" + data)
    monkeypatch.setattr(client, "unwrap", lambda data: data.removeprefix(b"in:"))
    client._chosen_mech = type("Mechanism", (), {"qop": QOP.AUTH_CONF})
    assert client.encode(b"x") == (True, b"\0\0\0\5out:x")
    assert client.decode(b"\0\0\0\4in:y") == (True, b"y")
    client._chosen_mech.qop = QOP.AUTH
    assert client.encode(b"x") == (True, b"out:x")
