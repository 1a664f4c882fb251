"""Conformance: Spark (with Hive support) writes text, Parquet and ORC tables; its rows and Hivemill's agree by value.

Needs Java and an interpreter with pyspark, named by HIVEMILL_SPARK_PYTHON: Spark is not in the project's environment.
"""

import datetime
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from components.hive_example_gen.bad_rows import BadRows
from components.hive_example_gen.flatten import flatten
from components.hive_example_gen.formats import reader
from components.hive_example_gen.formats.opened import DataFile
from components.hive_example_gen.options import SourceOptions, WindowOptions
from components.hive_example_gen.table_spec import resolve_spec
from components.hive_example_gen.window import plan_window

_PYTHON = os.environ.get("HIVEMILL_SPARK_PYTHON")
pytestmark = [
    pytest.mark.spark,
    pytest.mark.slow,
    pytest.mark.skipif(not _PYTHON, reason="HIVEMILL_SPARK_PYTHON names no Python with pyspark"),
    pytest.mark.skipif(not shutil.which("java"), reason="Spark needs java"),
]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spark")
    script = Path(__file__).with_name("spark_writes_tables.py")
    done = subprocess.run([_PYTHON, script, folder], capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
    return folder


@pytest.mark.parametrize("file_format", ["text", "parquet", "orc"])
def test_rows_agree_with_spark(tables, file_format):
    expected = {row["id"]: row for row in json.loads((tables / f"{file_format}.json").read_text(encoding="utf-8"))}
    found = {row["id"][0]: row for row in _read(tables, file_format)}
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        wanted = {}
        for name, value in row.items():
            if name not in ("dt", "place"):
                wanted |= _flattened(name, value)
        present = {name: value for name, value in found[key].items() if value is not None}
        assert _comparable(present) == _comparable(wanted), f"row {key} of {file_format}"


@pytest.mark.parametrize("file_format", ["text", "parquet", "orc"])
def test_partition_values_are_decoded(tables, file_format):
    plan = _plan(tables, file_format)
    assert [partition.values for partition in plan.splits["eval"]] == [(("dt", "2026-11-15"), ("place", "a:b/c=d e%f"))]


def _plan(tables, file_format):
    window = WindowOptions(train_days=1, validation_days=0)
    plan = plan_window(_source(tables, file_format), window, datetime.date(2026, 11, 15), str(tables / "partitions"))
    plan.check()
    return plan


def _source(tables, file_format):
    return SourceOptions(table=str(tables / "warehouse" / file_format), ddl=str(tables / f"{file_format}.hql"))


def _read(tables, file_format):
    source = _source(tables, file_format)
    spec = resolve_spec(source)
    assert spec.format == file_format
    assert list(spec.partition_columns) == ["dt", "place"]
    for partition in _plan(tables, file_format).splits["train"]:
        for file in partition.files:
            for batch in reader.read_batches(DataFile.of(source.table, file.path), spec, BadRows()):
                yield from flatten(batch).to_pylist()


def _flattened(name, value):
    """What the contract says of Spark's value: absent features are left out."""
    if value is None:
        return {}
    if isinstance(value, dict) and "map" in value:
        items = [(key, inner) for key, inner in value["map"] if inner is not None]
        return {
            f"{name}_keys": [_leaf(key) for key, _ in items],
            f"{name}_values": [_leaf(inner) for _, inner in items],
        }
    if isinstance(value, dict) and "struct" in value:
        fields = {}
        for field, inner in value["struct"].items():
            fields |= _flattened(f"{name}_{field}", inner)
        return fields
    if isinstance(value, list):
        return {name: [_leaf(inner) for inner in value if inner is not None]}
    return {name: [_leaf(value)]}


def _leaf(value):
    if isinstance(value, dict) and "hex" in value:
        return bytes.fromhex(value["hex"])
    if isinstance(value, dict) and "micros" in value:
        return value["micros"]
    if isinstance(value, dict):
        with np.errstate(over="ignore", under="ignore"):
            return float(np.float32(float(value["float"])))
    return value.encode() if isinstance(value, str) else int(value)


def _comparable(features):
    """NaN equals itself here, and -0.0 differs from 0.0."""
    return {
        name: [repr(value) if isinstance(value, float) else value for value in values]
        for name, values in features.items()
    }
