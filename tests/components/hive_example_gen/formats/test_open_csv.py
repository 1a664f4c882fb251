"""OpenCSVSerde. Expectations are those of OpenCSVSerde of Hive 2.3.10 with opencsv 2.3, which read the same rows."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.formats.serde import open_csv
from hivemill.components.hive_example_gen.options import SourceOptions
from hivemill.components.hive_example_gen.table.definition import TableDefinition
from hivemill.components.hive_example_gen.table.spec import spec_of
from tests.components.hive_example_gen.formats.text_reading import read_text, told

COLUMNS = {"a": "string", "b": "string", "c": "string"}


def _read(folder, data, properties=None, **options):
    return read_text(folder, data, COLUMNS, serde="open_csv", properties=properties or {}, **options)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1,2,3", ("1", "2", "3")),
        ('"1","2","3"', ("1", "2", "3")),
        ('"a,b",c,d', ("a,b", "c", "d")),
        ('"say ""hi""",x,y', ('say "hi"', "x", "y")),
        ("a\\,b,c,d", ("a", "b", "c")),
        ('"a\\"b",c,d', ('a"b', "c", "d")),
        (",,", ("", "", "")),
        ('"","",""', ("", "", "")),
        ("1,2", ("1", "2", None)),
        ("1,2,3,4", ("1", "2", "3")),
        (' 1, "2" ,3 ', (" 1", '2" ', "3 ")),
        ('a"b"c,d,e', ('ab"c', "d", "e")),
        ("'a,b',c,d", ("'a", "b'", "c")),
        ("\\N,NULL,null", ("N", "NULL", "null")),
        ("", (None, None, None)),
        ('"\\\\",x,y', ("\\", "x", "y")),
        ("\\", ("", None, None)),
        ('"x""",y,z', ('x"', "y", "z")),
        ('"""",y,z', ('"', "y", "z")),
        ('a,"b\tc",d', ("a", "b\tc", "d")),
        ('"",x,""""', ("", "x", '"')),
        ('a""b,c,d', ('a"b', "c", "d")),
        ("ü,日本,😀", ("ü", "日本", "😀")),
    ],
)
def test_rows(tmp_path, line, expected):
    rows, bad = _read(tmp_path, ("x,y,z\n" + line + "\nu,v,w\n").encode())
    assert rows == [("x", "y", "z"), expected, ("u", "v", "w")]
    assert not bad.total


def test_other_characters(tmp_path):
    properties = {"separatorChar": ";", "quoteChar": "'", "escapeChar": "!"}
    lines = b"1;2;3\n'a;b';c;d\n'it!'s';!;;x\n!!;!n;'!!'\n'it''s';b;c\n"
    rows, _ = _read(tmp_path, lines, properties)
    assert rows == [("1", "2", "3"), ("a;b", "c", "d"), ("it's", "", ""), ("", "n", "!"), ("it's", "b", "c")]


def test_a_quote_that_is_never_closed(tmp_path):
    rows, bad = _read(tmp_path, b'a,b,c\n"line\nfeed",b,c\nd,e,f\n')
    assert rows == [("a", "b", "c"), ("d", "e", "f")]
    assert told(bad) == [(2, "structure", None), (3, "structure", None)]
    assert bad.kept[0].message == "a quote is never closed"


def test_widths_and_encodings(tmp_path):
    data = b"a,b\nc,d,e\nf,g,h,i\n\xff,x,y\n"
    rows, bad = _read(tmp_path, data)
    assert rows == [("a", "b", None), ("c", "d", "e"), ("f", "g", "h")]
    assert (bad.notes, told(bad)) == ({"short_row": 1, "long_row": 1}, [(4, "encoding", "a")])
    rows, bad = _read(tmp_path, data, column_count="quarantine")
    assert rows == [("c", "d", "e")]
    assert [cause for _, cause, _ in told(bad)] == ["column_count", "column_count", "encoding"]
    latin = {"serialization.encoding": "ISO-8859-1"}
    assert _read(tmp_path, 'ü,"ß",x\n'.encode("latin-1"), latin)[0] == [("ü", "ß", "x")]


def test_characters_must_differ(tmp_path):
    with pytest.raises(ConfigError, match="must differ"):
        _read(tmp_path, b"a\n", {"quoteChar": ","})


def test_a_table_declares_types_in_vain_and_a_config_does_not(tmp_path):
    definition = TableDefinition("t", {"a": "int", "b": "array<int>"}, {"dt": "string"}, "text", "open_csv")
    assert spec_of(SourceOptions(table="t"), definition).columns == {"a": "string", "b": "string"}
    rows, bad = read_text(tmp_path, b'"1","x"\nz,"y"\n', {"a": "int", "b": "string"}, serde="open_csv")
    assert (rows, told(bad)) == ([(1, "x")], [(2, "value", "a")])


_lines = st.lists(st.text(st.sampled_from(',,""\\ ab'), max_size=12), min_size=1, max_size=20)


@settings(max_examples=60)
@given(lines=_lines)
def test_blocks_and_single_rows_are_read_alike(tmp_path_factory, lines):
    """Arrow's parser reads what `_plain_lines` says it may; opencsv's rules decide."""
    rows, bad = _read(tmp_path_factory.mktemp("t"), ("\n".join(lines) + "\n").encode())
    expected, left_out = [], []
    for number, line in enumerate(lines, 1):
        fields = open_csv.opencsv_fields(line, ",", '"', "\\")
        if fields is None:
            left_out.append((number, "structure", None))
        else:
            expected.append((*fields[:3], *[None] * (3 - len(fields))))
    assert (rows, told(bad)) == (expected, left_out)


@settings(max_examples=40)
@given(rows=st.lists(st.tuples(*[st.text(st.sampled_from('ab,"ü \t'), max_size=6)] * 3), min_size=1, max_size=10))
def test_what_its_writer_writes_is_read(tmp_path_factory, rows):
    """CSVWriter as OpenCSVSerde sets it up: every field quoted, quotes doubled."""
    data = "".join(",".join('"' + field.replace('"', '""') + '"' for field in row) + "\n" for row in rows).encode()
    assert _read(tmp_path_factory.mktemp("t"), data)[0] == rows
