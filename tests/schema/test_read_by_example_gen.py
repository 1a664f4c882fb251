"""HiveLogExampleGen's readers, with the committed DDL, read the generated log the same in every format."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from hivemill import schema
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.reader import read_batches
from hivemill.components.hive_example_gen.options import SourceOptions
from hivemill.components.hive_example_gen.table.spec import resolve_spec
from hivemill.data.click_log.generator import click_log_options, generate
from hivemill.data.columns import COLUMNS

PLACE = "dt=2026-11-09/hour=20/000000_0"


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, list[dict]]:
    folder = tmp_path_factory.mktemp("logs")
    for name in ("text", "parquet", "orc"):
        options = click_log_options(days=1, rows_per_day=2400, num_users=300, num_items=200, format=name)
        generate(options, folder / name)
    return {name: read(folder / name, name) for name in ("text", "parquet", "orc")}


def read(folder: Path, file_format: str) -> list[dict]:
    source = SourceOptions(table=str(folder), ddl=str(schema.DDL_PATH), format=file_format)
    batches = read_batches(DataFile.of(str(folder), PLACE), resolve_spec(source), BadRows())
    return pa.Table.from_batches(batches).to_pylist()


def test_every_format_reads_the_same(tables):
    assert list(tables["text"][0]) == list(COLUMNS)
    assert len(tables["text"]) > 100
    assert tables["text"] == tables["parquet"] == tables["orc"]


def test_nulls_and_empty_arrays_stay_apart(tables):
    queries = [row["query"] for row in tables["text"]]
    assert None in queries and [] in queries
