"""The features of a table, told before any conversion."""

import datetime

import pyarrow as pa
import pyarrow.parquet
import pytest

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen.options import SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.window import plan_window
from hivemill.components.hive_example_gen.table.columns import FeatureKind, example_features

DATE = datetime.date(2026, 11, 15)


def _features(folder, tables, **options):
    for back, table in enumerate(tables):
        place = folder / f"dt={DATE - datetime.timedelta(days=back)}"
        place.mkdir()
        if isinstance(table, bytes):
            (place / "000000_0").write_bytes(table)
        else:
            pa.parquet.write_table(table, place / "000000_0")
    source = SourceOptions(table=str(folder), **options)
    plan = plan_window(source, WindowOptions(train_days=1, validation_days=0), DATE, str(folder / "_partitions"))
    return example_features(source, plan)


def test_from_the_newest_file(tmp_path):
    new, old = pa.table({"a": [1], "tags": [["x"]]}), pa.table({"a": [1]})
    assert _features(tmp_path, [new, old]) == {
        "a": FeatureKind("int64", False, "a"),
        "tags": FeatureKind("bytes", True, "tags"),
        "dt": FeatureKind("bytes", False, "dt"),
    }


def test_from_declared_columns_of_text(tmp_path):
    options = {"columns": {"a": "int", "m": "map<string,double>", "x": "array<array<int>>"}, "exclude_columns": ("x",)}
    assert list(_features(tmp_path, [b"1\n", b"1\n"], **options)) == ["a", "m_keys", "m_values", "dt"]


def test_a_partition_column_may_be_excluded(tmp_path):
    assert list(_features(tmp_path, [pa.table({"a": [1]})] * 2, exclude_columns=("dt",))) == ["a"]


def test_text_without_columns(tmp_path):
    with pytest.raises(ConfigError, match="does not say its columns"):
        _features(tmp_path, [b"1\n", b"1\n"])


def test_a_declared_column_that_one_partition_has(tmp_path):
    tables = [pa.table({"a": [1]}), pa.table({"a": [1], "b": [2]})]
    assert "b" in _features(tmp_path, tables, columns={"a": "bigint", "b": "bigint"})


def test_a_declared_column_that_no_partition_has(tmp_path):
    with pytest.raises(DataNotReadyError, match=r"column 'b' is declared, but no partition .* dt=2026-11-15/000000_0"):
        _features(tmp_path, [pa.table({"a": [1]})] * 2, columns={"a": "bigint", "b": "bigint"})


def test_a_column_named_like_a_flattened_one(tmp_path):
    with pytest.raises(ConfigError, match="both become the feature 'm_keys'"):
        _features(tmp_path, [b"1\n", b"1\n"], columns={"m": "map<string,int>", "m_keys": "string"})


def test_a_declared_column_named_like_the_partition_column_is_the_partitions(tmp_path):
    assert list(_features(tmp_path, [b"1\n", b"1\n"], columns={"a": "int", "DT": "int"})) == ["a", "dt"]
