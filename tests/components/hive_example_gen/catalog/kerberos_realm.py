"""A realm of a test's own: MIT's KDC, and a Hive metastore that wants tickets, in one network namespace.

Where packages are missing the tests that need them are skipped with these words; with HIVEMILL_REQUIRE_KERBEROS=1, as
in CI, they fail.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.components.hive_example_gen.catalog import real_hive

REALM, KDC_PORT = "HIVEMILL.TEST", 88
SERVICE = f"hive/localhost@{REALM}"
USER = f"alice@{REALM}"
_KRB5 = """
[libdefaults]
default_realm = {realm}
dns_lookup_kdc = false
dns_lookup_realm = false
dns_canonicalize_hostname = false
rdns = false
udp_preference_limit = 1
[realms]
{realm} = {{
  kdc = 127.0.0.1:{port}
}}
[domain_realm]
localhost = {realm}
"""
_KDC = """
[kdcdefaults]
kdc_listen = 127.0.0.1:{port}
kdc_tcp_listen = 127.0.0.1:{port}
[realms]
{realm} = {{
  database_name = {folder}/principal
  key_stash_file = {folder}/stash
  supported_enctypes = aes256-cts-hmac-sha1-96:normal
}}
"""
_CORE_SITE = """<configuration>
<property><name>hadoop.security.authentication</name><value>kerberos</value></property>
<property><name>hadoop.rpc.protection</name><value>{protection}</value></property>
</configuration>
"""


class KerberosHive(real_hive.RealHive):
    """`protection` is Hadoop's: authentication, integrity or privacy (every message encrypted)."""

    def __init__(self, python: str, folder: Path, protection: str):
        super().__init__(python, folder)
        filled = {"realm": REALM, "port": KDC_PORT, "folder": folder, "protection": protection}
        for name, text in {"krb5.conf": _KRB5, "kdc.conf": _KDC, "core-site.xml": _CORE_SITE}.items():
            (folder / name).write_text(text.format(**filled))
        self.settings = {"KRB5_CONFIG": f"{folder}/krb5.conf", "KRB5_KDC_PROFILE": f"{folder}/kdc.conf"}

    def start(self) -> None:
        """Raises PermissionError where this process may not make a namespace."""
        self.inside(real_hive._enter_new_network)
        self._make_principals()
        self.kdc = self._start("kdc", self._with_settings(_found("krb5kdc"), "-n"), KDC_PORT)
        hadoop = f"HADOOP_CONF_DIR={self.folder}"
        self._start("metastore", self._with_settings(hadoop, *self._metastore()), real_hive.METASTORE_PORT)

    def keytab(self, name: str) -> str:
        return f"{self.folder}/{name}.keytab"

    def tool(self, *command: str, cache: str | None = None) -> str:
        """What a command of Kerberos says, run where the KDC can be reached."""
        chosen = [f"KRB5CCNAME={cache}"] if cache else []
        return self.inside(_said, self._with_settings(*chosen, *command))

    def _make_principals(self) -> None:
        self.tool(_found("kdb5_util"), "create", "-s", "-r", REALM, "-P", "only for tests")
        for name, principal in {"hive": SERVICE, "alice": USER, "other": f"other/localhost@{REALM}"}.items():
            self.tool(_found("kadmin.local"), "-q", f"addprinc -randkey {principal}")
            self.tool(_found("kadmin.local"), "-q", f"ktadd -k {self.keytab(name)} {principal}")

    def _metastore(self) -> list[str]:
        program, *settings, main, flag, port = super()._metastore()
        kerberos = [
            "-Dhive.metastore.sasl.enabled=true",
            f"-Dhive.metastore.kerberos.principal={SERVICE}",
            f"-Dhive.metastore.kerberos.keytab.file={self.keytab('hive')}",
            f"-Djava.security.krb5.conf={self.folder}/krb5.conf",
        ]
        return [program, *settings, *kerberos, main, flag, port]

    def _with_settings(self, *command: str) -> list[str]:
        return ["env", *(f"{name}={value}" for name, value in self.settings.items()), *command]


def needed() -> None:
    """Skips, or in CI fails, where something of Kerberos is not installed."""
    tools = [name for name in ("krb5kdc", "kdb5_util", "kadmin.local", "kinit") if not _found(name)]
    if tools:
        _missing(f"{', '.join(tools)} missing: apt-get install krb5-kdc krb5-admin-server krb5-user")
    if importlib.util.find_spec("kerberos") is None:
        _missing("the Python package kerberos is missing: make kerberos-env (it needs gcc and libkrb5-dev)")


def _missing(words: str) -> None:
    pytest.fail(words) if os.environ.get("HIVEMILL_REQUIRE_KERBEROS") else pytest.skip(words)


def _found(name: str) -> str:
    """Debian keeps the KDC's programs where only root's PATH leads."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or ""


def _said(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
