"""LazySimpleSerDe's properties: delimiters, escapes, depth, encodings, torn rows. Expectations are Hive's own: the same
rows were read by LazySimpleSerDe of Hive 2.3.10 when this was written."""

import datetime

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen.formats import columnar
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.serde import row_serde
from hivemill.components.hive_example_gen.formats.text import text_file
from hivemill.components.hive_example_gen.formats.text.typed_columns import TypedColumns
from tests.components.hive_example_gen.formats.text_reading import read_text, spec_for, told

NESTED = {"l": "array<string>", "m": "map<string,int>", "s": "struct<a:int,b:string>", "ll": "array<array<int>>"}
DELIMITED = {"field.delim": "|", "colelction.delim": ",", "mapkey.delim": ":"}
ESCAPED = {**DELIMITED, "escape.delim": "\\"}
STRINGS = {"a": "string", "b": "string"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (r"a\,b,c|k\:1:1|1,x\,y|1", (["a,b", "c"], [("k:1", 1)], {"a": 1, "b": "x,y"}, [[1]])),
        (r"\\|\\:1|1,\\|1", (["\\"], [("\\", 1)], {"a": 1, "b": "\\"}, [[1]])),
        (r"\\\N|k:1|1,\N|1", (["\\N"], [("k", 1)], {"a": 1, "b": None}, [[1]])),
        (r"\N,\\N|\N:1|\N,\\N|\N", ([None, "\\N"], [], {"a": None, "b": "\\N"}, None)),
        (r"\||k:1|1,\||1", (["|"], [("k", 1)], {"a": 1, "b": "|"}, [[1]])),
        (r"\~\?\@\{\}\_,\|\,\:|\{:1|1,\~|1", (["~?@{}_", "|,:"], [("{", 1)], {"a": 1, "b": "~"}, [[1]])),
        (r"a\n\t\r\0|k:1|1,x|1", (["a\nt\r0"], [("k", 1)], {"a": 1, "b": "x"}, [[1]])),
        (r"a\\,b|k\\:1|1,x\\|1", (["a\\", "b"], [("k\\", 1)], {"a": 1, "b": "x\\"}, [[1]])),
        ("\\ü|k:1|1,ü\\日|1", (["ü"], [("k", 1)], {"a": 1, "b": "ü日"}, [[1]])),
        ("\\", (["\\"], None, None, None)),
    ],
)
def test_escapes_in_collections(tmp_path, line, expected):
    rows, bad = read_text(tmp_path, (line + "\n").encode(), NESTED, properties=ESCAPED)
    assert rows == [expected]
    assert not bad.total


def test_an_escaped_line_feed_ends_the_row_all_the_same(tmp_path):
    rows, bad = read_text(tmp_path, b"a\\\nb|c\n", STRINGS, properties=ESCAPED)
    assert rows == [("a\\", None), ("b", "c")]
    assert bad.notes == {"short_row": 1}


def test_escapes_do_not_change_numbers_nor_binary(tmp_path):
    columns = {"i": "int", "b": "binary"}
    rows, bad = read_text(tmp_path, b"\\1|\\!|\n2|\\\\!\n", columns, properties=ESCAPED, values="null")
    assert rows == [(None, b"\\!"), (2, b"\\\\!")]
    assert bad.notes == {"long_row": 1, "value_as_null": 1}


def test_messages_show_what_is_in_the_file(tmp_path):
    _, bad = read_text(tmp_path, b"\\1|a\\|b\n", {"i": "int", "s": "string"}, properties=ESCAPED)
    assert bad.kept[0].message == r"'\\1' is not a int"
    assert bad.kept[0].raw == "\\1|a\\|b"


def test_bytes_that_no_utf8_has_are_no_escapes(tmp_path):
    rows, bad = read_text(tmp_path, b"a\xff\xee|b\nc|\\|d\n\xfe|x\n", STRINGS, properties=ESCAPED)
    assert rows == [("c", "|d")]
    assert told(bad) == [(1, "encoding", None), (3, "encoding", None)]


@pytest.mark.parametrize(
    ("properties", "data"),
    [
        ({"field.delim": ","}, b"a,b\n"),
        ({"field.delim": "44"}, b"a,b\n"),
        ({"field.delim": "-2"}, b"a\xfeb\n"),
        ({"field.delim": "þ"}, b"a\xfeb\n"),
        ({"field.delim": "\0"}, b"a\0b\n"),
        ({"serialization.format": "9"}, b"a\tb\n"),
        ({}, b"a\x01b\n"),
    ],
)
def test_delimiters(tmp_path, properties, data):
    assert read_text(tmp_path, data, STRINGS, properties=properties)[0] == [("a", "b")]


def test_a_delimiter_above_ascii_with_all_control_characters_in_the_text(tmp_path):
    text_of_all = bytes(set(range(128)) - {10, 13})
    with pytest.raises(DataNotReadyError, match="dt=x/000000_0 holds every control character"):
        read_text(tmp_path, text_of_all + b"\xfeb\n", STRINGS, properties={"field.delim": "-2"})


@pytest.mark.parametrize(
    ("properties", "problem"),
    [
        ({"field.delim": "||"}, "field.delim: a delimiter must be one byte"),
        ({"field.delim": "€"}, "field.delim: a delimiter must be one byte"),
        ({"escape.delim": "|", "field.delim": "|"}, "ESCAPED BY '|' is also a delimiter".replace("|", r"\|")),
        ({"escape.delim": "\\", "colelction.delim": "-2"}, "ESCAPED BY is supported with ASCII"),
        ({"serialization.encoding": "UTF-16"}, "serialization.encoding 'UTF-16' is not supported"),
        ({"serialization.encoding": "klingon"}, "serialization.encoding 'klingon' is not supported"),
        ({"timestamp.formats": "EEE"}, "timestamp.formats: 'EEE'"),
        ({"skip.header.line.count": "-1"}, "skip.header.line.count must be a number"),
    ],
)
def test_properties_that_cannot_be_honoured(tmp_path, properties, problem):
    with pytest.raises(ConfigError, match=problem) as raised:
        read_text(tmp_path, b"a|b\n", STRINGS, properties=properties)
    assert raised.value.exit_code == 2


def test_rows_with_too_few_or_too_many_columns(tmp_path):
    data = b"a|b\n\nc\nd|e|f|g\nh|i\n"
    rows, bad = read_text(tmp_path, data, STRINGS, properties=DELIMITED)
    assert rows == [("a", "b"), ("", None), ("c", None), ("d", "e"), ("h", "i")]
    assert bad.notes == {"short_row": 2, "long_row": 1}
    rows, bad = read_text(tmp_path, data, STRINGS, properties=DELIMITED, column_count="quarantine")
    assert rows == [("a", "b"), ("h", "i")]
    assert told(bad) == [(2, "column_count", None), (3, "column_count", None), (4, "column_count", None)]
    assert bad.kept[2].message == "4 columns, the table has 2"
    assert bad.kept[2].raw == "d|e|f|g"


def test_a_file_of_short_rows_alone_is_judged_too(tmp_path):
    rows, bad = read_text(tmp_path, b"a\nb\n", STRINGS, properties=DELIMITED, column_count="quarantine")
    assert (rows, bad.counts) == ([], {"column_count": 2})


def test_the_last_column_may_take_the_rest(tmp_path):
    properties = {"field.delim": "|", "serialization.last.column.takes.rest": "true"}
    rows, bad = read_text(tmp_path, b"a|b|c|d\ne|f\ng\n", STRINGS, properties=properties)
    assert rows == [("a", "b|c|d"), ("e", "f"), ("g", None)]
    assert bad.notes == {"short_row": 1}
    properties = {**DELIMITED, "escape.delim": "\\", "serialization.last.column.takes.rest": "true"}
    rows, _ = read_text(tmp_path, b"a|b|\\||,d\n", {"a": "string", "l": "array<string>"}, properties=properties)
    assert rows == [("a", ["b|||", "d"])]


@pytest.mark.parametrize(
    ("encoding", "raw"),
    [("ISO-8859-1", "ü|ß"), ("GBK", "日本|中"), ("Big5", "日本|中"), ("Shift_JIS", "ソ|表"), ("UTF-8", "ü|ß")],
)
def test_encodings(tmp_path, encoding, raw):
    data = (raw + "\n").encode(encoding)
    properties = {"field.delim": "|", "serialization.encoding": encoding}
    assert read_text(tmp_path, data, STRINGS, properties=properties)[0] == [tuple(raw.split("|"))]


def test_a_row_that_is_not_in_the_encoding(tmp_path):
    properties = {"field.delim": "|", "serialization.encoding": "gbk"}
    rows, bad = read_text(tmp_path, "中|a\n".encode("gbk") + b"\xff\xff|b\nc|d\n", STRINGS, properties=properties)
    assert rows == [("中", "a"), ("c", "d")]
    assert told(bad) == [(2, "encoding", None)]
    assert bad.kept[0].message == "not valid gbk"


@pytest.mark.parametrize(
    ("formats", "written", "expected"),
    [
        ("dd.MM.yyyy HH:mm:ss", "15.11.2026 01:02:03", datetime.datetime(2026, 11, 15, 1, 2, 3)),
        ("yyyy-MM-dd'T'HH:mm:ss.SSS", "2026-11-15T01:02:03.004", datetime.datetime(2026, 11, 15, 1, 2, 3, 4000)),
        ("yyyyMMdd", "20261115", datetime.datetime(2026, 11, 15)),
        ("iso8601", "2026-11-15T01:02:03Z", datetime.datetime(2026, 11, 15, 1, 2, 3)),
        ("iso8601", "2026-11-15T01:02:03.5Z", datetime.datetime(2026, 11, 15, 1, 2, 3, 500_000)),
        ("millis", "1420509274123.456", datetime.datetime(2015, 1, 6, 1, 54, 34, 123_000)),
        ("yyyyMMdd,millis", "-1", datetime.datetime(1969, 12, 31, 23, 59, 59, 999_000)),
        ("dd.MM.yyyy,yyyy/MM/dd", "2026/11/15", datetime.datetime(2026, 11, 15)),
        ("d.M.yyyy", "5.1.2026", datetime.datetime(2026, 1, 5)),
        ("dd.MM.yyyy", "2026-11-15 01:02:03", datetime.datetime(2026, 11, 15, 1, 2, 3)),
    ],
)
def test_timestamp_formats(tmp_path, formats, written, expected):
    columns = {"s": "string", "t": "timestamp"}
    data = f"{written}|{written}\nx|\\N\n".encode()
    rows, bad = read_text(tmp_path, data, columns, properties={"field.delim": "|", "timestamp.formats": formats})
    assert rows == [(written, expected), ("x", None)]
    assert not bad.total


def test_depth(tmp_path):
    deep = "array<" * 7 + "int" + ">" * 7
    data = b"1" + b"".join(bytes((code,)) + b"2" for code in range(2, 9)) + b"\n"
    (row,), _ = read_text(tmp_path, data, {"d": deep})
    leaf = row[0]
    for _ in range(6):
        leaf = leaf[0]
    assert leaf == [1]
    deeper = "array<" * 9 + "int" + ">" * 9
    with pytest.raises(
        ConfigError, match="column 'd' is nested so deep that 10 delimiters are needed; the table has 8"
    ):
        read_text(tmp_path, data, {"d": deeper})
    extended = {"hive.serialization.extend.nesting.levels": "true"}
    (row,), _ = read_text(tmp_path, b"1\x0b2\x0e3\n", {"d": deeper}, properties=extended)
    for _ in range(7):
        row = row[0]
    assert row == [[1], [2, 3]] or row == [[[1], [2, 3]]]


def test_header_and_footer_lines(tmp_path, monkeypatch):
    properties = {**DELIMITED, "skip.header.line.count": "2", "skip.footer.line.count": "1"}
    data = b"a|b\nint|string\n1|x\n2|y\nbad|z\nrows|2\n"
    for size in (1 << 20, 3):
        monkeypatch.setattr(text_file, "BLOCK_BYTES", size)
        rows, bad = read_text(tmp_path, data, {"a": "int", "b": "string"}, properties=properties)
        assert rows == [(1, "x"), (2, "y")]
        assert told(bad) == [(5, "value", "a")]  # the line in the file
    assert read_text(tmp_path, b"a|b\n", {"a": "int", "b": "string"}, properties=properties)[0] == []


def test_null_written_in_other_ways(tmp_path):
    data = b"|-|\\N\n-||a\n"
    columns = {"a": "string", "i": "int", "l": "array<string>"}
    rows, _ = read_text(tmp_path, data, columns, properties={**DELIMITED, "serialization.null.format": "-"})
    assert rows == [("", None, ["\\N"]), (None, None, ["a"])]
    rows, _ = read_text(tmp_path, b"|1|\n", columns, properties={**DELIMITED, "serialization.null.format": ""})
    assert rows == [(None, 1, None)]


def test_values_of_a_sequence_file_may_hold_line_ends():
    bad = BadRows()
    columns = {"a": "string", "l": "array<string>"}
    serde = row_serde(DataFile("f", "f"), spec_for(columns, properties=ESCAPED), bad, "sequence_file")
    values = pa.array([b"x\ny|a\r\nb,c", b"plain|z", None, b"\\\n|\\|", b"\xff\n|b"], pa.binary())
    rows = [tuple(row.values()) for batch in serde.from_values(values, 7) for row in batch.to_pylist()]
    assert rows == [("x\ny", ["a\r\nb", "c"]), ("plain", ["z"]), ("", None), ("\n", ["|"])]
    assert told(bad) == [(12, "encoding", None)]


def test_a_partition_with_columns_of_its_own(tmp_path):
    """Its files have fewer and narrower columns, in another order."""
    columns = {"id": "bigint", "name": "string", "new": "double"}
    own = {"name": "string", "id": "int"}
    rows, bad = read_text(tmp_path, b"a|1\nb|x\n", columns, properties=DELIMITED, file_columns=own)
    assert rows == [(1, "a", None)]
    assert told(bad) == [(2, "value", "id")]


def test_typed_columns_take_raw_bytes_with_their_escapes():
    """What the RCFile reader does."""
    bad = BadRows()
    typed = TypedColumns(DataFile("f", "f"), spec_for({"a": "string", "i": "int"}, properties=ESCAPED), bad)
    whole = pa.array([b"-", b"x\\|\\", b"\\N", b"\xff", b"y"], pa.binary())
    raw = {"a": whole.slice(1), "i": pa.array([b"1", None, b"3", b"z"], pa.binary())}
    assert typed.batch(raw, 10).to_pylist() == [{"a": "x|\\", "i": 1}, {"a": "N", "i": None}]
    assert told(bad) == [(13, "encoding", "a"), (14, "value", "i")]
    assert typed.batch({}, 0, num_rows=2).to_pylist() == [{"a": None, "i": None}] * 2


# A small writer that follows LazyUtils.writeEscaped and LazySimpleSerDe.serialize.
_SPECIAL = "|,:\\\x04"


def _escaped(value):
    return "".join("\\" + letter if letter in _SPECIAL else letter for letter in value)


def _cell(value):
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return _escaped(value)
    if isinstance(value, dict):
        return ",".join((_cell(value["x"]), _cell(value["y"])))
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return ",".join(f"{_cell(key)}:{_cell(held)}" for key, held in value)
    if isinstance(value, list):
        return ",".join(map(_cell, value))
    return str(value)


_text = st.text(st.sampled_from("|,:\\N\x04abü😀nr\"' ~{}\x7f"), max_size=6)
_maybe = st.none() | _text
_rows = st.tuples(
    _maybe,
    st.none() | st.lists(_maybe, min_size=2, max_size=3),
    st.none() | st.dictionaries(_text, st.none() | st.integers(-9, 9), max_size=3).map(lambda held: list(held.items())),
    st.none() | st.fixed_dictionaries({"x": _maybe, "y": _maybe}),
    st.none() | st.integers(-(2**31), 2**31 - 1),
)


@settings(max_examples=50)
@given(rows=st.lists(_rows, min_size=1, max_size=20), batch=st.integers(1, 7))
def test_what_hives_serializer_writes_is_read(tmp_path_factory, rows, batch):
    columns = {
        "a": "string",
        "l": "array<string>",
        "m": "map<string,int>",
        "s": "struct<x:string,y:string>",
        "i": "int",
    }
    data = "".join("|".join(map(_cell, row)) + "\n" for row in rows).encode()
    before = columnar.BATCH_ROWS
    columnar.BATCH_ROWS = batch  # slices of every kind
    try:
        read, bad = read_text(tmp_path_factory.mktemp("t"), data, columns, properties=ESCAPED)
    finally:
        columnar.BATCH_ROWS = before
    assert not bad.total
    assert read == rows


@settings(max_examples=50)
@given(data=st.lists(st.sampled_from([b"|", b",", b":", b"\\", b"\\N", b"a", b"\n", b"\xff", b"\r", b"1"])))
def test_any_text_gives_every_row_or_a_bad_one(tmp_path_factory, data):
    joined = b"".join(data)
    rows, bad = read_text(tmp_path_factory.mktemp("t"), joined, NESTED, properties=ESCAPED)
    plain = joined.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert len(rows) + bad.total == plain.count(b"\n") + (plain[-1:] not in (b"\n", b""))
