"""What executes Beam pipelines in tests: the worker pool of this project, and Beam's job servers for Flink and Spark.

A job server is made by Maven from its pom in deploy/beam, once per checkout and pom (.venvs/flink-*, .venvs/spark-*).
Where Java, Maven or Maven Central is missing, the tests that need it are skipped with these words; with
HIVEMILL_REQUIRE_FLINK=1, as in CI, they fail.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import portpicker
import pytest

REPOSITORY = Path(__file__).parents[3]
POMS = {"flink": REPOSITORY / "deploy/beam/pom.xml", "spark": REPOSITORY / "deploy/beam/spark/pom.xml"}
_MAVEN_SECONDS = 480


@contextlib.contextmanager
def worker_pool(log: Path) -> Iterator[str]:
    """host:port of our worker pool, whose PATH has no python. Its workers end with it."""
    port = portpicker.pick_unused_port()
    command = [sys.executable, "-m", "hivemill.pipeline.orchestrators.beam.worker_pool", f"--service_port={port}"]
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{Path(__file__).parent}", "PATH": "/nowhere"}
    with open(log, "ab") as stream:
        pool = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=stream, stderr=stream)
    try:
        _wait_for(port, pool, log)
        yield f"localhost:{port}"
    finally:
        pool.terminate()
        assert pool.wait(60) == 0, log.read_text()


@contextlib.contextmanager
def flink(jar: Path, folder: Path) -> Iterator[str]:
    """host:port of a job server with Flink in its own process: a job manager and a task manager, as threads."""
    (folder / "conf").mkdir()
    (folder / "conf" / "flink-conf.yaml").write_text(f"io.tmp.dirs: {folder / 'tmp'}\n")
    with _job_server(jar, folder, ["--flink-master=[local]", f"--flink-conf-dir={folder / 'conf'}"]) as endpoint:
        yield endpoint


@contextlib.contextmanager
def spark(jar: Path, folder: Path) -> Iterator[str]:
    """host:port of a job server with Spark in its own process: a driver with two threads as executors."""
    with _job_server(jar, folder, ["--spark-master-url=local[2]"]) as endpoint:
        yield endpoint


@contextlib.contextmanager
def _job_server(jar: Path, folder: Path, words: list[str]) -> Iterator[str]:
    port = portpicker.pick_unused_port()
    words = [*words, "--job-host=localhost", f"--job-port={port}", "--artifact-port=0", "--expansion-port=0"]
    log = folder / "log"
    with open(log, "wb") as stream:
        command = ["java", "-Xmx1g", f"-Djava.io.tmpdir={folder}", "-jar", str(jar), *words]
        command += [f"--artifacts-dir={folder / 'staged'}"]
        server = subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True)
    try:
        _wait_for(port, server, log)
        yield f"localhost:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(60)


def job_server_jar(engine: str) -> Path:
    """Beam's job server for an engine of POMS. Skips, or in CI fails, where it cannot be made."""
    wrong = next((f"`{name}` is missing" for name in ("java", "mvn") if shutil.which(name) is None), None)
    made = REPOSITORY / ".venvs" / f"{engine}-{hashlib.sha256(POMS[engine].read_bytes()).hexdigest()[:12]}"
    jar = made / f"{engine}-job-server.jar"
    if wrong is None and not jar.exists():
        wrong = _make(engine, made)
    if wrong is not None:
        words = f"no job server for {engine.capitalize()}: {wrong} (apt-get install maven default-jre-headless)"
        pytest.fail(words) if os.environ.get("HIVEMILL_REQUIRE_FLINK") else pytest.skip(words)
    return jar


def _make(engine: str, made: Path) -> str | None:
    """Makes the folder in one step, so that a build that was killed leaves none. Returns what went wrong."""
    made.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{engine}-", dir=made.parent) as folder:
        command = ["mvn", "-B", "-q", "-ntp", "-f", str(POMS[engine]), "package", f"-Dfolder={folder}/made"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_MAVEN_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return f"Maven has not ended after {_MAVEN_SECONDS} s"
        if done.returncode != 0:
            return "Maven says " + " ".join(done.stdout.split())[:500]
        with contextlib.suppress(OSError):  # another process was quicker
            os.rename(f"{folder}/made", made)
    return None if any(made.glob("*.jar")) else f"{made} is in the way"


def _wait_for(port: int, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=5):
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
