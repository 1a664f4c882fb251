"""The DDL, the curated schema and the generated log say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from hivemill import schema
from hivemill.data.click_log import vocabulary as words
from hivemill.data.click_log.generator import click_log_options, generate
from hivemill.data.columns import COLUMNS, PARTITION_COLUMNS
from hivemill.data.hive_table import arrow_schema, create_table

KINDS = {"int": "INT", "bigint": "INT", "timestamp": "INT", "double": "FLOAT", "string": "BYTES"}
OPTIONS = {"days": 1, "rows_per_day": 480, "num_users": 300, "num_items": 200}


@pytest.fixture(scope="module")
def curated() -> schema_pb2.Schema:
    return text_format.Parse(schema.SCHEMA_PATH.read_text(encoding="utf-8"), schema_pb2.Schema())


def ddl_columns(ddl: str) -> tuple[dict[str, str], dict[str, str]]:
    columns, partitions = re.findall(r"\(\n?(.*?)\)\n?(?:COMMENT|ROW)", ddl, re.DOTALL)
    split = lambda text: dict(part.split() for part in re.split(r",(?![^<]*>)", text.strip()))  # noqa: E731
    return split(columns), split(partitions)


def flattened() -> dict[str, str]:
    """The features of tf.Example (docs: arrays are lists, a map is two lists, partition columns are features)."""
    features = {}
    for name, hive_type in {**COLUMNS, **PARTITION_COLUMNS}.items():
        element = re.sub(r"array<(.*)>", r"\1", hive_type)
        if element.startswith("map<"):
            features |= {f"{name}_keys": "BYTES", f"{name}_values": "BYTES"}
        else:
            features[name] = KINDS[element]
    return features


def test_ddl_is_that_of_the_generator():
    text = schema.DDL_PATH.read_text(encoding="utf-8")
    statement = create_table("click_log", COLUMNS, PARTITION_COLUMNS, "Impressions of an e-commerce recommender, UTC")
    assert text.endswith(statement)
    assert all(line.startswith("--") for line in text.removesuffix(statement).splitlines())
    assert ddl_columns(statement) == (COLUMNS, PARTITION_COLUMNS)


def test_schema_names_exactly_the_flattened_columns(curated):
    found = {feature.name: schema_pb2.FeatureType.Name(feature.type) for feature in curated.feature}
    assert found == flattened()
    assert list(found) == list(flattened())


def test_schema_guards_the_label(curated):
    click = {feature.name: feature for feature in curated.feature}["click"]
    assert (click.int_domain.min, click.int_domain.max) == (0, 1)
    assert click.presence.min_fraction == 1.0
    assert (click.value_count.min, click.value_count.max) == (1, 1)


def test_schema_knows_the_generators_values(curated):
    domains = {domain.name: list(domain.value) for domain in curated.string_domain}
    assert domains == {
        "age_band": list(words.AGE_BANDS),
        "gender": list(words.GENDERS),
        "category": list(words.CATEGORIES),
        "device": list(words.DEVICES),
        "context_key": list(words.CONTEXT),
        "hour": [f"{hour:02}" for hour in range(24)],
    }
    assert {feature.domain for feature in curated.feature if feature.domain} == set(domains)


def test_missing_values_stay_within_the_schemas_presence(curated, tmp_path):
    generate(click_log_options(**{**OPTIONS, "rows_per_day": 6000}, hours=False), tmp_path)
    table = pyarrow.parquet.ParquetFile(tmp_path / "dt=2026-11-09/000000_0").read()
    for feature in curated.feature:
        column = re.sub("_(keys|values)$", "", feature.name)
        if column in table.column_names:
            values = table.column(column)
            present = 1 - values.null_count / table.num_rows
            assert present >= feature.presence.min_fraction + (0.02 if values.null_count else 0), feature.name


def test_ddl_and_files_of_every_format_read_the_same(tmp_path):
    """pyarrow reads Parquet and ORC with the DDL's types and partitions, and text cut at the DDL's delimiters."""
    columns, partitions = ddl_columns(schema.DDL_PATH.read_text(encoding="utf-8"))
    declared, hive = arrow_schema(columns), pa.dataset.partitioning(arrow_schema(partitions), flavor="hive")
    tables = {}
    for name in ("parquet", "orc", "text"):
        generate(click_log_options(**OPTIONS, format=name), tmp_path / name)
    for name in ("parquet", "orc"):
        files = sorted(map(str, (tmp_path / name).rglob("000000_0")))
        whole = pa.schema([*declared, *arrow_schema(partitions)])
        tables[name] = pa.dataset.dataset(
            files, schema=whole, format=name, partitioning=hive, partition_base_dir=str(tmp_path / name)
        ).to_table()
    assert tables["parquet"].equals(tables["orc"])
    assert set(tables["orc"].column("hour").to_pylist()) == {f"{hour:02}" for hour in range(24)}
    assert _text_cells(tmp_path / "text", list(columns)) == _as_cells(tables["orc"].select(list(columns)))


def _text_cells(table: Path, names: list[str]) -> dict[str, list]:
    parse = pa.csv.ParseOptions(delimiter="\x01", quote_char=False)
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), null_values=["\\N"], strings_can_be_null=True
    )
    read = pa.csv.ReadOptions(column_names=names)
    parts = [pa.csv.read_csv(path, read, parse, convert) for path in sorted(table.rglob("000000_0"))]
    return pa.concat_tables(parts).to_pydict()


def _as_cells(table: pa.Table) -> dict[str, list]:
    """Every value as Hive writes it, in plain Python."""

    def cell(value) -> str | None:
        if isinstance(value, list):
            return "\x02".join("\x03".join(item) if isinstance(item, tuple) else str(item) for item in value)
        return None if value is None else str(value)

    table = table.set_column(0, "request_time", table.column(0).cast(pa.string()))
    return {name: [cell(value) for value in column] for name, column in table.to_pydict().items()}
