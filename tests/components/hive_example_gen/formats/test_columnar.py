"""Parquet and ORC: columns matched with the declared ones, types, damage."""

import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest

from hivemill.common.errors import ConfigError, DataCorruptError, DataNotReadyError
from hivemill.components.hive_example_gen.formats import reader
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile, translated
from hivemill.components.hive_example_gen.formats.evolution import widens
from hivemill.components.hive_example_gen.table.hive_types import parse_type
from hivemill.components.hive_example_gen.table.spec import TableSpec

WRITERS = {
    "parquet": pa.parquet.write_table,
    "orc": lambda table, file: pa.orc.write_table(table, str(file)),
}


@pytest.fixture(params=["parquet", "orc"])
def file_format(request):
    return request.param


def _file(tmp_path, table, file_format):
    WRITERS[file_format](table, tmp_path / "000000_0")
    return DataFile(str(tmp_path / "000000_0"), "dt=x/000000_0")


def _spec(columns=None, file_format="auto", **options):
    return TableSpec(format=file_format, columns=columns, partition_columns={"dt": "string"}, **options)


def _rows(file, spec):
    return [row for batch in reader.read_batches(file, spec, BadRows()) for row in batch.to_pylist()]


def test_without_declared_columns_the_files_own_are_read(tmp_path, file_format):
    file = _file(tmp_path, pa.table({"userId": [1, None], "s": ["a", ""], "dt": ["file", "file"]}), file_format)
    assert _rows(file, _spec()) == [
        {"userId": 1, "s": "a"},
        {"userId": None, "s": ""},
    ]  # dt: the partition's value counts


def test_names_are_matched_without_regard_to_case_in_any_order(tmp_path, file_format):
    file = _file(tmp_path, pa.table({"extra": [0], "Name": ["a"], "userId": pa.array([1], pa.int32())}), file_format)
    assert _rows(file, _spec({"userid": "bigint", "name": "string"})) == [{"userid": 1, "name": "a"}]


def test_a_column_added_later_is_null_in_older_files(tmp_path, file_format):
    file = _file(tmp_path, pa.table({"a": [1]}), file_format)
    assert _rows(file, _spec({"a": "bigint", "tags": "array<string>"})) == [{"a": 1, "tags": None}]
    assert reader.columns_of(file, _spec({"a": "bigint", "tags": "array<string>"}))[1] == {"a"}


def test_fields_added_inside_arrays_and_maps_are_null_in_older_files(tmp_path, file_format):
    items = pa.list_(pa.struct({"item": pa.int32()}))
    written = {
        "items": pa.array([[{"item": 1}, None], None, [], [{"item": 2}]] * 5000, items),
        "by_name": pa.array(
            [[("k", {"item": 3})], None, [], [("n", None)]] * 5000, pa.map_(pa.string(), items.value_type)
        ),
    }
    file = _file(tmp_path, pa.table(written), file_format)
    columns = {
        "items": "array<struct<item:bigint,name:string>>",
        "by_name": "map<string,struct<name:string,item:int>>",
    }
    found = _rows(file, _spec(columns))  # more rows than a batch has: slices of the file's arrays
    assert (
        found
        == [
            {"items": [{"item": 1, "name": None}, None], "by_name": [("k", {"name": None, "item": 3})]},
            {"items": None, "by_name": None},
            {"items": [], "by_name": []},
            {"items": [{"item": 2, "name": None}], "by_name": [("n", None)]},
        ]
        * 5000
    )


def test_a_file_without_any_column_of_the_table(tmp_path, file_format):
    file = _file(tmp_path, pa.table({"x": [1], "y": [2]}), file_format)
    with pytest.raises(DataNotReadyError, match="000000_0 has none of the table's columns: it has x, y"):
        _rows(file, _spec({"a": "bigint"}))
    assert _rows(file, _spec({"a": "bigint", "x": "bigint"}, exclude_columns=("x",))) == [{"a": None}]


def test_columns_that_differ_in_case_alone(tmp_path, file_format):
    file = _file(tmp_path, pa.table({"a": [1], "A": [2], "b": [3]}), file_format)
    assert _rows(file, _spec({"A": "bigint", "b": "bigint"})) == [{"A": 2, "b": 3}]
    assert _rows(file, _spec({"a": "bigint"})) == [{"a": 1}]
    other = _file(tmp_path, pa.table({"AA": [1], "Aa": [2]}), file_format)
    with pytest.raises(DataNotReadyError, match="several columns that are called 'aa' without regard to case: AA, Aa"):
        _rows(other, _spec({"aa": "bigint"}))


def test_transactional_tables_are_refused(tmp_path):
    names = ["operation", "originalTransaction", "bucket", "rowId", "currentTransaction"]
    table = pa.table({**{name: [0] for name in names}, "row": [{"a": 1}]})
    with pytest.raises(DataNotReadyError, match=r"belongs to a transactional \(ACID\) table"):
        _rows(_file(tmp_path, table, "orc"), _spec({"a": "bigint"}))


def test_nested_columns_of_declared_types(tmp_path, file_format):
    own = pa.schema(
        [
            ("l", pa.list_(pa.int32())),
            ("m", pa.map_(pa.string(), pa.float32())),
            ("s", pa.struct([("A", pa.int16()), ("gone", pa.string())])),
        ]
    )
    rows = [{"l": [1, None], "m": [("k", 0.5)], "s": {"A": 1, "gone": "x"}}, {"l": None, "m": None, "s": None}]
    file = _file(tmp_path, pa.Table.from_pylist(rows, own), file_format)
    declared = {"l": "array<bigint>", "m": "map<string,double>", "s": "struct<a:int,added:string>"}
    assert _rows(file, _spec(declared)) == [
        {"l": [1, None], "m": [("k", 0.5)], "s": {"a": 1, "added": None}},
        {"l": None, "m": None, "s": None},
    ]


@pytest.mark.parametrize(
    ("found", "declared", "problem"),
    [
        (pa.array(["1"]), "bigint", "column 'c' is string in the file, declared bigint"),
        (pa.array([1.5]), "string", "column 'c' is double in the file, declared string"),
        (pa.array(["1.5"]), "double", "column 'c' is string in the file, declared double"),
        (pa.array([Decimal("1.5")]), "string", r"column 'c' is decimal\(2,1\) in the file, declared string"),
        (pa.array([Decimal("1.5")]), "decimal(2,0)", r"column 'c' is decimal\(2,1\) in the file, declared decimal"),
        (pa.array([1]), "int", "column 'c' is bigint in the file, declared int"),
        (pa.array([1.0]), "float", "column 'c' is double in the file, declared float"),
        (pa.array([["1"]]), "array<int>", "column 'c' is array<string> in the file, declared array<int>"),
        (pa.array([[1]]), "bigint", "column 'c' is array<bigint> in the file, declared bigint"),
        (pa.array([datetime.date(2026, 1, 1)]), "timestamp", "column 'c' is date in the file, declared timestamp"),
    ],
)
def test_another_type_is_an_error_with_both(tmp_path, file_format, found, declared, problem):
    file = _file(tmp_path, pa.table({"c": found}), file_format)
    with pytest.raises(DataNotReadyError, match=problem) as raised:
        _rows(file, _spec({"c": declared}))
    assert raised.value.message.startswith("dt=x/000000_0: ")


@pytest.mark.parametrize(
    ("found", "declared", "expected"),
    [
        ("tinyint", "bigint", True),
        ("int", "double", True),
        ("bigint", "double", True),
        ("int", "float", True),
        ("int", "decimal(5,2)", True),
        ("int", "decimal(38,30)", False),
        ("decimal(4,2)", "double", True),
        ("decimal(4,2)", "float", False),
        ("timestamp", "string", True),
        ("double", "bigint", False),
        ("smallint", "float", True),
        ("float", "double", True),
        ("decimal(4,2)", "decimal(6,2)", True),
        ("decimal(4,2)", "decimal(4,3)", False),
        ("binary", "string", True),
        ("map<string,int>", "map<string,bigint>", True),
        ("map<string,int>", "map<bigint,int>", False),
        ("struct<a:int>", "struct<a:bigint,b:int>", True),
        ("array<int>", "map<int,int>", False),
        ("boolean", "int", False),
    ],
)
def test_what_widens(found, declared, expected):
    assert widens(parse_type(found), parse_type(declared)) is expected


@pytest.mark.parametrize(
    ("found", "declared", "expected"),
    [
        (pa.array([127, None], pa.int8()), "bigint", [127, None]),
        (pa.array([2**53, None]), "double", [2.0**53, None]),
        (pa.array([-(2**24)], pa.int32()), "float", [-(2.0**24)]),
        (pa.array([0.5], pa.float32()), "double", [0.5]),
        (pa.array([-5], pa.int32()), "decimal(6,2)", [Decimal("-5.00")]),
        (pa.array([Decimal("1.50")]), "decimal(38,10)", [Decimal("1.5000000000")]),
        (pa.array([Decimal("1.50")]), "double", [1.5]),
        (pa.array([-(2**63), None]), "string", ["-9223372036854775808", None]),
        (pa.array([True, False]), "string", ["TRUE", "FALSE"]),
        (pa.array([datetime.date(1, 2, 3)]), "string", ["0001-02-03"]),
        (pa.array([datetime.datetime(2026, 1, 2, 3, 4, 50)]), "string", ["2026-01-02 03:04:50"]),
        (pa.array([datetime.datetime(2026, 1, 2, 3, 4, 50, 120)]), "string", ["2026-01-02 03:04:50.00012"]),
        (pa.array(["abcdef", "ab "]), "varchar(3)", ["abc", "ab "]),
        (pa.array(["abcdef", "ab "]), "char(4)", ["abcd", "ab"]),
        (pa.array([[1, None], None, []], pa.list_(pa.int16())), "array<string>", [["1", None], None, []]),
        (
            pa.array([[{"i": 1, "gone": 0}, None], None]),
            "array<struct<i:bigint,new:string>>",
            [[{"i": 1, "new": None}, None], None],
        ),
        (
            pa.array([[("k", {"i": 1})], [], None], pa.map_(pa.string(), pa.struct([("i", pa.int32())]))),
            "map<string,struct<new:int,i:double>>",
            [[("k", {"new": None, "i": 1.0})], [], None],
        ),
    ],
)
def test_columns_that_became_wider(tmp_path, file_format, found, declared, expected):
    file = _file(tmp_path, pa.table({"c": found}), file_format)
    if file_format == "orc" and pa.types.is_date(found.type):  # what pyarrow writes is proleptic, and says so
        assert reader.columns_of(file, _spec())[0].field("c").type == pa.date32()
    assert [row["c"] for row in _rows(file, _spec({"c": declared}))] == expected


@pytest.mark.parametrize(
    ("found", "declared"),
    [
        (pa.array([2**53 + 1]), "double"),
        (pa.array([2**24 + 1], pa.int32()), "float"),
        (pa.array([10_000], pa.int32()), "decimal(5,1)"),
    ],
)
def test_a_value_that_would_lose_digits(tmp_path, file_format, found, declared):
    file = _file(tmp_path, pa.table({"c": found}), file_format)
    problem = f"dt=x/000000_0: column 'c' is .* in the file, and a value does not fit in {declared.split('(')[0]}"
    with pytest.raises(DataNotReadyError, match=problem):
        _rows(file, _spec({"c": declared}))


def test_dates_times_and_decimals(tmp_path, file_format):
    moment = datetime.datetime(2026, 11, 15, 1, 2, 3, 123456)
    table = pa.table(
        {
            "d": pa.array([datetime.date(1969, 12, 31)]),
            "t": pa.array([moment], pa.timestamp("ns")),
            "n": pa.array([Decimal("-1.50")], pa.decimal128(10, 2)),
        }
    )
    file = _file(tmp_path, table, file_format)
    assert _rows(file, _spec({"d": "date", "t": "timestamp", "n": "decimal(12,2)"})) == [
        {"d": datetime.date(1969, 12, 31), "t": moment, "n": Decimal("-1.50")}
    ]


def test_instants_are_the_wall_clock_of_the_declared_zone(tmp_path, file_format):
    noon = datetime.datetime(2026, 7, 1, 12)
    instants = pa.array([noon, None], pa.timestamp("us", tz="UTC"))
    nested = pa.ListArray.from_arrays([0, 1, 2], instants)
    local = pa.array([noon, None], pa.timestamp("us"))
    file = _file(tmp_path, pa.table({"at": instants, "seen": nested, "local": local}), file_format)
    spec = _spec({"at": "timestamp", "seen": "array<timestamp>", "local": "timestamp"})
    null = {"at": None, "seen": [None], "local": None}
    assert _rows(file, spec) == [{"at": noon, "seen": [noon], "local": noon}, null]
    zoned = spec.model_copy(update={"serde_properties": {"writer.time.zone": "America/New_York"}})
    morning = datetime.datetime(2026, 7, 1, 8)
    assert _rows(file, zoned) == [{"at": morning, "seen": [morning], "local": noon}, null]


def test_int96_beyond_nanoseconds(tmp_path):
    moment = datetime.datetime(9999, 12, 31)
    table = pa.table({"t": pa.array([moment], pa.timestamp("us"))})
    pa.parquet.write_table(table, tmp_path / "f", use_deprecated_int96_timestamps=True)
    assert _rows(DataFile(str(tmp_path / "f"), "f"), _spec({"t": "timestamp"})) == [{"t": moment}]


EDGES = [
    datetime.datetime(1, 1, 1),
    datetime.datetime(1500, 1, 1, 1, 2, 3, 4),
    datetime.datetime(1677, 9, 21, 0, 12, 43),
    datetime.datetime(1969, 12, 31, 23, 59, 59, 999_999),
    datetime.datetime(2026, 7, 1, 12, 0, 0, 5),
    datetime.datetime(2262, 4, 11, 23, 47, 17),
    datetime.datetime(2500, 1, 1, 0, 0, 0, 1),
    datetime.datetime(9999, 12, 31, 23, 59, 59, 999_999),
    None,
]


@pytest.mark.parametrize("compression", ["uncompressed", "zlib", "snappy", "zstd", "lz4"])
def test_orc_timestamps_beyond_nanoseconds(tmp_path, compression):
    """pyarrow itself wraps them around: its nanoseconds end in 1677 and 2262."""
    micros = pa.timestamp("us")
    rows = [{"id": index, "t": at, "l": [at, None], "s": {"t": at}} for index, at in enumerate(EDGES)]
    own = pa.schema([("id", pa.int64()), ("t", micros), ("l", pa.list_(micros)), ("s", pa.struct([("t", micros)]))])
    pa.orc.write_table(pa.Table.from_pylist(rows * 50, own), str(tmp_path / "f"), compression=compression)
    file = DataFile(str(tmp_path / "f"), "f")
    assert _rows(file, _spec()) == rows * 50
    assert _rows(file, _spec({"t": "timestamp"})) == [{"t": row["t"]} for row in rows] * 50
    assert len(pa.orc.ORCFile(str(tmp_path / "f")).read()) == len(rows) * 50


def test_orc_timestamps_within_nanoseconds_are_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr("hivemill.components.hive_example_gen.formats.orc.orc_file.SecondsFile", None)
    file = _file(tmp_path, pa.table({"t": pa.array(EDGES[3:5], pa.timestamp("us"))}), "orc")
    assert [row["t"] for row in _rows(file, _spec())] == EDGES[3:5]


def test_old_hives_orc_columns_are_taken_by_position(tmp_path):
    file = _file(tmp_path, pa.table({"_col0": [1], "_col1": ["a"]}), "orc")
    assert _rows(file, _spec({"id": "bigint", "name": "string"})) == [{"id": 1, "name": "a"}]
    with pytest.raises(ConfigError, match="carries no column names"):
        _rows(file, _spec())


@pytest.mark.parametrize(
    ("file_format", "key"),
    [("parquet", "parquet.column.index.access"), ("orc", "orc.force.positional.evolution")],
)
def test_a_table_whose_columns_are_taken_by_place(tmp_path, file_format, key):
    file = _file(tmp_path, pa.table({"b": pa.array([1], pa.int32()), "a": ["x"]}), file_format)
    columns = {"a": "int", "renamed": "string", "added": "date"}
    by_place = _spec(columns, file_format, serde_properties={key: "true"})
    assert _rows(file, by_place) == [{"a": 1, "renamed": "x", "added": None}]
    with pytest.raises(DataNotReadyError, match="column 'a' is string in the file, declared int"):
        _rows(file, _spec(columns, file_format, serde_properties={key: "false"}))


def test_files_behind_a_url_are_read_through_their_filesystem(tmp_path, file_format, monkeypatch):
    file = _file(tmp_path, pa.table({"t": pa.array(EDGES, pa.timestamp("us"))}), file_format)
    opened = []

    def open_file(path):
        opened.append(path)
        return pa.OSFile(str(tmp_path / path.removeprefix("mock://")))

    monkeypatch.setattr("hivemill.components.hive_example_gen.catalog.table_files.open_file", open_file)
    remote = DataFile("mock://000000_0", file.name)
    assert [row["t"] for row in _rows(remote, _spec({"t": "timestamp"}))] == EDGES
    assert reader.columns_of(remote, _spec())[1] == {"t"}
    assert set(opened) == {"mock://000000_0"}


def test_several_row_groups_and_stripes(tmp_path, file_format):
    table = pa.table({"a": range(50_000), "s": [f"value {number}" for number in range(50_000)]})
    if file_format == "parquet":
        pa.parquet.write_table(table, tmp_path / "f", row_group_size=7_000)
    else:
        pa.orc.write_table(table, str(tmp_path / "f"), stripe_size=1 << 16)
    batches = list(reader.read_batches(DataFile(str(tmp_path / "f"), "f"), _spec(), BadRows()))
    assert max(batch.num_rows for batch in batches) <= 16_384
    assert pa.Table.from_batches(batches).equals(table)


def test_rows_with_text_that_is_not_utf8_are_set_aside(tmp_path, file_format):
    texts = [f"ok {number}".encode() for number in range(20_000)]
    for row in (0, 7, 16_383, 16_384, 19_999):
        texts[row] = b"bad\xff"
    names = pa.array([[b"a", None], [b"\xe9t\xe9", b"b"], None, []] * 5000, pa.list_(pa.binary()))
    other = pa.array(range(20_000))
    file = _file(tmp_path, pa.table({"s": pa.array(texts, pa.binary()), "l": names, "n": other}), file_format)
    bad = BadRows()
    spec = _spec({"n": "bigint", "s": "string"})
    rows = [row for batch in reader.read_batches(file, spec, bad) for row in batch.to_pylist()]
    assert bad.counts == {"encoding": 5}
    assert [kept.row for kept in bad.kept] == [1, 8, 16_384, 16_385, 20_000]
    assert (bad.kept[0].column, bad.kept[0].raw) == ("s", "bad\\xff")
    assert str(bad.kept[0]) == "dt=x/000000_0: row 1, column 's': not valid UTF-8"
    left = [number for number in range(20_000) if texts[number] != b"bad\xff"]
    assert rows == [{"n": number, "s": f"ok {number}"} for number in left]
    bad = BadRows()
    batches = list(reader.read_batches(file, _spec({"l": "array<string>", "n": "bigint"}), bad))
    assert bad.counts == {"encoding": 5_000}
    assert [kept.row for kept in bad.kept][:2] == [2, 6]
    assert bad.kept[0].raw == "\\xe9t\\xe9, b"
    assert pa.Table.from_batches(batches)["n"].to_pylist() == [number for number in range(20_000) if number % 4 != 1]


def test_nested_text_that_is_not_utf8(tmp_path, file_format):
    kind = pa.map_(pa.binary(), pa.struct([("t", pa.binary()), ("i", pa.int64())]))
    maps = pa.array([[(b"k", {"t": b"v", "i": 1})], [(b"k", {"t": b"\x80", "i": 2})], None, [(b"\xc3", None)]], kind)
    file = _file(tmp_path, pa.table({"m": maps, "n": [0, 1, 2, 3]}), file_format)
    bad = BadRows()
    spec = _spec({"m": "map<string,struct<t:string,i:bigint>>", "n": "bigint"})
    rows = [row for batch in reader.read_batches(file, spec, bad) for row in batch.to_pylist()]
    assert [row["n"] for row in rows] == [0, 2]
    assert [(kept.row, kept.column, kept.raw) for kept in bad.kept] == [(2, "m", "k, \\x80"), (4, "m", "\\xc3")]


def test_undecodable_text_behind_a_dictionary(tmp_path):
    """Of files whose columns nobody declares: Arrow writes its own types into Parquet."""
    texts = pa.array([b"a", b"\xff"], pa.binary()).cast(pa.string(), safe=False)
    table = pa.table({"s": pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0]), texts)})
    bad = BadRows()
    batches = list(reader.read_batches(_file(tmp_path, table, "parquet"), _spec(), bad))
    assert [row["s"] for batch in batches for row in batch.to_pylist()] == ["a", None, "a"]
    assert [(kept.row, kept.raw) for kept in bad.kept] == [(2, "\\xff")]


@pytest.mark.parametrize("keep", [0.5, 0.99, 6])
def test_a_truncated_file(tmp_path, file_format, keep):
    file = _file(tmp_path, pa.table({"a": range(1000)}), file_format)
    data = Path(file.path).read_bytes()
    Path(file.path).write_bytes(data[: keep if keep > 1 else int(len(data) * keep)])
    with pytest.raises(DataCorruptError, match=r"dt=x/000000_0 cannot be read as (Parquet|ORC): ") as raised:
        _rows(file, _spec())
    assert raised.value.exit_code == 9


def test_a_damaged_column_name(tmp_path):
    file = _file(tmp_path, pa.table({"column_name": pa.array(range(8))}), "parquet")
    data = Path(file.path).read_bytes()
    Path(file.path).write_bytes(data.replace(b"column_name", b"column_n\x89me"))
    with pytest.raises(DataCorruptError, match="dt=x/000000_0 cannot be read as Parquet: 'utf-8' codec can't decode"):
        _rows(file, _spec())


def test_whatever_arrow_raises_is_translated():
    """Damaged pages of Parquet end in this one, for example."""
    refused = pytest.raises(DataCorruptError, match="f cannot be read as Parquet: Integers with more than 64 bits")
    with refused, translated(DataFile("f", "f"), "Parquet"):
        raise pa.ArrowNotImplementedError("Integers with more than 64 bits not implemented")


def test_damaged_pages(tmp_path):
    """Parquet only: on some damaged ORC files the C++ reader of pyarrow 18 ends the process (docs/formats.md)."""
    table = pa.table({"a": [f"{number * 7919 % 10007}" for number in range(20_000)]})
    file = _file(tmp_path, table, "parquet")
    data = bytearray(Path(file.path).read_bytes())
    data[2000:6000] = b"\xff" * 4000
    Path(file.path).write_bytes(data)
    with pytest.raises(DataCorruptError, match="dt=x/000000_0"):
        _rows(file, _spec({"a": "string"}))


@pytest.mark.parametrize(
    ("declared", "written", "problem"),
    [
        ("parquet", "text", "is text, but source.format .* says parquet"),
        ("orc", "text", "is text, but source.format .* says orc"),
        ("orc", "parquet", "is Parquet, but source.format .* says orc"),
        ("text", "parquet", "is Parquet, but source.format .* says text"),
        ("text", "orc", "is ORC, but source.format .* says text"),
    ],
)
def test_a_file_of_another_format(tmp_path, declared, written, problem):
    if written == "text":
        (tmp_path / "000000_0").write_bytes(b"1\x012\n")
    else:
        WRITERS[written](pa.table({"a": [1]}), tmp_path / "000000_0")
    with pytest.raises(DataNotReadyError, match="dt=x/000000_0 " + problem) as raised:
        _rows(DataFile(str(tmp_path / "000000_0"), "dt=x/000000_0"), _spec({"a": "bigint"}, declared))
    assert "source.format" in raised.value.hint


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"SEQ\x06\x19org.apache.hadoop.io.Text", "a SequenceFile"),
        (b"RCF\x01\x00\x00\x00\x00\x01\x1bhive.io.rcfile.column.number\x011", "an RCFile"),
        (b"SEQ\x06\x2forg.apache.hadoop.hive.ql.io.RCFile$KeyBuffer", "an RCFile"),
        (b"Obj\x01\x04\x14avro.codec\x08null", "Avro"),
    ],
)
def test_a_binary_file_where_another_format_is_declared(tmp_path, head, found):
    (tmp_path / "f").write_bytes(head + b"rest")
    for declared in ("text", "parquet"):
        with pytest.raises(DataNotReadyError, match=f"f is {found}, but source.format"):
            _rows(DataFile(str(tmp_path / "f"), "f"), _spec({"a": "string"}, declared))


@pytest.mark.parametrize("head", [b"SEQ", b"RCF", b"Obj", b"PAR1", b"ORC"])
def test_a_first_column_like_a_magic(tmp_path, head):
    (tmp_path / "f").write_bytes(head + b"\x011\n")
    rows = _rows(DataFile(str(tmp_path / "f"), "f"), _spec({"a": "string", "b": "int"}, "text"))
    assert rows == [{"a": head.decode(), "b": 1}]


def test_encrypted_parquet_is_refused(tmp_path):
    (tmp_path / "f").write_bytes(b"PARE" + bytes(20) + b"PARE")
    with pytest.raises(DataCorruptError, match="f is encrypted Parquet, which is not supported"):
        _rows(DataFile(str(tmp_path / "f"), "f"), _spec({"a": "string"}))


def test_text_may_begin_like_another_format(tmp_path):
    (tmp_path / "f").write_bytes(b"ORCHID\nPAR1\nSEQ\nRCF\nObj\n")
    rows = _rows(DataFile(str(tmp_path / "f"), "f"), _spec({"a": "string"}, "text"))
    assert [row["a"] for row in rows] == ["ORCHID", "PAR1", "SEQ", "RCF", "Obj"]


def test_a_file_without_permission():
    def denied():  # made here: root reads everything
        with translated(DataFile("f", "f"), "text"):
            raise PermissionError(13, "Permission denied")

    with pytest.raises(DataNotReadyError, match="f cannot be read: permission denied") as raised:
        denied()
    assert raised.value.exit_code == 3


def test_a_file_that_is_gone(tmp_path):
    with pytest.raises(DataNotReadyError, match="f was there when the window was planned and is gone"):
        _rows(DataFile(str(tmp_path / "f"), "f"), _spec())


def test_nested_columns_that_became_wider_over_many_batches(tmp_path, monkeypatch, file_format):
    monkeypatch.setattr("hivemill.components.hive_example_gen.formats.columnar.BATCH_ROWS", 7)
    rows = [
        {
            "l": None if number % 5 == 0 else [{"i": number, "at": EDGES[number % 9]}] * (number % 3),
            "m": None if number % 4 == 0 else [(f"k{number}", number)],
            "s": None if number % 6 == 0 else {"l": [number], "day": datetime.date(2026, 1, 1)},
        }
        for number in range(40)
    ]
    micros = pa.timestamp("us")
    own = pa.schema(
        [
            ("l", pa.list_(pa.struct([("i", pa.int32()), ("at", micros)]))),
            ("m", pa.map_(pa.string(), pa.int16())),
            ("s", pa.struct([("l", pa.list_(pa.int64())), ("day", pa.date32())])),
        ]
    )
    file = _file(tmp_path, pa.Table.from_pylist(rows, own), file_format)
    declared = {
        "l": "array<struct<at:timestamp,i:bigint>>",
        "m": "map<string,double>",
        "s": "struct<l:array<string>,day:date>",
    }
    found = _rows(file, _spec(declared))
    for row in rows:
        if row["s"]:
            row["s"]["l"] = [str(number) for number in row["s"]["l"]]
    assert found == rows
