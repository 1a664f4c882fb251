"""The flattening contract, up to the tf.Example bytes."""

import datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder, RecordBatchToExamplesEncoder

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.rows.flatten import FeatureKind, feature_kinds, flatten


def _flat(values, data_type, dropped=None):
    batch = flatten(pa.record_batch([pa.array(values, data_type)], ["c"]), dropped)
    return {name: column.to_pylist() for name, column in zip(batch.schema.names, batch.columns, strict=True)}


@pytest.mark.parametrize(
    ("data_type", "values", "expected"),
    [
        (pa.int8(), [1, None, -128], [[1], None, [-128]]),
        (pa.bool_(), [True, None, False], [[1], None, [0]]),
        (pa.uint32(), [2**32 - 1], [[2**32 - 1]]),
        (pa.float64(), [0.5, None], [[0.5], None]),
        (pa.decimal128(10, 2), [Decimal("-1.25"), None], [[-1.25], None]),
        (pa.decimal128(8, 2), [Decimal("123456.78")], [[123456.78125]]),
        (pa.string(), ["", None, "ü"], [[b""], None, ["ü".encode()]]),
        (pa.large_string(), ["a"], [[b"a"]]),
        (pa.binary(), [b"\xff", None], [[b"\xff"], None]),
        (pa.date32(), [datetime.date(2026, 11, 5), None], [[b"2026-11-05"], None]),
        (pa.timestamp("us"), [datetime.datetime(1970, 1, 1, 0, 0, 1), None], [[1_000_000], None]),
        (pa.timestamp("ns"), [1_999], [[1]]),
        (pa.timestamp("ms", "UTC"), [5], [[5_000]]),
        (pa.null(), [None, None], [None, None]),
        (pa.dictionary(pa.int32(), pa.string()), ["a", None, "a"], [[b"a"], None, [b"a"]]),
        (pa.list_(pa.int64()), [[1, 2], [], None, [3]], [[1, 2], [], None, [3]]),
        (pa.large_list(pa.string()), [["a"], [], None], [[b"a"], [], None]),
        (pa.list_(pa.bool_()), [[True, False]], [[1, 0]]),
    ],
)
def test_one_feature(data_type, values, expected):
    assert _flat(values, data_type) == {"c": expected}


def test_a_map_becomes_two_parallel_lists():
    data_type = pa.map_(pa.string(), pa.int32())
    assert _flat([[("k", 1), ("j", 2)], [], None], data_type) == {
        "c_keys": [[b"k", b"j"], [], None],
        "c_values": [[1, 2], [], None],
    }


def test_a_struct_becomes_its_fields():
    inner = pa.struct([("x", pa.int32()), ("tags", pa.list_(pa.string()))])
    data_type = pa.struct([("a", pa.float32()), ("in", inner), ("m", pa.map_(pa.string(), pa.string()))])
    values = [{"a": 1.5, "in": {"x": 7, "tags": ["t"]}, "m": [("k", "v")]}, {"a": None, "in": None, "m": []}, None]
    assert _flat(values, data_type) == {
        "c_a": [[1.5], None, None],
        "c_in_x": [[7], None, None],
        "c_in_tags": [[b"t"], None, None],
        "c_m_keys": [[b"k"], [], None],
        "c_m_values": [[b"v"], [], None],
    }


def test_values_under_a_null_struct_are_hidden():
    children = [pa.array([1, 2]), pa.array([["a"], ["b"]])]
    column = pa.StructArray.from_arrays(children, ["n", "l"], mask=pa.array([False, True]))
    batch = flatten(pa.record_batch([column], ["c"]))
    assert [column.to_pylist() for column in batch.columns] == [[[1], None], [[b"a"], None]]


def test_null_elements_are_left_out_and_counted():
    dropped = {}
    assert _flat([[1, None, 2], [None], None, []], pa.list_(pa.int64()), dropped) == {"c": [[1, 2], [], None, []]}
    assert _flat([[("k", None), ("j", 2)]], pa.map_(pa.string(), pa.int64()), dropped) == {
        "c_keys": [[b"j"]],
        "c_values": [[2]],
    }
    assert dropped == {"c": 3}


@pytest.mark.parametrize(
    "data_type",
    [pa.list_(pa.int32()), pa.map_(pa.string(), pa.int32()), pa.struct([("a", pa.list_(pa.int32()))]), pa.string()],
)
def test_a_slice_flattens_to_its_own_rows(data_type):
    value = {"list": [1, 2], "map": [("k", 1)], "struct": {"a": [1]}, "string": "x"}
    kind = next(name for name in value if str(data_type).startswith(name))
    batch = pa.record_batch([pa.array([value[kind], None] * 5, data_type)], ["c"])
    rows = flatten(batch).slice(3, 4).to_pylist()
    assert flatten(batch.slice(3, 4)).to_pylist() == rows


def test_kinds_say_what_flatten_gives():
    schema = pa.schema(
        [
            ("id", pa.int64()),
            ("price", pa.decimal128(8, 2)),
            ("day", pa.date32()),
            ("tags", pa.list_(pa.string())),
            ("ctx", pa.map_(pa.string(), pa.float64())),
            ("geo", pa.struct([("lat", pa.float64())])),
        ]
    )
    kinds = feature_kinds(schema)
    assert kinds == {
        "id": FeatureKind("int64", False, "id"),
        "price": FeatureKind("float", False, "price"),
        "day": FeatureKind("bytes", False, "day"),
        "tags": FeatureKind("bytes", True, "tags"),
        "ctx_keys": FeatureKind("bytes", True, "ctx"),
        "ctx_values": FeatureKind("float", True, "ctx"),
        "geo_lat": FeatureKind("float", False, "geo"),
    }
    empty = pa.RecordBatch.from_pylist([], schema)
    arrow = {"int64": pa.int64(), "float": pa.float32(), "bytes": pa.binary()}
    assert {f.name: f.type.value_type for f in flatten(empty).schema} == {n: arrow[k.dtype] for n, k in kinds.items()}


@pytest.mark.parametrize(
    ("data_type", "problem"),
    [
        (pa.list_(pa.list_(pa.int64())), "column 'c' is array<array<bigint>>: it holds array<bigint>"),
        (pa.map_(pa.string(), pa.struct([("a", pa.int32())])), "map<string,struct<a:int>>: it holds struct<a:int>"),
        (pa.list_(pa.struct([("a", pa.int32())])), "array<struct<a:int>>"),
        (pa.time64("us"), "column 'c' is time64"),
    ],
)
def test_what_does_not_fit_is_refused(data_type, problem):
    with pytest.raises(ConfigError, match=problem) as raised:
        feature_kinds(pa.schema([("c", data_type)]))
    assert "exclude_columns" in raised.value.hint


def test_two_columns_of_one_name():
    schema = pa.schema([("m_keys", pa.string()), ("m", pa.map_(pa.string(), pa.string()))])
    with pytest.raises(ConfigError, match="columns 'm_keys' and 'm' both become the feature 'm_keys'") as raised:
        feature_kinds(schema)
    assert "exclude_columns" in raised.value.hint


def test_tf_example_keeps_null_and_empty_apart():
    values = pa.array([[1, 2], [], None], pa.list_(pa.int64()))
    examples = RecordBatchToExamplesEncoder().encode(flatten(pa.record_batch([values], ["c"])))
    assert examples == [
        b"\n\x0d\n\x0b\n\x01c\x12\x06\x1a\x04\n\x02\x01\x02",
        b"\n\x09\n\x07\n\x01c\x12\x02\x1a\x00",
        b"\n\x07\n\x05\n\x01c\x12\x00",
    ]
    decoded = ExamplesToRecordBatchDecoder().DecodeBatch(examples)
    assert decoded.column(0).to_pylist() == [[1, 2], [], None]
