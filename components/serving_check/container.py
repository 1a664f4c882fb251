"""tensorflow_model_server in a container, by docker's command line: no network, and two folders of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

import psutil

from hivemill.common.errors import InfrastructureError

_SECONDS = 60.0
# An image that is not here is an error: a run downloads nothing. --init passes signals on; alone, a server would be the
# container's first process, which the kernel protects from SIGTERM.
_RUN = ("run", "--rm", "--init", "--pull=never", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges")


def find_docker() -> str:
    """Raises InfrastructureError where there is none, or where it cannot share a Unix socket with this process."""
    docker = shutil.which("docker") if sys.platform == "linux" else None
    if docker is None:
        raise InfrastructureError(
            "serving_check.docker_image: there is no docker on PATH" if sys.platform == "linux"
            else f"serving_check.docker_image: a container shares no Unix socket with {sys.platform}",
            hint="Leave the key out: the dev server checks then.",
        )  # fmt: skip
    return docker


def version(docker: str, image: str, program: str) -> str:
    """The first line of the program's own answer. Raises InfrastructureError where the image does not start."""
    done = _output([docker, *_RUN, f"--entrypoint={program}", image, "--version"])
    if done.returncode or not done.stdout.strip():
        raise InfrastructureError(
            f"serving_check.docker_image: {image} does not start: {(done.stderr or 'it says nothing').strip()[-500:]}",
            hint=f"`docker pull {image}`, once; a run downloads nothing. Or leave the key out.",
        )
    return done.stdout.strip().splitlines()[0]


class Container:
    """One container to be: what starts it, what it uses, and its end."""

    def __init__(self, docker: str, image: str, program: str):
        self._docker, self._image, self._program = docker, image, program
        self._name = f"hivemill-check-{uuid.uuid4().hex[:12]}"
        self._peak = 0

    def prefix(self, places: Sequence[Path]) -> list[str]:
        """What stands before the program's options. `places`: the folder to write to, then those that are read; each
        has its own path inside too."""
        writable, *read = places
        volumes = [f"--volume={writable}:{writable}", *(f"--volume={place}:{place}:ro" for place in read)]
        settings = [f"--name={self._name}", f"--user={os.getuid()}:{os.getgid()}", "--env=TF_CPP_MIN_LOG_LEVEL=1"]
        return [self._docker, *_RUN, "--read-only", *settings, *volumes, f"--entrypoint={self._program}", self._image]

    def peak_bytes(self) -> int:
        """The largest resident memory of a process of the container so far, by the kernel's own count.

        Raises InfrastructureError where its processes cannot be seen from here: no count would pass every bound.
        """
        done = _output([self._docker, "inspect", "--format={{.State.Pid}}", self._name])
        with contextlib.suppress(ValueError, psutil.Error, OSError):
            first = psutil.Process(int(done.stdout))
            for process in (first, *first.children(recursive=True)):
                self._peak = max(self._peak, _peak_of(process.pid))
        if not self._peak:
            raise InfrastructureError(
                f"serving check: the processes of the container {self._name} cannot be seen from here",
                hint="Docker must run on this machine itself; or leave serving_check.docker_image out.",
            )
        return self._peak

    def remove(self) -> None:
        """In case that it did not end with the process of `docker run`."""
        with contextlib.suppress(InfrastructureError):
            _output([self._docker, "rm", "--force", self._name])


def _peak_of(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _output(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InfrastructureError(
            f"serving check: {command[0]} {command[1]} does not answer: {error}",
            hint="Start Docker, or leave serving_check.docker_image out.",
        ) from error
