"""Hive text, byte by byte, as LazySimpleSerDe reads it."""

import datetime
import gzip
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemill.common.errors import ConfigError, DataCorruptError, DataNotReadyError
from hivemill.components.hive_example_gen.formats import columnar
from hivemill.components.hive_example_gen.formats.text import text_file
from hivemill.components.hive_example_gen.options import TextOptions
from tests.components.hive_example_gen.formats.text_reading import read_text, told


def _read(tmp_path, data, columns, **options):
    rows, bad = read_text(tmp_path, data, columns, **options)
    assert not bad.total
    return rows


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
        ("int", b"+5", 5),
        ("int", b"-1.9", -1),
        ("bigint", b"-9223372036854775808", -9223372036854775808),
        ("double", b" 1.5 ", 1.5),
        ("double", b"1d", 1.0),
        ("double", b"0x1p3", 8.0),
        ("double", b"1e400", float("inf")),
        ("decimal(6,2)", b" 1e2 ", Decimal("100.00")),
        (
            "decimal(38,18)",
            b"12345678901234567890.123456789012345678",
            Decimal("12345678901234567890.123456789012345678"),
        ),
        ("date", b"2026-1-2", datetime.date(2026, 1, 2)),
        ("timestamp", b"2026-01-02", datetime.datetime(2026, 1, 2)),
        ("timestamp", b"2026-1-2 3:4:5", datetime.datetime(2026, 1, 2, 3, 4, 5)),
        ("array<varchar(2)>", b"abc\x02d", ["ab", "d"]),
        ("map<string,int>", b"k\x031\x02k\x032", [("k", 1)]),
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
    monkeypatch.setattr(text_file, "BLOCK_BYTES", 5)  # so that blocks end inside rows and inside CR LF
    data = end.join(b"row%d" % number for number in range(10)) + (end if last else b"")
    assert _read(tmp_path, data, {"s": "string"}) == [(f"row{number}",) for number in range(10)]


def test_rows_are_the_same_whatever_the_block(tmp_path, monkeypatch):
    data = b"".join(b"%d\x01%s\n" % (number, b"x" * (number % 13)) for number in range(500))
    whole = _read(tmp_path, data, {"i": "int", "s": "string"})
    monkeypatch.setattr(text_file, "BLOCK_BYTES", 37)
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
    with pytest.raises(DataCorruptError, match="dt=x/000000_0 cannot be read as text"):
        _read(tmp_path, packed[:-10], {"a": "int"})


_BAD_VALUES = [
    ("int", b"12x", "'12x' is not a int"),
    ("int", b"2147483648", "'2147483648' is not a int"),
    ("int", b"0x1F", "'0x1F' is not a int"),
    ("int", b" 1", "' 1' is not a int"),
    ("tinyint", b"300", "'300' is not a tinyint"),
    ("double", b"1,5", "'1,5' is not a double"),
    ("double", b"inf", "'inf' is not a double"),
    ("boolean", b"yes", "'yes' is not a boolean"),
    ("date", b"15.11.2026", "'15.11.2026' is not a date"),
    ("date", b"2026-02-30", "'2026-02-30' is not a date"),
    ("timestamp", b"yesterday", "'yesterday' is not a timestamp"),
    ("timestamp", b"2026-01-02 03:04", "'2026-01-02 03:04' is not a timestamp"),
    ("decimal(4,2)", b"123.45", "'123.45' is not a decimal(4,2)"),
    ("decimal(4,2)", b"99.999", "'99.999' is not a decimal(4,2)"),
    ("array<int>", b"1\x02x", "'1\\x02x' is not a array<int>"),
    ("map<string,int>", b"k\x03v", "'k\\x03v' is not a map<string,int>"),
    ("struct<a:int,b:date>", b"1\x022026", "'1\\x022026' is not a struct<a:int,b:date>"),
]


@pytest.mark.parametrize(("hive_type", "written", "problem"), _BAD_VALUES)
def test_a_value_that_does_not_parse_sets_its_row_aside(tmp_path, hive_type, written, problem):
    before = 20_000 if hive_type == "tinyint" else 20  # more than a batch once
    data = b"x\x01\\N\n" * before + b"y\x01" + written + b"\n" + b"x\x01\\N\n" * 100
    rows, bad = read_text(tmp_path, data, {"s": "string", "c": hive_type})
    assert rows == [("x", None)] * (before + 100)
    assert bad.counts == {"value": 1}
    assert str(bad.kept[0]).startswith(f"dt=x/000000_0: row {before + 1}, column 'c': {problem}")
    assert bad.kept[0].raw.encode() == b"y\x01" + written


@pytest.mark.parametrize(("hive_type", "written", "problem"), _BAD_VALUES)
def test_or_it_is_null_as_in_hive_and_counted(tmp_path, hive_type, written, problem):
    rows, bad = read_text(tmp_path, b"y\x01" + written + b"\n", {"s": "string", "c": hive_type}, values="null")
    expected = {"array<int>": [1, None], "map<string,int>": [("k", None)], "struct<a:int,b:date>": {"a": 1, "b": None}}
    assert rows == [("y", expected.get(hive_type))]
    assert (bad.total, bad.notes) == (0, {"value_as_null": 1})


def test_a_row_counts_once_whatever_is_wrong_with_it(tmp_path):
    rows, bad = read_text(tmp_path, b"x\x01y\x01\xff\n1\x012\x01z\n", {"a": "int", "b": "int", "s": "string"})
    assert rows == [(1, 2, "z")]
    assert told(bad) == [(1, "value", "a")] or told(bad) == [(1, "encoding", "s")]


def test_bytes_that_are_not_utf8_set_their_row_aside(tmp_path):
    rows, bad = read_text(tmp_path, b"a\nb\nbad\xff\n\xc3\xbc\n", {"s": "string"}, values="null")
    assert rows == [("a",), ("b",), ("ü",)]
    assert told(bad) == [(3, "encoding", "s")]
    assert "b'bad\\xff'" in bad.kept[0].message


def test_a_row_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(text_file, "BLOCK_BYTES", 100)
    monkeypatch.setattr(text_file, "MAX_ROW_BYTES", 1000)
    with pytest.raises(DataNotReadyError, match="a row is longer than"):
        _read(tmp_path, b"x" * 2000, {"s": "string"})


def test_text_needs_columns(tmp_path):
    with pytest.raises(ConfigError, match="does not say its columns"):
        read_text(tmp_path, b"a\n", None)


_cell = st.none() | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\x01\x02\x03\\"), max_size=8
)


@given(rows=st.lists(st.tuples(_cell, _cell, st.none() | st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=30))
def test_what_is_written_is_read(tmp_path_factory, rows):
    def written(value):
        return b"\\N" if value is None else str(value).encode()

    data = b"".join(b"\x01".join(map(written, row)) + b"\n" for row in rows)
    columns = {"a": "string", "b": "string", "i": "bigint"}
    expected = [tuple(row) for row in rows]
    if data.startswith(b"\xef\xbb\xbf"):
        expected[0] = (expected[0][0].removeprefix("\ufeff"), *expected[0][1:])  # a byte order mark of the file
    assert _read(tmp_path_factory.mktemp("t"), data, columns) == expected


@given(data=st.binary(max_size=200))
def test_any_bytes_give_rows_or_a_documented_error(tmp_path_factory, data):
    columns = {"a": "string", "i": "int", "m": "map<string,array<int>>", "t": "timestamp", "d": "decimal(5,2)"}
    try:
        rows, bad = read_text(tmp_path_factory.mktemp("t"), data, columns)
    except DataCorruptError as error:  # it begins like an archive
        assert "dt=x/000000_0" in error.message
        return
    plain = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert len(rows) + bad.total == plain.count(b"\n") + (plain[-1:] not in (b"\n", b""))
