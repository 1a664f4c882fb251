"""The end of a server: what clients that went away, or a load that goes on, may cost it."""

import socket
import threading
import time

from tensorflow_serving.config import file_system_storage_path_source_pb2

from hivemill.serving.server import app
from hivemill.serving.server.loading.config_file import ModelTarget
from hivemill.serving.server.loading.models import Models
from hivemill.serving.server.options import ServerOptions

POLICY = file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy


def ask(port: int, text: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=5)
    client.sendall(text)
    return client


class _Slow:
    """Versions that take their time; they end when told."""

    def __init__(self):
        self.begun, self.goes_on, self.loaded, self.closed = threading.Event(), threading.Event(), [], []

    def load(self, model, version, path):
        self.begun.set()
        self.goes_on.wait(30)
        self.loaded.append(version)
        servable = type("Servable", (), {"close": lambda _: self.closed.append(version)})
        return servable()


def test_a_load_that_goes_on_does_not_hold_up_the_end(tmp_path):
    for version in (1, 2):
        (tmp_path / str(version)).mkdir()
    slow = _Slow()
    models = Models(slow.load)
    models.assign({"m": ModelTarget("m", tmp_path, POLICY(all=POLICY.All()), {})}, labels_must_be_available=False)
    worker = threading.Thread(target=models.work)
    worker.start()
    assert slow.begun.wait(5)
    started = time.monotonic()
    assert models.close(0.2)
    assert time.monotonic() - started < 2
    slow.goes_on.set()
    worker.join(5)
    assert not worker.is_alive()
    assert slow.loaded == slow.closed == [2], "what was being loaded is closed, and nothing more is loaded"


def test_the_grace_is_of_the_whole_end_not_of_each_part(monkeypatch, tmp_path):
    """A scheduler kills when its time is up: three parts that take the grace each would take three times as long."""
    (tmp_path / "models.config").write_text("")
    server = app.DevServer(ServerOptions(tmp_path / "models.config", port=0, rest_port=0, grace_seconds=1.0), print)
    server.start()
    client = ask(server.rest_port, b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    time.sleep(0.2)
    monkeypatch.setattr(Models, "work", lambda self: time.sleep(5))
    server._wake.set()
    time.sleep(0.2)
    started = time.monotonic()
    assert not server.stop()
    assert time.monotonic() - started < 1.0 + 1.0
    client.close()
