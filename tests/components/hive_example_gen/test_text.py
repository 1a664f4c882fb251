"""Hive text, byte by byte, as LazySimpleSerDe reads it."""

import datetime
import gzip
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError, DataNotReadyError
from components.hive_example_gen.bad_rows import BadRows
from components.hive_example_gen.formats import columnar, text
from components.hive_example_gen.formats.opened import DataFile
from components.hive_example_gen.options import TextOptions
from components.hive_example_gen.table_spec import TableSpec


def _spec(columns, **options):
    return TableSpec(format="text", columns=columns, partition_columns={"dt": "string"}, **options)


def _read(tmp_path, data, columns, **options):
    (tmp_path / "000000_0").write_bytes(data)
    batches = text.read_batches(
        DataFile(str(tmp_path / "000000_0"), "dt=x/000000_0"), _spec(columns, **options), BadRows()
    )
    return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize(
    ("hive_type", "written", "expected"),
    [
        ("string", b"a", "a"),
        ("string", b"", ""),
        ("string", b"\\N", None),
        ("string", b"\\n", "\\n"),
        ("string", b"NULL", "NULL"),
        ("string", "\"quoted\" 'x' ü 日本 😀".encode(), "\"quoted\" 'x' ü 日本 😀"),
        ("string", b" spaces\t", " spaces\t"),
        ("string", b"a\x00b", "a\x00b"),
        ("string", b"\\\\", "\\\\"),
        ("varchar(3)", "üüüü".encode(), "üüü"),
        ("char(4)", b"ab  ", "ab"),
        ("tinyint", b"-128", -128),
        ("bigint", b"9223372036854775807", 9223372036854775807),
        ("int", b"\\N", None),
        ("int", b"", None),
        ("int", b"007", 7),
        ("double", b"1e-3", 0.001),
        ("double", b"-Infinity", float("-inf")),
        ("float", b"0.5", 0.5),
        ("decimal(6,2)", b"1.005", Decimal("1.01")),
        ("decimal(6,2)", b"-7", Decimal("-7.00")),
        ("boolean", b"TRUE", True),
        ("boolean", b"false", False),
        ("boolean", b"\\N", None),
        ("date", b"1969-12-31", datetime.date(1969, 12, 31)),
        ("timestamp", b"2026-11-15 01:02:03", datetime.datetime(2026, 11, 15, 1, 2, 3)),
        ("timestamp", b"2026-11-15 01:02:03.5", datetime.datetime(2026, 11, 15, 1, 2, 3, 500_000)),
        ("timestamp", b"9999-12-31 23:59:59.123456789", datetime.datetime(9999, 12, 31, 23, 59, 59, 123456)),
        ("binary", b"AP8=", b"\x00\xff"),
        ("binary", b"no base64!", b"no base64!"),
        ("array<string>", b"a\x02b", ["a", "b"]),
        ("array<string>", b"", []),
        ("array<string>", b"\\N", None),
        ("array<string>", b"a\x02", ["a", ""]),
        ("array<string>", b"\x02\\N", ["", None]),
        ("array<bigint>", b"1\x02\\N\x02-3", [1, None, -3]),
        ("array<array<int>>", b"1\x032\x02\x023", [[1, 2], [], [3]]),
        ("map<string,int>", b"k\x031\x02j\x03\\N", [("k", 1), ("j", None)]),
        ("map<string,string>", b"k\x03a\x03b\x02only", [("k", "a\x03b"), ("only", None)]),
        ("map<string,string>", b"", []),
        ("map<string,string>", b"\\N", None),
        ("map<string,array<int>>", b"k\x031\x042", [("k", [1, 2])]),
        ("struct<a:int,b:string>", b"1\x02x", {"a": 1, "b": "x"}),
        ("struct<a:int,b:string>", b"1", {"a": 1, "b": None}),
        ("struct<a:int>", b"1\x022", {"a": 1}),
        ("struct<a:int>", b"\\N", None),
        ("struct<a:array<int>,m:map<string,int>>", b"1\x032\x02k\x045", {"a": [1, 2], "m": [("k", 5)]}),
    ],
)
def test_values(tmp_path, hive_type, written, expected):
    rows = _read(tmp_path, b"before\x01" + written + b"\nx\x01\\N\n", {"s": "string", "c": hive_type})
    assert rows == [("before", expected), ("x", None)]


def test_an_empty_line_among_whole_rows_is_a_short_row(tmp_path):
    columns = {"a": "string", "b": "string"}
    assert _read(tmp_path, b"1\x01x\n\n2\x01y\n", columns) == [("1", "x"), ("", None), ("2", "y")]
    assert _read(tmp_path, b"\n\n1\x01x", columns) == [("", None), ("", None), ("1", "x")]
    assert _read(tmp_path, b"a\n\nb\n", {"a": "string"}) == [("a",), ("",), ("b",)]


def test_short_rows_are_padded_and_long_rows_cut(tmp_path):
    data = b"a\n\nb\x011\x012\x013\nc\x012\x01z\n"
    assert _read(tmp_path, data, {"s": "string", "i": "int", "t": "string"}) == [
        ("a", None, None),
        ("", None, None),
        ("b", 1, "2"),
        ("c", 2, "z"),
    ]


def test_a_file_from_before_a_column_was_added(tmp_path):
    assert _read(tmp_path, b"a\x011\nb\x012\n", {"s": "string", "i": "int", "new": "array<string>"}) == [
        ("a", 1, None),
        ("b", 2, None),
    ]


def test_a_file_with_more_columns_than_declared(tmp_path):
    assert _read(tmp_path, b"a\x01junk\nb\x01\xc3\xbc\n", {"s": "string"}) == [("a",), ("b",)]


def test_excluded_columns_are_not_parsed(tmp_path):
    rows = _read(tmp_path, b"x\x01no number\x01y\n", {"a": "string", "b": "int", "c": "string"}, exclude_columns=("B",))
    assert rows == [("x", "y")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_are_hadoops(tmp_path, monkeypatch, end, last):
    monkeypatch.setattr(text, "BLOCK_BYTES", 5)  # so that blocks end inside rows and inside CR LF
    data = end.join(b"row%d" % number for number in range(10)) + (end if last else b"")
    assert _read(tmp_path, data, {"s": "string"}) == [(f"row{number}",) for number in range(10)]


def test_rows_are_the_same_whatever_the_block(tmp_path, monkeypatch):
    data = b"".join(b"%d\x01%s\n" % (number, b"x" * (number % 13)) for number in range(500))
    whole = _read(tmp_path, data, {"i": "int", "s": "string"})
    monkeypatch.setattr(text, "BLOCK_BYTES", 37)
    monkeypatch.setattr(columnar, "BATCH_ROWS", 3)
    assert _read(tmp_path, data, {"i": "int", "s": "string"}) == whole
    assert len(whole) == 500


def test_other_delimiters(tmp_path):
    options = TextOptions(field_delimiter="\t", collection_delimiter=",", map_key_delimiter=":", null_text="")
    columns = {"a": "string", "m": "map<string,int>", "l": "array<string>"}
    assert _read(tmp_path, b"\tk:1,j:2\tx,y\n", columns, text=options) == [(None, [("k", 1), ("j", 2)], ["x", "y"])]


def test_gzip_is_unpacked_and_a_truncated_one_is_refused(tmp_path):
    packed = gzip.compress(b"1\n" * 1000)
    assert len(_read(tmp_path, packed, {"a": "int"})) == 1000
    with pytest.raises(DataNotReadyError, match="dt=x/000000_0 cannot be read as text"):
        _read(tmp_path, packed[:-10], {"a": "int"})


@pytest.mark.parametrize(
    ("hive_type", "written", "problem"),
    [
        ("int", b"12x", "row 20001, column 'c': '12x' is not a int"),
        ("int", b"2147483648", "'2147483648' is not a int"),
        ("int", b"1.5", "'1.5' is not a int"),
        ("int", b"0x1F", "'0x1F' is not a int"),
        ("double", b"1,5", "'1,5' is not a double"),
        ("boolean", b"yes", "'yes' is not a boolean"),
        ("date", b"15.11.2026", "'15.11.2026' is not a date"),
        ("date", b"2026-02-30", "'2026-02-30' is not a date"),
        ("timestamp", b"yesterday", "'yesterday' is not a timestamp"),
        ("decimal(4,2)", b"123.45", r"'123.45' is not a decimal\(4,2\)"),
        ("array<int>", b"1\x02x", r"'1\\x02x' is not a array<int>"),
        ("map<string,int>", b"k\x03v", r"'k\\x03v' is not a map<string,int>"),
    ],
)
def test_a_value_that_does_not_parse_is_an_error_with_its_place(tmp_path, hive_type, written, problem):
    data = b"x\x01\\N\n" * 20_000 + b"x\x01" + written + b"\n" + b"x\x01\\N\n" * 100
    with pytest.raises(DataNotReadyError, match=problem) as raised:
        _read(tmp_path, data, {"s": "string", "c": hive_type})
    assert raised.value.message.startswith("dt=x/000000_0: row 20001, column 'c'")
    assert raised.value.exit_code == 3


def test_bytes_that_are_not_utf8_are_an_error_with_file_and_row(tmp_path):
    with pytest.raises(DataNotReadyError, match=r"dt=x/000000_0: row 3 is not valid UTF-8: b'bad.*\\xff'"):
        _read(tmp_path, b"a\nb\nbad\xff\n", {"s": "string"})


def test_a_row_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "BLOCK_BYTES", 100)
    monkeypatch.setattr(text, "MAX_ROW_BYTES", 1000)
    with pytest.raises(DataNotReadyError, match="a row is longer than"):
        _read(tmp_path, b"x" * 2000, {"s": "string"})


def test_text_needs_columns(tmp_path):
    (tmp_path / "f").write_bytes(b"a\n")
    with pytest.raises(ConfigError, match="does not say its columns"):
        list(text.read_batches(DataFile(str(tmp_path / "f"), "f"), _spec(None), BadRows()))


_cell = st.none() | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\x01\x02\x03\\"), max_size=8
)


@given(rows=st.lists(st.tuples(_cell, _cell, st.none() | st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=30))
def test_what_is_written_is_read(tmp_path_factory, rows):
    def written(value):
        return b"\\N" if value is None else str(value).encode()

    data = b"".join(b"\x01".join(map(written, row)) + b"\n" for row in rows)
    columns = {"a": "string", "b": "string", "i": "bigint"}
    assert _read(tmp_path_factory.mktemp("t"), data.removeprefix(b"\xef\xbb\xbf"), columns) == [
        tuple(row) if index or not (row[0] or "").startswith("\ufeff") else (row[0].removeprefix("\ufeff"), *row[1:])
        for index, row in enumerate(rows)
    ]


@given(data=st.binary(max_size=200))
def test_any_bytes_give_rows_or_a_documented_error(tmp_path_factory, data):
    columns = {"a": "string", "i": "int", "m": "map<string,array<int>>", "t": "timestamp", "d": "decimal(5,2)"}
    try:
        _read(tmp_path_factory.mktemp("t"), data, columns)
    except DataNotReadyError as error:
        assert "dt=x/000000_0" in error.message
