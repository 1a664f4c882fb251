"""The generated click log, written in each format and read through the project's own DDL: the same features."""

import datetime
import json
from pathlib import Path

import pyarrow as pa
import pytest

from hivemill.components.hive_example_gen.formats import reader
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.options import SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.window import plan_window
from hivemill.components.hive_example_gen.rows.flatten import flatten
from hivemill.components.hive_example_gen.table.spec import resolve_spec
from hivemill.data.click_log.generator import generate
from hivemill.data.click_log.options import ClickLogOptions

DDL = Path(__file__).parents[3] / "schema" / "click_log.hql"
DAYS = 2


def _read(folder, file_format):
    options = ClickLogOptions(days=DAYS, rows_per_day=600, num_users=50, num_items=100, format=file_format)
    generate(options, folder)
    source = SourceOptions(
        table=str(folder), ddl=str(DDL), format=file_format, hour_column="hour", success_file="_SUCCESS"
    )
    date = options.start_date + datetime.timedelta(days=DAYS - 1)
    plan = plan_window(source, WindowOptions(train_days=1, validation_days=0), date, str(folder / "_partitions"))
    plan.check()
    spec = resolve_spec(source)
    files = [DataFile.of(source.table, file.path) for partition in plan.partitions for file in partition.files]
    return pa.Table.from_batches(
        flatten(batch) for file in files for batch in reader.read_batches(file, spec, BadRows())
    )


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    formats = ("parquet", "orc", "text")
    return {name: (folder := tmp_path_factory.mktemp(name), _read(folder, name)) for name in formats}


def test_every_row_is_read(tables):
    for folder, table in tables.values():
        truth = json.loads((folder / "_truth.json").read_text(encoding="utf-8"))
        assert table.num_rows == sum(day["rows"] for day in truth["days"].values())
        assert sum(value[0] for value in table["click"].to_pylist()) == sum(d["clicks"] for d in truth["days"].values())


@pytest.mark.parametrize("file_format", ["orc", "text"])
def test_the_formats_agree(tables, file_format):
    expected, found = tables["parquet"][1], tables[file_format][1]
    for name in expected.column_names:
        assert found[name].to_pylist() == expected[name].to_pylist(), name
