"""Folders of lake tables are refused by name wherever a table is read: their log says which files hold rows."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.catalog import directory, metastore
from hivemill.components.hive_example_gen.options import SourceOptions
from hivemill.components.hive_example_gen.table.definition import TableDefinition
from hivemill.pipeline.scaffold.partitions import find_partitioning

DAY = datetime.date(2026, 11, 15)


def _parquet(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"user_id": [3, 4, 5], "click": [0, 1, 0]}), path)


def _delta(folder: Path) -> Path:
    """Laid out as Delta's protocol says: a log of commits beside the partitions' files."""
    _parquet(folder / "delta" / "dt=2026-11-15" / "part-00000-a.c000.snappy.parquet")
    (folder / "delta" / "_delta_log").mkdir()
    (folder / "delta" / "_delta_log" / "00000000000000000000.json").write_text('{"commitInfo":{}}')
    return folder / "delta"


def _iceberg(folder: Path) -> Path:
    """Laid out as the Iceberg specification says; no row is read, so no metadata is needed."""
    _parquet(folder / "t" / "data" / "dt=2026-11-15" / "00000-0-a.parquet")
    (folder / "t" / "metadata").mkdir()
    (folder / "t" / "metadata" / "00000-9c12d441.metadata.json").write_text("{}")
    return folder / "t" / "data"


def _below(folder: Path) -> Path:
    """A folder of the table that has dt=... folders of its own, such as `region=eu`."""
    _parquet(folder / "region=eu" / "dt=2026-11-15" / "a.parquet")
    return folder / "region=eu"


def _compressed(folder: Path) -> Path:
    metadata = folder.parent / "metadata"
    next(metadata.iterdir()).rename(metadata / "v3.metadata.json.gz")
    return folder


def _hudi(folder: Path) -> Path:
    _parquet(folder / "hudi" / "dt=2026-11-15" / "0a1b2c3d-0_0-22-23_20261115010101000.parquet")
    (folder / "hudi" / ".hoodie").mkdir()
    return folder / "hudi"


def _streaming_sink(folder: Path) -> Path:
    _parquet(folder / "sink" / "dt=2026-11-15" / "part-0.parquet")
    (folder / "sink" / "_spark_metadata").mkdir()
    return folder / "sink"


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (_delta, "Delta Lake .found _delta_log"),
        (lambda folder: _below(_delta(folder)), r"Delta Lake .found .*/delta/_delta_log"),
        (_iceberg, r"Iceberg .found .*/t/metadata/\d+.*metadata\.json"),
        (lambda folder: _iceberg(folder).parent, "Iceberg"),
        (lambda folder: _below(_iceberg(folder)), "Iceberg"),
        (lambda folder: _compressed(_iceberg(folder)), r"Iceberg .found .*v3\.metadata\.json\.gz"),
        (_hudi, r"Hudi .found \.hoodie"),
        (_streaming_sink, "a sink of Spark Structured Streaming"),
        (lambda folder: _below(_streaming_sink(folder)), "a sink of Spark Structured Streaming"),
    ],
    ids=[
        *("delta", "below delta", "iceberg's data", "iceberg", "below iceberg", "old iceberg", "hudi"),
        *("streaming sink", "below the sink"),
    ],
)
def test_lake_tables_are_refused_in_plans_and_by_init(tmp_path, make, kind):
    source = SourceOptions(table=str(make(tmp_path)))
    with pytest.raises(ConfigError, match=rf"source\.table: .* belongs to a lake table, {kind}") as error:
        directory.list_days(source, ("dt",), [DAY])
    assert "source.query" in str(error.value.hint)
    with pytest.raises(ConfigError, match=kind):
        find_partitioning(source)


def test_a_plain_table_named_data_is_read(tmp_path):
    _parquet(tmp_path / "data" / "dt=2026-11-15" / "a.parquet")
    (tmp_path / "metadata").mkdir()  # of something else
    found = directory.list_days(SourceOptions(table=str(tmp_path / "data")), ("dt",), [DAY])
    assert len(found.partitions[DAY]) == 1


def test_a_metastores_table_over_a_lake_tables_folder_is_refused(tmp_path):
    definition = TableDefinition(name="db.t", columns={"c": "int"}, partition_columns={"dt": "string"})
    definition.location = str(_delta(tmp_path))
    with pytest.raises(ConfigError, match=r"the location of db\.t: .* belongs to a lake table, Delta Lake"):
        metastore._check_location(definition)
    definition.location = str(tmp_path / "nowhere")
    metastore._check_location(definition)
