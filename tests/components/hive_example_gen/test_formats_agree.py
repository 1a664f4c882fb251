"""One table, three formats: the same rows give the same features, value by value."""

import datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest

from hivemill.components.hive_example_gen.formats import reader
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.rows.flatten import flatten
from hivemill.components.hive_example_gen.table.hive_types import parse_type
from hivemill.components.hive_example_gen.table.spec import TableSpec

COLUMNS = {
    "id": "bigint",
    "small": "tinyint",
    "flag": "boolean",
    "ratio": "float",
    "price": "double",
    "exact": "decimal(8,2)",
    "name": "string",
    "day": "date",
    "at": "timestamp",
    "query": "array<string>",
    "recent": "array<bigint>",
    "context": "map<string,string>",
    "weights": "map<string,double>",
    "geo": "struct<lat:double,place:string>",
}
ROWS = [
    (
        2**63 - 1, -128, True, 0.5, -1e300, Decimal("123456.78"), "ü 日本 😀", datetime.date(2026, 2, 28),
        datetime.datetime(2026, 11, 15, 1, 2, 3, 456789), ["rote", "schuhe", ""], [1, -2], {"k": "v", "e": ""},
        {"a": 0.5}, {"lat": 1.5, "place": "x"},
    ),
    (None,) * len(COLUMNS),
    (
        0, 0, False, -0.0, 0.0, Decimal("0.00"), "", datetime.date(1969, 12, 31), datetime.datetime(1970, 1, 1), [],
        [], {}, {}, {"lat": None, "place": ""},
    ),
    (
        -(2**63), 127, None, float("inf"), 1e-300, Decimal("-0.01"), " a\tb ", datetime.date(9999, 12, 31),
        datetime.datetime(2261, 12, 31, 23, 59, 59), ["\"q\"", None, "'"], [None, 7], {"k": None, "j": "w"},
        {"b": -1.0}, {"lat": -0.5, "place": None},
    ),
]  # fmt: skip


def _as_text(value, level=2):
    if value is None:
        return "\\N"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return chr(level).join(_as_text(element, level + 1) for element in value)
    if isinstance(value, dict) and "place" in value:
        return chr(level).join(_as_text(element, level + 1) for element in value.values())
    if isinstance(value, dict):
        pairs = (_as_text(key) + chr(level + 1) + _as_text(element) for key, element in value.items())
        return chr(level).join(pairs)
    return "Infinity" if value == float("inf") else str(value)  # as Java writes it


def _write(file, file_format):
    if file_format == "text":
        file.write_text("".join("\x01".join(map(_as_text, row)) + "\n" for row in ROWS), encoding="utf-8")
        return
    schema = pa.schema([(name, parse_type(text)) for name, text in COLUMNS.items()])
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    for row in rows:
        for name in ("context", "weights"):
            row[name] = None if row[name] is None else list(row[name].items())
    table = pa.Table.from_pylist(rows, schema)
    if file_format == "parquet":
        pa.parquet.write_table(table, file)
    else:
        pa.orc.write_table(table, str(file))


@pytest.fixture(params=["text", "parquet", "orc"])
def batch(request, tmp_path):
    _write(tmp_path / "000000_0", request.param)
    spec = TableSpec(format="auto", columns=COLUMNS, partition_columns={"dt": "string"})
    (read,) = reader.read_batches(DataFile(str(tmp_path / "000000_0"), "000000_0"), spec, BadRows())
    return flatten(read)


def test_rows(batch):
    columns = {name: column.to_pylist() for name, column in zip(batch.schema.names, batch.columns, strict=True)}
    assert columns == {
        "id": [[2**63 - 1], None, [0], [-(2**63)]],
        "small": [[-128], None, [0], [127]],
        "flag": [[1], None, [0], None],
        "ratio": [[0.5], None, [-0.0], [float("inf")]],
        "price": [[float("-inf")], None, [0.0], [0.0]],  # a double becomes tf.Example's float
        "exact": [[pytest.approx(123456.78)], None, [0.0], [pytest.approx(-0.01)]],
        "name": [["ü 日本 😀".encode()], None, [b""], [b" a\tb "]],
        "day": [[b"2026-02-28"], None, [b"1969-12-31"], [b"9999-12-31"]],
        "at": [[1794704523456789], None, [0], [9214646399000000]],
        "query": [[b"rote", b"schuhe", b""], None, [], [b'"q"', b"'"]],
        "recent": [[1, -2], None, [], [7]],
        "context_keys": [[b"k", b"e"], None, [], [b"j"]],
        "context_values": [[b"v", b""], None, [], [b"w"]],
        "weights_keys": [[b"a"], None, [], [b"b"]],
        "weights_values": [[0.5], None, [], [-1.0]],
        "geo_lat": [[1.5], None, None, [-0.5]],
        "geo_place": [[b"x"], None, [b""], None],
    }
