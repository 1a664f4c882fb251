"""Spark writes all tables of the suite once per run of pytest, in one session per time zone: a session costs 10 seconds
and a gigabyte, and Hive's classes keep the zone that they start in."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from all_tables import ALL

_PYTHON = os.environ.get("HIVEMILL_SPARK_PYTHON")
_KEPT = os.environ.get("HIVEMILL_CONFORMANCE_TABLES")  # a folder of an earlier run, while a reader is written


@pytest.fixture(scope="session")
def spark_tables(tmp_path_factory) -> Path:
    """The folder that spark_writes_conformance.py leaves; skips without Java or a Python with pyspark."""
    if _KEPT:
        return Path(_KEPT)
    if not _PYTHON:
        pytest.skip("HIVEMILL_SPARK_PYTHON names no Python with pyspark")
    if not shutil.which("java"):
        pytest.skip("Spark needs java")
    folder = tmp_path_factory.mktemp("conformance")
    script = Path(__file__).with_name("spark_writes_conformance.py")
    for zone in dict.fromkeys(table.zone for table in ALL):
        with open(folder / "log", "a", encoding="utf-8") as log:
            done = subprocess.run(
                [_PYTHON, script, folder, zone], stdout=subprocess.PIPE, stderr=log, text=True, check=False
            )
        print(done.stdout)
        assert done.returncode == 0, (folder / "log").read_text(encoding="utf-8")[-3000:]
    return folder
