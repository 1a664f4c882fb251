"""Bad rows at known places, in every format: what the quarantine of a converted partition says of them."""

import io
from collections import Counter
from pathlib import Path

import fastavro
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest

from hivemill.components.hive_example_gen.cache import quarantine
from hivemill.components.hive_example_gen.convert import convert_partition
from hivemill.components.hive_example_gen.options import BadRowOptions
from tests.components.hive_example_gen.cache.test_quarantine import Case
from tests.components.hive_example_gen.converted_rows import examples_of
from tests.components.hive_example_gen.formats import hadoop_writers as writers

ROWS, FEW = 16_500, 20
BAD = {3: "encoding", 16_385: "value", 16_499: "encoding"}
"""By number in the file, from 1: behind the first batch too. `value` where a format has such."""
COLUMNS = {"n": "bigint", "s": "string", "small": "smallint"}
BROKEN = b"b\xff"


def _cells(row):
    """The text of each column, of the row with this number."""
    cause = BAD.get(row)
    return [b"%d" % row, BROKEN if cause == "encoding" else b"a", b"70000" if cause == "value" else b"7"]


def _lines(count, separator, around=b"%s"):
    return b"".join(separator.join(around % cell for cell in _cells(row)) + b"\n" for row in range(1, count + 1))


def _json(count):
    line = b'{"n": %s, "s": "%s", "small": %s}\n'
    return b"".join(line % tuple(_cells(row)) for row in range(1, count + 1))


def _lazy_values(count):
    types = [pa.int64(), pa.binary(), pa.int16()]
    return [writers.lazy_row(types, [row, _cells(row)[1], 7]) for row in range(1, count + 1)]


def _text_rcfile(count):
    columns = zip(*(_cells(row) for row in range(1, count + 1)), strict=True)
    return writers.rcfile([list(column) for column in columns], codec="DefaultCodec", group_rows=7_000)


def _lazy_rcfile(count):
    kinds = (pa.int64(), pa.binary(), pa.int16())
    rows = [(row, _cells(row)[1], 7) for row in range(1, count + 1)]
    columns = [[writers.lazy_value(kind, row[at], prefix=False) for row in rows] for at, kind in enumerate(kinds)]
    return writers.rcfile(columns, group_rows=7_000)


def _columnar(count, write):
    texts = [_cells(row)[1] for row in range(1, count + 1)]
    table = pa.table({"n": range(1, count + 1), "s": pa.array(texts, pa.binary()), "small": [7] * count})
    table = table.set_column(2, "small", table["small"].cast(pa.int16()))
    out = io.BytesIO()
    write(table, out)
    return out.getvalue()


def _avro(count):
    fields = [{"name": "n", "type": "long"}, {"name": "s", "type": "bytes"}, {"name": "small", "type": "int"}]
    rows = [{"n": row, "s": _cells(row)[1], "small": int(_cells(row)[2])} for row in range(1, count + 1)]
    out = io.BytesIO()
    fastavro.writer(out, {"type": "record", "name": "r", "fields": fields}, rows, codec="deflate")
    # fastavro writes no broken text: bytes and string are the same in the file but for the schema
    return out.getvalue().replace(b'"s", "type": "bytes"', b'"s", "type":"string"')


PLAIN = {"serde": "lazy_simple"}
TABLES = {
    "text": (lambda count: _lines(count, b"\x01"), {"format": "text"}),
    "text_escaped": (
        lambda count: _lines(count, b"|"),
        {"format": "text", "text": {"field_delimiter": "|", "escape_char": "\\"}},
    ),
    "json": (_json, {"format": "text", "serde": "json"}),
    "csv": (lambda count: _lines(count, b",", b'"%s"'), {"format": "text", "serde": "open_csv"}),
    "regex": (
        lambda count: _lines(count, b" "),
        {"format": "text", "serde": "regex", "serde_properties": {"input.regex": r"(\S+) (\S+) (\S+)"}},
    ),
    "sequence_plain": (
        lambda count: writers.sequence_file([b"\x01".join(_cells(row)) for row in range(1, count + 1)]),
        {"format": "sequence_file", **PLAIN},
    ),
    "sequence_lazy_binary": (
        lambda count: writers.sequence_file(_lazy_values(count), value_class=writers.BYTES),
        {"format": "sequence_file", "serde": "lazy_binary"},
    ),
    "rcfile_text": (_text_rcfile, {"format": "rcfile", "serde": "columnar"}),
    "rcfile_lazy_binary": (_lazy_rcfile, {"format": "rcfile"}),
    "parquet": (lambda count: _columnar(count, pa.parquet.write_table), {"format": "parquet"}),
    "orc": (lambda count: _columnar(count, pa.orc.write_table), {"format": "orc"}),
    "avro": (_avro, {"format": "avro"}),
}
WITHOUT_VALUES = {"csv", "regex", "sequence_lazy_binary", "rcfile_lazy_binary", "parquet", "orc"}
"""Everything is a string there, or a smallint cannot hold more than one."""
OF_WHOLE_ROWS = {"text_escaped", "json", "regex"}
"""Their bytes are looked at before there are columns."""


@pytest.mark.parametrize("name", TABLES)
def test_what_is_kept_aside(tmp_path, name):
    write, options = TABLES[name]
    strings = name in ("csv", "regex")
    case = Case(tmp_path, **options, columns=dict.fromkeys(COLUMNS, "string") if strings else COLUMNS)
    case.write(13, write(ROWS))
    case.write(13, write(FEW), "000001_0")
    (partition,) = case.plan().splits["train"]
    record = convert_partition(partition, str(case.table), BadRowOptions(), case.kept)
    expected = {row: cause for row, cause in BAD.items() if cause != "value" or name not in WITHOUT_VALUES}
    of_files = [("000000_0", row) for row in expected] + [("000001_0", row) for row in expected if row <= FEW]
    rows = list(quarantine.read(case.kept, partition.fingerprint))
    places = sorted((row.file.rpartition("/")[2], row.row, row.cause) for row in rows)
    assert places == [(file, row, expected[row]) for file, row in of_files]
    assert record.bad_rows == dict(sorted(Counter(cause for _, _, cause in places).items()))
    assert {row.column for row in rows if row.cause == "value"} <= {"small"}
    assert {row.column for row in rows if row.cause == "encoding"} == {None if name in OF_WHOLE_ROWS else "s"}
    assert all("\\xff" in row.raw if row.cause == "encoding" else "70000" in row.raw for row in rows)
    good = [row for count in (ROWS, FEW) for row in range(1, count + 1) if row not in expected]
    assert (record.rows, record.rows_read) == (len(good), len(good))
    numbers = [int(example["n"][0]) for example in examples_of(Path(case.kept), record)]
    assert numbers == good
