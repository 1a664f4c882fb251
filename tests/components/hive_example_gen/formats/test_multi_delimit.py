"""MultiDelimitSerDe: delimiters of several characters."""

import pytest

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.hadoop import sequence_file
from hivemill.components.hive_example_gen.options import SourceOptions
from hivemill.components.hive_example_gen.table.ddl import parse_ddl
from hivemill.components.hive_example_gen.table.spec import spec_of
from tests.components.hive_example_gen.formats import hadoop_writers as writers
from tests.components.hive_example_gen.formats.text_reading import read_text, spec_for, told

COLUMNS = {"id": "bigint", "name": "string", "l": "array<int>", "m": "map<string,int>"}
PIPES = {"field.delim": "||"}


def _read(folder, data, columns=COLUMNS, properties=PIPES, **options):
    return read_text(folder, data, columns, serde="multi_delimit", properties=properties, **options)


def test_rows(tmp_path):
    rows, bad = _read(tmp_path, b"1||a|b\x01||1\x022||k\x033\n2||\\N||\\N||\\N\n3||||||\n")
    assert rows == [(1, "a|b\x01", [1, 2], [("k", 3)]), (2, None, None, None), (3, "", [], [])]
    assert (bad.total, bad.notes) == (0, {})


def test_the_first_of_overlapping_delimiters_counts(tmp_path):
    assert _read(tmp_path, b"1|||b\n", {"id": "bigint", "s": "string"})[0] == [(1, "|b")]


def test_short_and_long_rows(tmp_path):
    columns = {"id": "bigint", "s": "string", "t": "string"}
    rows, bad = _read(tmp_path, b"1||a\n2||a||b||c\n3\n", columns)
    assert rows == [(1, "a", None), (2, "a", "b"), (3, None, None)]
    assert bad.notes == {"short_row": 2, "long_row": 1}
    rows, bad = _read(tmp_path, b"1||a\n2||a||b\n", columns, column_count="quarantine")
    assert rows == [(2, "a", "b")]
    assert [(row.row, row.cause, row.raw) for row in bad.kept] == [(1, "column_count", "1||a")]


def test_bad_values_show_the_row_as_it_is_in_the_file(tmp_path):
    rows, bad = _read(tmp_path, b"1~#a\nx~#b\xc3\n3~#\xff\n", {"id": "bigint", "s": "string"}, {"field.delim": "~#"})
    assert rows == [(1, "a")]
    assert told(bad) == [(2, "value", "id"), (3, "encoding", "s")]
    assert [row.raw for row in bad.kept] == ["x~#b\\xc3", "3~#\\xff"]


def test_delimiters_within_columns_and_beyond_ascii(tmp_path):
    properties = {"field.delim": "¦¦", "collection.delim": ",", "mapkey.delim": ":", "colelction.delim": ";"}
    rows, _ = _read(tmp_path, "1¦¦é¦¦1,2¦¦k:3,z:4\n".encode(), properties=properties)
    assert rows == [(1, "é", [1, 2], [("k", 3), ("z", 4)])]


def test_values_of_sequence_files(tmp_path):
    (tmp_path / "f").write_bytes(writers.sequence_file([b"1||a\nb\x01", b"2||c"]))
    spec = spec_for({"id": "bigint", "s": "string"}, serde="multi_delimit", properties=PIPES)
    spec = spec.model_copy(update={"format": "sequence_file"})
    batches = sequence_file.read_batches(DataFile(str(tmp_path / "f"), "f"), spec, BadRows())
    assert [row for batch in batches for row in batch.to_pylist()] == [{"id": 1, "s": "a\nb\x01"}, {"id": 2, "s": "c"}]


def test_a_table_definition(tmp_path):
    ddl = """CREATE TABLE t (id bigint, s string) PARTITIONED BY (dt string)
        ROW FORMAT SERDE 'org.apache.hadoop.hive.contrib.serde2.MultiDelimitSerDe'
        WITH SERDEPROPERTIES ('field.delim'='[,]') STORED AS TEXTFILE"""
    spec = spec_of(SourceOptions(table=str(tmp_path)), parse_ddl(ddl, "t.hql"))
    assert (spec.format, spec.serde, spec.serde_properties["field.delim"]) == ("text", "multi_delimit", "[,]")


@pytest.mark.parametrize(
    ("properties", "problem"),
    [
        ({}, "its property field.delim is ''"),
        ({"field.delim": "|\n"}, "its property field.delim is "),
        ({**PIPES, "escape.delim": "\\"}, "with ESCAPED BY"),
        ({**PIPES, "serialization.last.column.takes.rest": "true"}, "takes.rest is not supported"),
    ],
)
def test_what_is_refused(tmp_path, properties, problem):
    with pytest.raises(ConfigError, match=problem):
        _read(tmp_path, b"1||a\n", properties=properties)
