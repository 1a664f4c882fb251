"""Hive type strings."""

import pyarrow as pa
import pytest

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.table.hive_types import name_of, parse_type, text_length


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tinyint", pa.int8()),
        ("SMALLINT", pa.int16()),
        ("int", pa.int32()),
        ("integer", pa.int32()),
        ("bigint", pa.int64()),
        ("float", pa.float32()),
        ("double", pa.float64()),
        ("double precision", pa.float64()),
        ("boolean", pa.bool_()),
        ("string", pa.string()),
        ("varchar(10)", pa.string()),
        ("char( 3 )", pa.string()),
        ("binary", pa.binary()),
        ("date", pa.date32()),
        ("timestamp", pa.timestamp("us")),
        ("decimal", pa.decimal128(10, 0)),
        ("decimal(12)", pa.decimal128(12, 0)),
        ("decimal(12, 2)", pa.decimal128(12, 2)),
        ("array<bigint>", pa.list_(pa.int64())),
        ("map<string,double>", pa.map_(pa.string(), pa.float64())),
        ("struct<a:int, B:array<string>>", pa.struct([("a", pa.int32()), ("b", pa.list_(pa.string()))])),
        ("struct<`order`:int>", pa.struct([("order", pa.int32())])),
        ("array<struct<x:decimal(4,2)>>", pa.list_(pa.struct([("x", pa.decimal128(4, 2))]))),
    ],
)
def test_types(text, expected):
    assert parse_type(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("strng", "'strng' is no supported type"),
        ("", "expected a type at its end"),
        ("array<int", "expected '>' at its end"),
        ("array<int>>", "unexpected '>'"),
        ("map<int>", "expected ',', found '>'"),
        ("map<array<int>,int>", "the key of a map must be a primitive type"),
        ("struct<a int>", "expected ':', found 'int'"),
        ("struct<a:int,A:int>", "names a field twice"),
        ("decimal(39,2)", "1 <= precision <= 38"),
        ("decimal(4,5)", "0 <= scale <= precision"),
        ("varchar", "expected '\\('"),
        ("varchar(x)", "expected a number, found 'x'"),
        ("uniontype<int,string>", "no supported type"),
        ("timestamp with local time zone", "local time zone are not supported"),
        ("int;drop", "unexpected ';'"),
    ],
)
def test_what_is_no_type_is_refused(text, problem):
    with pytest.raises(ConfigError, match=problem) as raised:
        parse_type(text)
    assert repr(text) in raised.value.message


@pytest.mark.parametrize("text", ["array<bigint>", "map<string,int>", "struct<a:int,b:array<string>>", "decimal(4,2)"])
def test_names_are_hives(text):
    assert name_of(parse_type(text)) == text


def test_bounded_text_has_a_length():
    assert text_length("VARCHAR(12)") == ("varchar", 12)
    assert text_length("char(3)") == ("char", 3)
    assert text_length("string") is None
