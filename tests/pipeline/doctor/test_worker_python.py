"""Which Python a worker pool starts: asked of real pools, Beam's with other pythons on PATH, and none."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import portpicker
import pytest
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

from hivemill.pipeline.doctor import checks, worker_python
from hivemill.pipeline.doctor.worker_python import pool_address, why_wrong
from hivemill.pipeline.orchestrators.beam.worker_pool import WorkerPool

EXTERNAL = ["--runner=PortableRunner", "--environment_type=EXTERNAL"]


@pytest.fixture
def pool_of_beam() -> Iterator[str]:
    address, server = BeamFnExternalWorkerPoolServicer.start(use_process=True)
    yield address
    server.stop(0)


@pytest.fixture
def our_pool() -> Iterator[str]:
    address, server = WorkerPool.start(use_process=True)
    yield address
    server.stop(0)


def at(address: str) -> list[str]:
    return [*EXTERNAL, "--job_endpoint=embed", f"--environment_config={address}"]


def put_on_path(monkeypatch, folder: Path, script: str | None) -> None:
    if script is not None:
        (folder / "python").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "python").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.parametrize(
    ("script", "rule"),
    [
        (None, "no `python` on PATH"),
        ("echo No module named apache_beam >&2; exit 1", "imports no Apache Beam .exit code 1: No module named"),
        ("echo hello", "does not answer as Python does"),
        ("""echo '["2.7.18", "2.77.0"]'""", "2.7.18"),
    ],
)
def test_a_wrong_python_is_named_with_its_fix(monkeypatch, tmp_path, pool_of_beam, script, rule):
    put_on_path(monkeypatch, tmp_path, script)
    (finding,) = checks._worker_pools(at(pool_of_beam))
    assert re.search(rule, finding.message)
    assert (finding.state, finding.exit_code) == ("failed", 6)
    assert "PATH" in finding.fix


def test_another_beam_is_named(monkeypatch, tmp_path):
    put_on_path(monkeypatch, tmp_path, f"""echo '["{platform.python_version()}", "2.1.0"]'""")
    assert "2.1.0" in why_wrong()
    assert metadata.version("apache-beam") in why_wrong()


def test_this_python_is_right(monkeypatch, tmp_path, pool_of_beam):
    put_on_path(monkeypatch, tmp_path, f'exec "{sys.executable}" "$@"')
    (finding,) = checks._worker_pools([*EXTERNAL, f"--environment_option=external_service_address={pool_of_beam}"])
    assert (finding.state, "Beam's own" in finding.message) == ("ok", True)


def test_our_pool_tells_what_it_has_whatever_is_on_path(monkeypatch, tmp_path, our_pool):
    put_on_path(monkeypatch, tmp_path, None)
    (finding,) = checks._worker_pools(at(our_pool))
    assert finding.state == "ok"
    assert platform.python_version() in finding.message and metadata.version("apache-beam") in finding.message


def test_our_pool_of_another_environment_is_named(monkeypatch, our_pool):
    monkeypatch.setattr(worker_python, "wanted", lambda: ["3.9.1", "2.0.0"])
    told = worker_python.versions_as_metadata()
    monkeypatch.undo()
    monkeypatch.setattr("hivemill.pipeline.orchestrators.beam.worker_pool.versions_as_metadata", lambda: told)
    (finding,) = checks._worker_pools(at(our_pool))
    assert (finding.state, finding.exit_code) == ("failed", 6)
    assert "['3.9.1', '2.0.0']" in finding.message


def test_a_pool_that_does_not_answer():
    silent = f"localhost:{portpicker.pick_unused_port()}"
    (finding,) = checks._worker_pools(at(silent))
    assert (finding.state, finding.exit_code) == ("failed", 6)
    assert f"worker_pool --service_port={silent.rpartition(':')[2]}" in finding.fix
    beside_task_managers = [*EXTERNAL, "--job_endpoint=flink:8099", f"--environment_config={silent}"]
    (finding,) = checks._worker_pools(beside_task_managers)
    assert finding.state == "note"


def test_the_path_of_another_machine_cannot_be_seen(monkeypatch, pool_of_beam):
    monkeypatch.setattr(worker_python, "_LOCAL", ())
    (finding,) = checks._worker_pools(at(pool_of_beam))
    assert (finding.state, "there" in finding.fix) == ("note", True)


@pytest.mark.parametrize("arguments", [[], ["--runner=FnApiRunner"], ["--environment_type=LOOPBACK"], EXTERNAL])
def test_options_without_a_pool(arguments):
    assert pool_address(arguments) is None
    assert list(checks._worker_pools(arguments)) == []
