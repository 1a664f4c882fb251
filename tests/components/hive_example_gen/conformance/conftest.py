"""Spark writes all tables of the suite once per run of pytest, in one session per time zone: a session costs 10 seconds
and a gigabyte, and Hive's classes keep the zone that they start in."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest

from tests.components.hive_example_gen.conformance.all_tables import ALL

_ROOT = Path(__file__).parents[4]
_PYTHON = os.environ.get("HIVEMILL_SPARK_PYTHON")
_KEPT = os.environ.get("HIVEMILL_CONFORMANCE_TABLES")  # a folder of an earlier run, while a reader is written


_OF_A_TABLE = re.compile(r"\w+: [\d.]+ s$")
_SAID = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def spark_tables(tmp_path_factory, request) -> Path:
    """The folder that spark_writes_conformance.py leaves; skips without Java or a Python with pyspark."""
    if _KEPT:
        return Path(_KEPT)
    if not _PYTHON:
        pytest.skip("HIVEMILL_SPARK_PYTHON names no Python with pyspark")
    if not shutil.which("java"):
        pytest.skip("Spark needs java")
    folder = tmp_path_factory.mktemp("conformance")
    said = request.config.stash.setdefault(_SAID, [f"pyarrow {pa.__version__}"])
    for zone in dict.fromkeys(table.zone for table in ALL):
        said += _written(folder, zone)
    return folder


def _written(folder: Path, zone: str) -> list[str]:
    """Has Spark write the tables of a zone; what it says of versions and times."""
    script = Path(__file__).with_name("spark_writes_conformance.py")
    with open(folder / "log", "a", encoding="utf-8") as log:
        done = subprocess.run(
            [_PYTHON, script, folder, zone],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},  # the tables are a package of the tests
            check=False,
        )
    assert done.returncode == 0, (folder / "log").read_text(encoding="utf-8")[-3000:]
    return done.stdout.splitlines()


def pytest_terminal_summary(terminalreporter, config):
    """Versions and times, for CI's log; the times of single tables with -v."""
    said = config.stash.get(_SAID, [])
    shown = [line for line in said if config.get_verbosity() > 0 or not _OF_A_TABLE.match(line)]
    if shown:
        terminalreporter.section("conformance with Spark")
        terminalreporter.write_line("\n".join(shown))
