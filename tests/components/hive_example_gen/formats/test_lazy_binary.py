"""LazyBinary: VInts, every type and nesting against an independent encoder, evolved rows, damaged bytes."""

import datetime
import math
import struct
from decimal import Context, Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemill.common.errors import DataNotReadyError
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.hadoop import vints
from hivemill.components.hive_example_gen.formats.hadoop.lazy_binary import LazyBinaryRows
from hivemill.components.hive_example_gen.options import BadRowOptions
from hivemill.components.hive_example_gen.table.hive_types import parse_type
from hivemill.components.hive_example_gen.table.spec import TableSpec
from tests.components.hive_example_gen.formats.hadoop_writers import lazy_row, lazy_value, vint

FILE = DataFile("f", "dt=x/f")
PRIMITIVES = {
    "boolean": st.booleans(),
    "tinyint": st.integers(-128, 127),
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "int": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "string": st.text(max_size=8),
    "binary": st.binary(max_size=8),
    "date": st.dates(datetime.date(1582, 10, 15)),
    "timestamp": st.datetimes(datetime.datetime(1582, 10, 15)),
    "decimal(38,3)": st.decimals(-(10**30), 10**30, places=3),
    "decimal(6,2)": st.decimals(-9999, 9999, places=2),
}


def _types():
    """Pairs of a Hive type and a strategy for its values, NULL among them."""
    primitive = st.sampled_from([(name, values) for name, values in PRIMITIVES.items()])

    def deeper(inner):
        lists = inner.map(lambda t: (f"array<{t[0]}>", st.lists(st.none() | t[1], max_size=4)))
        maps = st.tuples(primitive, inner).map(
            lambda p: (
                f"map<{p[0][0]},{p[1][0]}>",
                st.lists(st.tuples(p[0][1], st.none() | p[1][1]), max_size=4, unique_by=lambda entry: repr(entry[0])),
            )
        )
        structs = st.lists(inner, min_size=1, max_size=10).map(
            lambda ts: (
                "struct<" + ",".join(f"f{i}:{t[0]}" for i, t in enumerate(ts)) + ">",
                st.fixed_dictionaries({f"f{i}": st.none() | t[1] for i, t in enumerate(ts)}),
            )
        )
        return lists | maps | structs

    return st.recursive(primitive, deeper, max_leaves=6)


@st.composite
def _tables(draw):
    types = draw(st.lists(_types(), min_size=1, max_size=10))
    rows = draw(st.lists(st.tuples(*(st.none() | values for _, values in types)), max_size=6))
    return [name for name, _ in types], rows


def _spec(columns, **options):
    return TableSpec(format="sequence_file", columns=columns, partition_columns={}, serde="lazy_binary", **options)


def _read(rows, columns, bad=None, **options):
    reader = LazyBinaryRows(FILE, _spec(columns, **options), bad or BadRows())
    return [row for batch in reader.from_values(pa.array(rows, pa.binary()), 0) for row in batch.to_pylist()]


def _typed(columns):
    return [parse_type(text) for text in columns.values()]


@settings(max_examples=60)
@given(_tables())
def test_every_type_and_nesting(table):
    types, rows = table
    columns = {f"c{index}": name for index, name in enumerate(types)}
    schema = pa.schema([(name, parse_type(text)) for name, text in columns.items()])
    expected = pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows], schema).to_pylist()
    bad = BadRows()
    assert _read([lazy_row(schema.types, row) for row in rows], columns, bad) == expected
    assert (bad.total, bad.notes) == (0, {})


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_vints(numbers):
    packed = b"".join(map(vint, numbers))
    assert vints.read_all(packed).tolist() == numbers
    if numbers:
        assert vints.read_one(packed, 0) == (numbers[0], len(vint(numbers[0])))
        with pytest.raises(vints.Damaged, match="cut off"):
            vints.read_one(packed, len(packed))


@pytest.mark.parametrize(
    ("packed", "number"),
    [  # from the description of WritableUtils.writeVLong, written out by hand
        ("7f", 127),
        ("90", -112),
        ("8f80", 128),
        ("87ff", -256),
        ("8ec350", 50_000),
        ("807fffffffffffffff", -(2**63)),
        ("887fffffffffffffff", 2**63 - 1),
        ("88ffffffffffffffff", -1),  # never written so; Java's long overflows to it
    ],
)
def test_vints_by_hand(packed, number):
    data = bytes.fromhex(packed)
    assert vints.read_all(data).tolist() == [number]
    assert vints.read_one(data, 0) == (number, len(data))
    assert vints.read(np.frombuffer(data + bytes(16), np.uint8), np.array([0]))[1].tolist() == [len(data)]


def test_a_row_by_hand():
    row = bytes.fromhex("07" + "05" + "03414243" + "3f800000")  # three values: int 5, 'ABC', float 1.0
    assert _read([row], {"a": "int", "b": "string", "c": "float"}) == [{"a": 5, "b": "ABC", "c": 1.0}]


def test_not_a_number():
    assert math.isnan(_read([b"\x01" + struct.pack(">d", math.nan)], {"a": "double"})[0]["a"])


def test_rows_before_a_column_was_added_and_after_one_was_dropped():
    eight = {f"c{index}": "int" for index in range(8)}
    rows = [lazy_row(_typed(eight), range(8)), lazy_row([*_typed(eight), pa.string()], [*range(8), "new"])]
    bad = BadRows()
    found = _read(rows, eight | {"late": "string"}, bad)
    assert [row["late"] for row in found] == [None, "new"]
    assert (bad.notes, bad.total) == ({"short_row": 1}, 0)
    assert _read(rows, eight, bad) == [{f"c{index}": index for index in range(8)}] * 2
    assert bad.notes == {"short_row": 1, "long_row": 1}


def test_rows_of_another_width_can_be_quarantined():
    columns = {f"c{index}": "int" for index in range(9)}
    rows = [lazy_row(_typed(columns)[:8], range(8)), lazy_row(_typed(columns), range(9))]
    bad = BadRows(BadRowOptions(column_count="quarantine"))
    assert len(_read(rows, columns, bad)) == 1
    assert bad.counts == {"column_count": 1}
    assert str(bad.kept[0]) == "dt=x/f: row 1: it has more or fewer columns than declared"


def test_int_becomes_bigint_and_a_bigint_does_not_become_int():
    row = lazy_row([pa.int64()], [2**40])
    assert _read([row], {"a": "bigint"}) == [{"a": 2**40}]
    bad = BadRows()
    assert _read([row, lazy_row([pa.int32()], [7])], {"a": "int"}, bad) == [{"a": 7}]
    assert str(bad.kept[0]) == "dt=x/f: row 1, column 'a': the value does not fit in int"
    as_null = BadRows(BadRowOptions(values="null"))
    assert _read([row], {"a": "int"}, as_null) == [{"a": None}]
    assert as_null.notes == {"value_as_null": 1}


def test_a_decimal_is_rounded_half_up_and_refused_beyond_its_precision():
    kind = pa.decimal128(6, 2)
    rows = [lazy_row([kind], [Decimal(text)]) for text in ("1.005", "-1.005", "9999.99", "1E+3", "99999.9", "0.004")]
    bad = BadRows()
    found = [row["a"] for row in _read(rows, {"a": "decimal(6,2)"}, bad)]
    assert found == [Decimal(text) for text in ("1.01", "-1.01", "9999.99", "1000.00", "0.00")]
    assert bad.counts == {"value": 1}


def test_a_scale_that_overflows_is_read_as_java_reads_it():
    number = bytes.fromhex("88ffffffffffffffff" + "01" + "05")  # a scale of -1 in nine bytes, the number 5
    assert _read([b"\x01" + number], {"a": "decimal(6,2)"}) == [{"a": Decimal("50.00")}]
    assert _read([b"\x01" + number[:-2] + b"\x08" + bytes(7) + b"\x05"], {"a": "decimal(6,2)"}) == [
        {"a": Decimal("50.00")}
    ]


@pytest.mark.parametrize("kind", [pa.decimal128(38, 18), pa.decimal128(38, 0)])
def test_decimals_of_all_38_digits(kind):
    largest = Decimal("9" * 38).scaleb(-kind.scale, Context(prec=38))
    rows = [lazy_row([kind], [value]) for value in (largest, largest.copy_negate())]
    found = [row["a"] for row in _read(rows, {"a": f"decimal(38,{kind.scale})"})]
    assert found == [largest, largest.copy_negate()]


def test_undecodable_text_is_a_bad_row_with_its_column():
    rows = [lazy_row([pa.string(), pa.list_(pa.string())], ["a", [value]]) for value in (b"ok", b"\xff", b"fine")]
    bad = BadRows()
    found = _read(rows, {"a": "string", "b": "array<string>"}, bad)
    assert [row["b"] for row in found] == [["ok"], ["fine"]]
    assert str(bad.kept[0]) == "dt=x/f: row 2, column 'b': not valid UTF-8"


def test_varchar_and_char_are_cut():
    row = lazy_row([pa.string()] * 2, ["abcdef", "ab  "])
    assert _read([row], {"v": "varchar(3)", "c": "char(4)"}) == [{"v": "abc", "c": "ab"}]


def test_excluded_columns_are_skipped_over():
    columns = {"a": "array<string>", "b": "int"}
    row = lazy_row(_typed(columns), [["x", "y"], 5])
    assert _read([row], columns, exclude_columns=("a",)) == [{"b": 5}]


def test_a_partition_with_columns_of_its_own():
    own = {"b": "int", "a": "string"}
    row = lazy_row(_typed(own), [5, "x"])
    table = {"a": "string", "b": "bigint", "c": "date"}
    assert _read([row], table, file_columns=own) == [{"a": "x", "b": 5, "c": None}]


def test_old_days_need_a_calendar():
    row = lazy_row([pa.date32()], [datetime.date(1, 1, 1)])
    with pytest.raises(DataNotReadyError, match="column 'a' holds a day before 1582-10-15"):
        _read([row], {"a": "date"})
    written = {"writer.date.proleptic": "true"}
    assert _read([row], {"a": "date"}, serde_properties=written) == [{"a": datetime.date(1, 1, 1)}]


def test_instants_of_old_hive_become_wall_clocks():
    row = lazy_row([pa.timestamp("us")], [datetime.datetime(2026, 7, 1, 12)])
    zone = {"writer.time.zone": "America/New_York"}
    assert _read([row], {"a": "timestamp"}, serde_properties=zone) == [{"a": datetime.datetime(2026, 7, 1, 8)}]


@pytest.mark.parametrize("cut", range(1, 40))
def test_cut_rows_are_bad_and_their_neighbours_are_not(cut):
    columns = {"s": "string", "l": "array<bigint>", "m": "map<string,double>", "t": "timestamp", "d": "decimal(9,2)"}
    values = ["abc", [1, None, 1 << 40], [("k", 1.0)], datetime.datetime(9999, 1, 1, 0, 0, 1, 5), Decimal("1.25")]
    row = lazy_row(_typed(columns), values)
    assert len(row) > 40
    bad = BadRows()
    found = _read([row, row[:-cut], row], columns, bad)
    assert len(found) == 2
    assert found[0] == found[1] == dict(zip(columns, values, strict=True))
    assert bad.counts == {"structure": 1}
    assert bad.kept[0].row == 2


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_are_rows_or_bad_rows(rows):
    columns = {
        "a": "array<struct<x:map<string,array<int>>,y:decimal(20,4)>>",
        "b": "string",
        "c": "timestamp",
        "d": "map<bigint,string>",
        "e": "decimal(10,2)",
    }
    bad = BadRows()
    found = _read(rows, columns, bad, serde_properties={"writer.date.proleptic": "true"})
    assert len(found) + bad.total == len(rows)


def test_a_cell_of_a_column_has_no_prefix():
    assert lazy_value(pa.string(), "ab", prefix=False) == b"ab"  # what the RCFile tests rely on
