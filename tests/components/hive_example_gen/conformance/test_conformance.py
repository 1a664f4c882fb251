"""Conformance: what Spark (with Hive's SerDes) wrote, Hivemill reads value by value as Spark SQL does.

Spark 4.0 reads text, SequenceFile, RCFile and Avro tables through Hive 2.3's own SerDes, so that there its rows are
Hive's. Parquet and ORC it reads with readers of its own. differences.py lists every value that is another one.
"""

from __future__ import annotations

import pyarrow.orc
import pyarrow.parquet
import pytest

from hivemill.common.errors import DataNotReadyError
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.options import BadRowOptions
from hivemill.components.hive_example_gen.table.spec import resolve_spec
from tests.components.hive_example_gen.conformance.all_tables import ALL, UNPARTITIONED
from tests.components.hive_example_gen.conformance.changed_tables import LEGACY_MODE, SILENT_WRITERS
from tests.components.hive_example_gen.conformance.conformance_expected import (
    flattened_as_said,
    hive_rows,
    same,
    spark_rows,
)
from tests.components.hive_example_gen.conformance.conformance_read import (
    converted_examples,
    flat_rows,
    found_rows,
    source_of,
)
from tests.components.hive_example_gen.conformance.conformance_tables import DAY
from tests.components.hive_example_gen.conformance.differences import DIFFERENCES

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(1800)]
BY_NAME = {table.name: table for table in ALL}
SEVERAL_PARTS = ("many_stripes", "many_row_groups")
TOO_DEEP = ("grid", "carts", "page", "steps", "items")
"""Columns that tf.Example cannot hold: read and compared before they are flattened, excluded after that."""


@pytest.mark.parametrize("table", [t for t in UNPARTITIONED if t.name not in LEGACY_MODE], ids=lambda table: table.name)
def test_rows_agree_with_spark(spark_tables, table):
    expected = hive_rows(spark_tables, table)
    found = found_rows(spark_tables, source_of(spark_tables, table))
    same(found, expected, in_order=len(table.files) < 2)


@pytest.mark.parametrize("name", [name for name in DIFFERENCES if name in BY_NAME])
def test_a_difference_from_spark_is_one(spark_tables, name):
    """Otherwise the list of differences would grow stale."""
    spark = spark_rows(spark_tables, BY_NAME[name])
    for difference in DIFFERENCES[name]:
        hive = difference.hive(spark)
        assert hive != spark and difference.why
        spark = hive


def test_the_large_tables_have_several_parts(spark_tables):
    """Otherwise they would show nothing of how parts are joined."""
    files = {name: next((spark_tables / "tables" / name / f"dt={DAY}").glob("part-*")) for name in SEVERAL_PARTS}
    assert pyarrow.orc.ORCFile(files["many_stripes"]).nstripes > 1
    assert pyarrow.parquet.read_metadata(files["many_row_groups"]).num_row_groups > 1


def test_differences_name_tables():
    assert DIFFERENCES.keys() <= BY_NAME.keys()


@pytest.mark.parametrize("name", ["odd_booleans", "odd_dates", "odd_timestamps"])
def test_by_default_a_value_that_does_not_parse_sets_its_row_aside(spark_tables, name):
    table = BY_NAME[name]
    content = next(iter(table.files.values())).decode()
    texts = [text for text in content.split("\n")[:-1]]
    as_null = hive_rows(spark_tables, table)
    kept = [row for row, text in zip(as_null, texts, strict=True) if None not in row.values() or text in ("", "\\N")]
    assert 0 < len(kept) < len(texts)
    source = source_of(spark_tables, table).model_copy(update={"bad_rows": BadRowOptions()})
    bad = BadRows(source.bad_rows)
    same(found_rows(spark_tables, source, bad), kept)
    assert bad.counts == {"value": len(texts) - len(kept)}


@pytest.mark.parametrize("kind", ["parquet", "orc"])
def test_a_narrower_type_is_refused(spark_tables, tmp_path, kind):
    """Hive would read NULL or other numbers."""
    source = _narrower(spark_tables, tmp_path, kind)
    with pytest.raises(DataNotReadyError, match="column 'count' is int in the file, declared smallint"):
        found_rows(spark_tables, source)


def test_an_avro_number_beyond_the_declared_type_sets_its_row_aside(spark_tables, tmp_path):
    """Avro has no smallint: Hive writes an int for it."""
    source = _narrower(spark_tables, tmp_path, "avro").model_copy(update={"bad_rows": BadRowOptions()})
    bad = BadRows(source.bad_rows)
    assert [row["count"] for row in found_rows(spark_tables, source, bad)] == [None, 0]
    assert bad.counts == {"value": 2}


def _narrower(spark_tables, tmp_path, kind):
    table = BY_NAME[f"widened_{kind}"]
    ddl = tmp_path / "narrower.hql"
    ddl.write_text(table.ddl().replace("`count` bigint", "`count` smallint"), encoding="utf-8")
    return source_of(spark_tables, table).model_copy(update={"ddl": str(ddl)})


@pytest.mark.parametrize("writer", SILENT_WRITERS)
def test_days_of_an_unknown_calendar_are_refused(spark_tables, writer):
    source = source_of(spark_tables, BY_NAME[f"old_{writer}"]).model_copy(update={"serde_properties": {}})
    with pytest.raises(DataNotReadyError, match="before 1582-10-15"):
        found_rows(spark_tables, source)


@pytest.mark.parametrize("name", LEGACY_MODE)
def test_old_instants_of_sparks_legacy_mode_are_refused_and_days_read(spark_tables, name):
    table = BY_NAME[name]
    with pytest.raises(DataNotReadyError, match="before 1582-10-15 of Spark's legacy mode"):
        found_rows(spark_tables, source_of(spark_tables, table))
    days = [{"id": row["id"], "day": row["day"]} for row in spark_rows(spark_tables, table)]
    same(found_rows(spark_tables, source_of(spark_tables, table, exclude=("at", "seen"))), days)


@pytest.mark.parametrize("table", [t for t in ALL if "\\" not in t.stored], ids=lambda t: t.name)
def test_show_create_table_says_the_same_as_the_ddl(spark_tables, table):
    """Spark prints a backslash in a property unescaped: Hive cannot read such a statement either."""
    source = source_of(spark_tables, table)
    written = resolve_spec(source)
    shown = resolve_spec(source.model_copy(update={"ddl": str(spark_tables / f"{table.name}.shown.hql")}))
    assert {name: kind.lower() for name, kind in shown.partition_columns.items()} == written.partition_columns
    assert shown.format == written.format
    assert shown.schema == written.schema or written.format == "avro"  # where Hive itself makes an int of a tinyint
    assert shown.text == written.text
    if written.format in ("text", "sequence_file", "rcfile"):
        assert shown.serde_for(shown.format) == written.serde_for(written.format)


_ONE_PER_FORMAT = [
    "text_escaped", "text_gzip", "csv_quotes", "regex", "sequence", "sequence_binary_block", "rcfile_columnar",
    "rcfile_binary", "parquet", "parquet_hive", "orc", "avro",
]  # fmt: skip


@pytest.mark.parametrize("name", [*_ONE_PER_FORMAT, "text", "parquet_micros", "orc_hive", "added_text", "added_orc"])
def test_flattened_rows_are_what_the_contract_says(spark_tables, name):
    table = BY_NAME[name]
    source = source_of(spark_tables, table, exclude=TOO_DEEP)
    wanted = [flattened_as_said(row, resolve_spec(source).schema) for row in hive_rows(spark_tables, table)]
    same(flat_rows(spark_tables, source), wanted)


@pytest.mark.parametrize("name", _ONE_PER_FORMAT)
def test_a_converted_partition_holds_the_same_examples(spark_tables, tmp_path, name):
    table = BY_NAME[name]
    source = source_of(spark_tables, table, exclude=TOO_DEEP)
    wanted = [flattened_as_said(row, resolve_spec(source).schema) for row in hive_rows(spark_tables, table)]
    same(converted_examples(tmp_path, source), [{**row, "dt": [DAY.encode()]} for row in wanted])
