"""A MariaDB server of a test's own (mariadb-server-core): a data folder, a free port; killed and started at will.

Where the package is missing the tests that need it are skipped with these words; with HIVEMILL_REQUIRE_MARIADB=1, as
in CI, they fail.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import portpicker
import pytest

PASSWORD = "only for tests"
_SQL = f"""
CREATE DATABASE IF NOT EXISTS hivemill CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE USER IF NOT EXISTS 'hivemill'@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('{PASSWORD}');
GRANT ALL ON hivemill.* TO 'hivemill'@'%';
"""


class MariaDb:
    """`start` returns once it answers; `kill` is kill -9. The data stay in `folder`."""

    def __init__(self, folder: Path):
        self._folder, self.port = folder, portpicker.pick_unused_port()
        self._process: subprocess.Popen | None = None
        (folder / "init.sql").write_text(_SQL)
        command = ["mariadb-install-db", "--no-defaults", f"--datadir={folder}/data", "--skip-test-db"]
        done = subprocess.run([*command, *self._user()], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, *options: str) -> None:
        command = ["mariadbd", "--no-defaults", f"--datadir={self._folder}/data", f"--port={self.port}"]
        command += [f"--socket={self._folder}/s", "--bind-address=127.0.0.1", "--innodb-buffer-pool-size=16M"]
        command += [f"--init-file={self._folder}/init.sql", *self._user(), *options]
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as probe:
                return bool(probe.recv(1))
        except OSError:
            return False

    def _user(self) -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []


def server(folder: Path) -> MariaDb:
    """A started server. Skips, or in CI fails, where MariaDB is not installed."""
    if not (shutil.which("mariadbd") and shutil.which("mariadb-install-db")):
        words = "MariaDB is missing: apt-get install mariadb-server-core mariadb-client-core"
        pytest.fail(words) if os.environ.get("HIVEMILL_REQUIRE_MARIADB") else pytest.skip(words)
    made = MariaDb(folder)
    made.start()
    return made
