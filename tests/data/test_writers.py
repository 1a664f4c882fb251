"""Hive text and the other formats, value by value."""

from __future__ import annotations

import datetime

import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest

from hivemill.data.hive_table import arrow_schema
from hivemill.data.writers import open_writer

COLUMNS = {
    "when": "timestamp",
    "number": "bigint",
    "price": "double",
    "flag": "boolean",
    "words": "array<string>",
    "ids": "array<bigint>",
    "context": "map<string,string>",
    "city": "string",
}
ROWS = [
    (datetime.datetime(2026, 11, 15, 7, 0, 0, 123000), 2**60, 12.0, True, ["a", "é"], [1, -2], {"k": "v"}, "東京"),
    (None, None, None, None, None, None, None, None),
    (datetime.datetime(1969, 12, 31, 23, 59, 59), -1, 0.1, False, [], [], {}, ""),
    (datetime.datetime(2026, 11, 15), 0, 1e-7, False, ["x"], [7], {"a": "1", "b": "2"}, "z"),
]


def table(rows=ROWS) -> pa.Table:
    names = list(COLUMNS)
    maps = [{**dict(zip(names, row, strict=True))} for row in rows]
    for row in maps:
        row["context"] = None if row["context"] is None else list(row["context"].items())
    return pa.Table.from_pylist(maps, schema=arrow_schema(COLUMNS))


def write(file_format: str, path, *tables: pa.Table) -> None:
    with open_writer(file_format, path, arrow_schema(COLUMNS)) as writer:
        for each in tables:
            writer.write(each)


def test_text_is_hives(tmp_path):
    write("text", tmp_path / "000000_0", table())
    assert (tmp_path / "000000_0").read_bytes().decode().split("\n") == [
        "2026-11-15 07:00:00.123000\x011152921504606846976\x0112.0\x01true\x01a\x02é\x011\x02-2\x01k\x03v\x01東京",
        "\\N\x01\\N\x01\\N\x01\\N\x01\\N\x01\\N\x01\\N\x01\\N",
        "1969-12-31 23:59:59.000000\x01-1\x010.1\x01false\x01\x01\x01\x01",
        "2026-11-15 00:00:00.000000\x010\x011e-7\x01false\x01x\x017\x01a\x031\x02b\x032\x01z",
        "",
    ]


@pytest.mark.parametrize("file_format", ["text", "parquet", "orc"])
def test_slices_and_chunks_write_the_same_as_the_whole(file_format, tmp_path):
    """A sliced Arrow array keeps its parent's buffers: offsets and null masks are easy to get wrong."""
    many = pa.concat_tables([table(), table(), table()])
    write(file_format, tmp_path / "whole", many.combine_chunks())
    write(file_format, tmp_path / "parts", many.slice(0, 3), many.slice(3, 0), many.slice(3, 6), many.slice(9))
    read = {"text": lambda path: path.read_bytes(), "parquet": _parquet, "orc": lambda path: pa.orc.read_table(path)}
    whole, parts = read[file_format](tmp_path / "whole"), read[file_format](tmp_path / "parts")
    assert whole == parts if file_format == "text" else whole.equals(parts)


def _parquet(path) -> pa.Table:
    return pa.parquet.ParquetFile(path).read()


@pytest.mark.parametrize("file_format", ["parquet", "orc"])
def test_columnar_formats_keep_every_value(file_format, tmp_path):
    write(file_format, tmp_path / "000000_0", table())
    path = tmp_path / "000000_0"
    found = _parquet(path) if file_format == "parquet" else pa.orc.read_table(path)
    assert found.cast(arrow_schema(COLUMNS)).equals(table())
    assert path.read_bytes()[:3] == {"parquet": b"PAR", "orc": b"ORC"}[file_format]


def test_parquet_is_as_hive_writes_it(tmp_path):
    write("parquet", tmp_path / "000000_0", table())
    file = pa.parquet.ParquetFile(tmp_path / "000000_0")
    assert file.metadata.row_group(0).column(0).compression == "SNAPPY"
    assert file.schema.column(0).physical_type == "INT96"


@pytest.mark.parametrize("file_format", ["text", "parquet", "orc"])
def test_no_rows_give_a_readable_file(file_format, tmp_path):
    write(file_format, tmp_path / "000000_0", table([]))
    path = tmp_path / "000000_0"
    if file_format == "text":
        assert path.read_bytes() == b""
    else:
        found = _parquet(path) if file_format == "parquet" else pa.orc.read_table(path)
        assert (found.num_rows, found.column_names) == (0, list(COLUMNS))
