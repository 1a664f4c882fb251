"""The `python` that Beam's worker pool would start, with real others on PATH."""

from __future__ import annotations

import platform
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

from pipeline import doctor
from pipeline.worker_python import local_pool, why_wrong

EXTERNAL = ["--runner=PortableRunner", "--environment_type=EXTERNAL"]


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
def test_a_wrong_python_is_named_with_its_fix(monkeypatch, tmp_path, script, rule):
    put_on_path(monkeypatch, tmp_path, script)
    (finding,) = doctor._worker_pools([*EXTERNAL, "--environment_config=localhost:50000"])
    assert re.search(rule, finding.message)
    assert (finding.state, finding.exit_code) == ("failed", 6)
    assert "PATH" in finding.fix


def test_another_beam_is_named(monkeypatch, tmp_path):
    put_on_path(monkeypatch, tmp_path, f"""echo '["{platform.python_version()}", "2.1.0"]'""")
    assert "2.1.0" in why_wrong()
    assert metadata.version("apache-beam") in why_wrong()


def test_this_python_is_right(monkeypatch, tmp_path):
    put_on_path(monkeypatch, tmp_path, f'exec "{sys.executable}" "$@"')
    (finding,) = doctor._worker_pools([*EXTERNAL, "--environment_option=external_service_address=localhost:50000"])
    assert finding.state == "ok"


@pytest.mark.parametrize(
    "arguments",
    [[], ["--runner=FnApiRunner"], ["--environment_type=LOOPBACK"], [*EXTERNAL, "--environment_config=pool:50000"]],
)
def test_what_starts_no_pool_here_is_not_examined(arguments):
    assert local_pool(arguments) is None
    assert list(doctor._worker_pools(arguments)) == []
