"""Conformance of partitions: names that Hive escapes, typed values, the default partition, hours that stay text.

Compared after the conversion, where the values of partition columns become features.
"""

from __future__ import annotations

import pyarrow as pa
import pytest

from hivemill.components.hive_example_gen.table.hive_types import parse_type
from hivemill.components.hive_example_gen.table.spec import resolve_spec
from tests.components.hive_example_gen.conformance.changed_tables import PARTITIONED
from tests.components.hive_example_gen.conformance.conformance_expected import flattened_as_said, hive_rows, same
from tests.components.hive_example_gen.conformance.conformance_read import (
    converted_examples,
    found_rows,
    planned,
    source_of,
)
from tests.components.hive_example_gen.conformance.conformance_tables import DAY

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("table", PARTITIONED, ids=lambda table: table.name)
def test_partition_columns_agree_with_spark(spark_tables, tmp_path, table):
    source = source_of(spark_tables, table)
    schema = resolve_spec(source).schema
    for name in table.partitioned_by:
        schema = schema.append(pa.field(name, parse_type(table.columns[name])))
    wanted = [{**flattened_as_said(row, schema), "dt": [DAY.encode()]} for row in hive_rows(spark_tables, table)]
    found = converted_examples(tmp_path, source)
    same(sorted(found, key=_id), sorted(wanted, key=_id))


@pytest.mark.parametrize("kind", ["text", "parquet", "orc", "avro"])
def test_an_hour_keeps_its_zero_where_the_table_says_string(spark_tables, kind):
    """Arrow's own datasets take 00 for a number."""
    table = next(table for table in PARTITIONED if table.name == f"hours_{kind}")
    partitions = planned(source_of(spark_tables, table), spark_tables).splits["eval"]
    values = {dict(partition.values)["hour"] for partition in partitions}
    assert values == {"00", "07", "23", "7x", None}
    assert len(found_rows(spark_tables, source_of(spark_tables, table))) == 5


def _id(row):
    return row["id"][0]
