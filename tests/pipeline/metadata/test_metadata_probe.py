"""Whether a metadata server answers, and what `hivemill doctor` says of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hivemill.pipeline.doctor import checks
from hivemill.pipeline.metadata.options import PASSWORD_VARIABLE
from hivemill.pipeline.metadata.probe import why_silent

CONFIG = "name: shop\nsource: {table: log}\nlabel: {column: click}\nfeatures: {city: {type: categorical}}\n"


@pytest.fixture
def listen() -> Iterator[Callable[[bytes], int]]:
    """listen(greeting) starts a server that sends it to whoever comes, and hangs up; returns its port."""
    servers: list[socket.socket] = []

    def start(greeting: bytes) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        threading.Thread(target=serve, args=(server, greeting), daemon=True).start()
        return server.getsockname()[1]

    def serve(server: socket.socket, greeting: bytes) -> None:
        while True:
            try:
                with server.accept()[0] as connection:
                    connection.sendall(greeting)
            except OSError:
                return

    yield start
    for server in servers:
        server.close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_why_silent(listen):
    assert why_silent("127.0.0.1", listen(b"J\0\0\0\n5.5.5-10.11-MariaDB\0")) is None
    assert why_silent("127.0.0.1", listen(b"")) == "it closes connections at once"
    assert why_silent("127.0.0.1", closed_port()) == "Connection refused"
    assert why_silent("no-such-host.invalid", 3306)


def finding(tmp_path: Path, port: int) -> checks.DoctorFinding:
    config = tmp_path / "hivemill.yaml"
    config.write_text(CONFIG + f"metadata: {{backend: mysql, host: 127.0.0.1, port: {port}, user: hivemill}}\n")
    (found,) = (one for one in checks.examine(config) if one.name == "metadata")
    return found


def test_doctor_names_the_server_that_is_silent_and_the_password_that_is_missing(tmp_path, listen, monkeypatch):
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    found = finding(tmp_path, port := closed_port())
    assert (found.state, found.exit_code) == ("failed", 6)
    assert found.message == f"127.0.0.1:{port} does not answer: Connection refused"
    port = listen(b"J")
    assert finding(tmp_path, port).message == f"the environment has no {PASSWORD_VARIABLE}"
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")
    found = finding(tmp_path, port)
    assert found.state == "ok" and "secret" not in found.message


def test_doctor_says_nothing_of_a_file(tmp_path):
    config = tmp_path / "hivemill.yaml"
    config.write_text(CONFIG)
    assert "metadata" not in {one.name for one in checks.examine(config)}
