"""RCFiles of both versions and both SerDes, packed or not; damage; hostile lengths."""

import datetime
import struct
from decimal import Decimal

import pyarrow as pa
import pytest

from hivemill.common.errors import ConfigError, DataCorruptError
from hivemill.components.hive_example_gen.formats import reader
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.table.hive_types import parse_type
from hivemill.components.hive_example_gen.table.spec import TableSpec
from tests.components.hive_example_gen.formats.hadoop_writers import CODECS, SYNC, lazy_value, metadata, rcfile, vint

COLUMNS = {
    "i": "int",
    "s": "string",
    "d": "double",
    "f": "float",
    "l": "array<bigint>",
    "m": "map<string,double>",
    "r": "struct<a:tinyint,b:string>",
    "n": "decimal(8,2)",
    "t": "timestamp",
    "day": "date",
    "b": "boolean",
}
FULL = {
    "i": 7,
    "s": "ü",
    "d": -0.5,
    "f": 0.25,
    "l": [1, None, -(2**63)],
    "m": [("k", 1.0), ("z", None)],
    "r": {"a": -1, "b": None},
    "n": Decimal("-12.50"),
    "t": datetime.datetime(2026, 1, 2, 3, 4, 5, 60),
    "day": datetime.date(2026, 2, 28),
    "b": False,
}
EMPTY = {**dict.fromkeys(COLUMNS), "s": "", "l": [], "m": []}
ROWS = [*[FULL] * 5, dict.fromkeys(COLUMNS), EMPTY, {**FULL, "i": 10**9, "s": "x" * 300}, *[FULL] * 3]


def _cells(rows):
    return [[_cell(parse_type(text), row[name]) for row in rows] for name, text in COLUMNS.items()]


def _cell(kind, value):
    if value is None:
        return b""
    return b"\xbf" if value == "" else lazy_value(kind, value, prefix=False)


def _spec(columns=None, **options):
    return TableSpec(format="rcfile", columns=columns or COLUMNS, partition_columns={}, **options)


def _read(tmp_path, data, spec=None, bad=None):
    (tmp_path / "000000_0").write_bytes(data)
    file = DataFile(str(tmp_path / "000000_0"), "dt=x/000000_0")
    batches = reader.read_batches(file, spec or _spec(), bad if bad is not None else BadRows())
    return [row for batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("codec", [None, *CODECS])
def test_lazy_binary_columns(tmp_path, codec, version):
    for group_rows in (1, 4, 100):
        assert _read(tmp_path, rcfile(_cells(ROWS), version=version, codec=codec, group_rows=group_rows)) == ROWS


@pytest.mark.parametrize("codec", [None, "DefaultCodec"])
def test_text_columns(tmp_path, codec):
    columns = {"i": "int", "s": "string", "l": "array<string>"}
    cells = [[b"1", b"\\N", b""], [b"a", b"", b"\\N"], [b"x\x02y", b"\\N", b""]]
    assert _read(tmp_path, rcfile(cells, codec=codec), _spec(columns, serde="columnar")) == [
        {"i": 1, "s": "a", "l": ["x", "y"]},
        {"i": None, "s": "", "l": None},
        {"i": None, "s": None, "l": []},
    ]


def test_batches_cut_through_runs_of_equal_lengths(tmp_path, monkeypatch):
    monkeypatch.setattr("hivemill.components.hive_example_gen.formats.hadoop.rcfile.BATCH_ROWS", 3)
    names = [b"aa", b"bb", b"cc", b"dd", b"e", b"", b"ff", b"gg", b"hh", b"ii"]
    cells = [[lazy_value(pa.int32(), number, prefix=False) for number in range(10)], names]
    rows = _read(tmp_path, rcfile(cells, group_rows=10), _spec({"i": "int", "s": "string"}))
    assert rows == [{"i": i, "s": name.decode() or None} for i, name in enumerate(names)]


@pytest.mark.parametrize("serde", ["columnar", "lazy_binary_columnar"])
def test_columns_that_were_added_or_dropped(tmp_path, serde):
    data = rcfile([[b"a", b"b"], [b"c", b"d"]])
    more = {"x": "string", "y": "string", "z": "bigint"}
    assert _read(tmp_path, data, _spec(more, serde=serde))[0] == {"x": "a", "y": "c", "z": None}
    assert _read(tmp_path, data, _spec({"x": "string"}, serde=serde)) == [{"x": "a"}, {"x": "b"}]
    assert _read(tmp_path, data, _spec(more, serde=serde, exclude_columns=("x", "z"))) == [{"y": "c"}, {"y": "d"}]
    file = DataFile(str(tmp_path / "000000_0"), "f")
    schema, present = reader.columns_of(file, _spec(more, serde=serde))
    assert (schema.names, present) == (["x", "y", "z"], {"x", "y"})


@pytest.mark.parametrize("serde", ["columnar", "lazy_binary_columnar"])
def test_a_column_of_nulls_alone(tmp_path, serde):
    null = b"\\N" if serde == "columnar" else b""
    data = rcfile([[null] * 5], group_rows=5)
    assert _read(tmp_path, data, _spec({"x": "string"}, serde=serde)) == [{"x": None}] * 5


def test_bad_cells_are_bad_rows(tmp_path):
    cells = [[b"\x01", b"\x8c\x01", b"\x8b\x01\x02\x03\x04\x05"], [b"a", b"b", b"\xff"]]
    bad = BadRows()
    columns = {"i": "int", "s": "string"}
    assert _read(tmp_path, rcfile(cells), _spec(columns), bad) == [{"i": 1, "s": "a"}]
    assert [str(row) for row in bad.kept] == [
        "dt=x/000000_0: row 2, column 'i': its bytes are no int",
        "dt=x/000000_0: row 3, column 'i': the value does not fit in int",
    ]
    text = rcfile([[b"1", b"one", b"3"], [b"a", b"b", b"\xff"]])
    bad = BadRows()
    assert _read(tmp_path, text, _spec(columns, serde="columnar"), bad) == [{"i": 1, "s": "a"}]
    assert bad.counts == {"value": 1, "encoding": 1}


@pytest.mark.parametrize("codec", [None, "DefaultCodec"])
def test_every_truncation_is_noticed_or_ends_between_groups(tmp_path, codec):
    rows = ROWS[:6]
    whole = rcfile(_cells(rows), codec=codec, group_rows=2)
    for size in range(4, len(whole), 11):
        try:
            found = _read(tmp_path, whole[:size])
        except DataCorruptError as error:
            assert error.message.startswith("dt=x/000000_0 cannot be read as RCFile: ")
        else:
            assert found == rows[: len(found)]
            assert len(found) in (0, 2, 4)


def _file_of(key, values=b"", columns=1):
    head = b"RCF\x01\0" + metadata({"hive.io.rcfile.column.number": str(columns)}) + SYNC
    return head + struct.pack(">iii", len(key) + len(values), len(key), len(key)) + key + values


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"RCF\x02" + bytes(40), "versions 0 and 1 are read"),
        (b"RCF\x01\0" + metadata({}) + SYNC, "its metadata says hive.io.rcfile.column.number=''"),
        (b"RCF\x01\0" + metadata({"hive.io.rcfile.column.number": "9" * 30}) + SYNC, "its metadata says"),
        (_file_of(vint(2**31 - 1) + vint(0) * 3), "a group of 2,147,483,647 rows"),
        (_file_of(vint(2) + vint(1) + vint(2**31 - 1) + vint(0), b"x"), "column 1 of a group says 1, 2,147,483,647"),
        (_file_of(vint(2) + vint(2) * 2 + vint(2) + b"\x01\x01", b"x"), "column 1 of a group says 2"),
        (_file_of(vint(2) + vint(1) * 2 + vint(2) + b"\x01\x01", b"x"), "do not add up to its bytes"),
        (_file_of(vint(2) + vint(1) * 2 + vint(1) + b"\x01", b"x"), "a column has 1 cells where its group has 2 rows"),
        (_file_of(vint(2) + vint(1) * 2 + vint(1) + b"\xff", b"x"), "begin with a repetition"),
        (_file_of(vint(2) + vint(1) * 2 + vint(6) + b"\x00" + vint(~(2**31)), b"x"), "is repeated more often"),
        (_file_of(vint(0) + vint(0) * 3, b"x"), "1 bytes of a group belong to no column"),
        (_file_of(vint(1)), "a number is cut off"),
        (_file_of(b"")[:-12] + struct.pack(">iii", 2**31 - 1, 2**31 - 1, 2**31 - 1), "with a key of 2,147,483,647"),
    ],
)
def test_damage_is_named(tmp_path, data, problem):
    with pytest.raises(DataCorruptError, match=problem) as raised:
        _read(tmp_path, data, _spec({"x": "string"}))
    assert raised.value.message.startswith("dt=x/000000_0 cannot be read as RCFile: ")


def test_a_serde_for_rows_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"source\.serde is lazy_simple, which reads whole rows"):
        _read(tmp_path, rcfile([[b"a"]]), _spec({"x": "string"}, serde="lazy_simple"))
