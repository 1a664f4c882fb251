"""The server in a fresh process: tensorflow_model_server where there is one, by path or in a container, else the dev
server.

It listens at a Unix socket in a folder that only this user can enter; no port is taken.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import hivemill
from hivemill.common.errors import InfrastructureError
from hivemill.components.serving_check import container
from hivemill.components.serving_check.container import Container

MODEL, VERSION = "model", 1
BINARY = "tensorflow_model_server"
DEV_SERVER = "dev server"
_STOP_SECONDS = 10.0
_LOG_TAIL = 1500


@dataclasses.dataclass(frozen=True)
class ServerKind:
    """`name` is what the result says; `binary` is None for the dev server, and docker where there is an `image`."""

    name: str
    binary: str | None
    version: str
    image: str | None = None

    @property
    def place(self) -> str | None:
        return f"{self.binary} run {self.image}" if self.image else self.binary


def find_server(wanted: str | None, image: str | None = None) -> ServerKind:
    """Raises InfrastructureError where `wanted` is no program that starts, or `image` none that is here."""
    if image:
        docker = container.find_docker()
        return ServerKind(BINARY, docker, container.version(docker, image, BINARY), image)
    binary = shutil.which(wanted) if wanted else shutil.which(BINARY)
    if binary is None:
        if wanted:
            raise InfrastructureError(
                f"serving_check.model_server: {wanted} is no program",
                hint="Correct the path, or leave the key out: the dev server checks then.",
            )
        return ServerKind(DEV_SERVER, None, _own_version())
    return ServerKind(BINARY, binary, _version_of(binary))


class ServerProcess:
    """A running server; `memory_bytes` is the peak of its resident memory so far."""

    def __init__(self, kind: ServerKind, saved_model: Path, folder: Path):
        self.kind = kind
        self.socket = folder / "grpc.sock"
        self.started = time.monotonic()
        self._log = folder / "log.txt"
        self._container = Container(kind.binary, kind.image, BINARY) if kind.binary and kind.image else None
        self._process = self._start(_laid_out(saved_model, folder), [folder, saved_model.absolute()])
        self._memory = _Memory(self._process.pid)

    @property
    def target(self) -> str:
        return f"unix:{self.socket}"

    def check_alive(self, seconds: float = 0.0) -> None:
        """Raises InfrastructureError with the end of the log where the process has ended, or does within `seconds`."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise InfrastructureError(
            f"serving check: the {self.kind.name} ended by itself ({how})", hint=self.log_tail() or "It wrote no log."
        )

    def memory_bytes(self) -> int:
        return self._container.peak_bytes() if self._container else self._memory.peak_bytes()

    def log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return self._log.read_text("utf-8", "replace").strip()[-_LOG_TAIL:]
        return ""

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            if self._container:
                self._container.remove()
            self._memory.stop()
            if self._process.stdin:
                self._process.stdin.close()

    def _start(self, config: Path, places: list[Path]) -> subprocess.Popen[bytes]:
        with open(self._log, "wb") as log:
            return subprocess.Popen(
                _command(self.kind, config, self.socket, self._container.prefix(places) if self._container else None),
                stdin=subprocess.PIPE,  # the dev server ends with it, so with this process
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(os.environ),
                start_new_session=True,  # Ctrl-C is for the run, which then stops the server
            )


@contextlib.contextmanager
def running_server(kind: ServerKind, saved_model: Path) -> Iterator[ServerProcess]:
    """Started, not yet ready; stopped and its folder removed in any case."""
    with tempfile.TemporaryDirectory(prefix="hivemill-check-") as folder:
        server = ServerProcess(kind, saved_model, Path(folder))
        try:
            yield server
        finally:
            server.stop()


def _command(kind: ServerKind, config: Path, socket: Path, in_container: list[str] | None = None) -> list[str]:
    if kind.binary is None:
        module = [sys.executable, "-m", "hivemill.serving.server", "--exit-with-parent"]
        return [*module, "--model-config", str(config), "--socket", str(socket)]
    # The kernel ends it with this process; without setpriv (util-linux) a run that is killed leaves it behind.
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    prefix = [setpriv, "--pdeathsig", "TERM"] if setpriv else []
    options = ["--port=0", "--rest_api_port=0", f"--grpc_socket_path={socket}", f"--model_config_file={config}"]
    # By default it tries a model that does not load five more times, a minute apart, before it says why.
    return [*prefix, *(in_container or [kind.binary]), *options, "--max_num_load_retries=0"]


def _environment(outer: Mapping[str, str]) -> dict[str, str]:
    """The server finds this code wherever the run was started from."""
    path = os.pathsep.join([str(Path(hivemill.__file__).parents[1]), *filter(None, [outer.get("PYTHONPATH")])])
    return {**outer, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "1"}


def _laid_out(saved_model: Path, folder: Path) -> Path:
    """`saved_model` as version 1 of a store of its own; its models.config."""
    base = folder / MODEL
    base.mkdir()
    (base / str(VERSION)).symlink_to(saved_model.absolute())
    config = folder / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "{MODEL}" base_path: "{base}" model_platform: "tensorflow" }} }}\n'
    )
    return config


def _version_of(binary: str) -> str:
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InfrastructureError(
            f"serving check: {binary} does not start: {error}", hint="Correct serving_check.model_server, or remove it."
        ) from error
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else "unknown"


def _own_version() -> str:
    from importlib import metadata

    return metadata.version("hivemill")


class _Memory:
    """The peak of a process: the kernel's own count on Linux, samples elsewhere."""

    def __init__(self, pid: int):
        self._status = Path(f"/proc/{pid}/status")
        self._pid, self._peak = pid, 0
        self._done = threading.Event()
        if not self._status.exists():
            threading.Thread(target=self._sample, daemon=True).start()

    def peak_bytes(self) -> int:
        with contextlib.suppress(OSError):
            for line in self._status.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    self._peak = max(self._peak, int(line.split()[1]) * 1024)
        return self._peak

    def stop(self) -> None:
        self._done.set()

    def _sample(self) -> None:
        import psutil

        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self._pid)
            while not self._done.wait(0.1):
                self._peak = max(self._peak, process.memory_info().rss)
