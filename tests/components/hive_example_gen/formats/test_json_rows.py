"""JSON rows: what JsonSerDe reads, and that Arrow's parser and the careful way agree."""

import datetime
import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.formats.serde.json_blocks import JsonBlocks
from hivemill.components.hive_example_gen.options import SourceOptions
from hivemill.components.hive_example_gen.table.definition import TableDefinition
from hivemill.components.hive_example_gen.table.spec import spec_of
from tests.components.hive_example_gen.formats.text_reading import read_text, told


def _read(folder, data, columns, **options):
    return read_text(folder, data.encode() if isinstance(data, str) else data, columns, serde="json", **options)


@pytest.mark.parametrize(
    ("hive_type", "written", "expected"),
    [
        ("string", '"a"', "a"),
        ("string", '""', ""),
        ("string", "null", None),
        ("string", "1.10", "1.10"),
        ("string", "true", "true"),
        ("string", r'"\u00fc\n\"\ud83d\ude00"', 'ü\n"😀'),
        ("varchar(2)", '"abc"', "ab"),
        ("int", "7", 7),
        ("int", '"7"', 7),
        ("int", "1.9", 1),
        ("int", "1e3", 1000),
        ("bigint", "9223372036854775807", 9223372036854775807),
        ("double", "1", 1.0),
        ("double", '"NaN"', pytest.approx(float("nan"), nan_ok=True)),
        ("decimal(10,2)", "1.005", Decimal("1.01")),
        ("boolean", "true", True),
        ("boolean", '"False"', False),
        ("date", '"2026-01-02"', datetime.date(2026, 1, 2)),
        ("timestamp", '"2026-01-02 03:04:05.6"', datetime.datetime(2026, 1, 2, 3, 4, 5, 600_000)),
        ("binary", '"AP8="', b"\x00\xff"),
        ("array<int>", "[1, null, 3]", [1, None, 3]),
        ("array<int>", "[]", []),
        ("array<int>", "null", None),
        ("array<date>", '["2026-01-02"]', [datetime.date(2026, 1, 2)]),
        ("map<string,array<int>>", '{"k": [1], "j": null}', [("k", [1]), ("j", None)]),
        ("map<int,string>", '{"1": "a"}', [(1, "a")]),
        ("map<string,int>", "{}", []),
        ("struct<a:int,b:struct<c:string>>", '{"B": {"C": "x", "more": 1}, "a": 1}', {"a": 1, "b": {"c": "x"}}),
        ("struct<a:int,b:string>", "{}", {"a": None, "b": None}),
        ("struct<a:int>", "null", None),
    ],
)
def test_values(tmp_path, hive_type, written, expected):
    data = f'{{"s": "x", "c": {written}}}\n{{"s": "y"}}\n'
    rows, bad = _read(tmp_path, data, {"s": "string", "c": hive_type})
    assert not bad.total, bad.kept
    assert rows == [("x", expected), ("y", None)]


@pytest.mark.parametrize(
    ("hive_type", "written", "cause"),
    [
        ("int", '"x"', "value"),
        ("int", "2147483648", "value"),
        ("int", "1e99", "value"),
        ("int", "[1]", "value"),
        ("int", "true", "value"),
        ("boolean", "1", "value"),
        ("string", '{"a": 1}', "value"),
        ("array<int>", '[1, "x"]', "value"),
        ("array<int>", "{}", "value"),
        ("map<int,int>", '{"x": 1}', "value"),
        ("struct<a:int>", '{"a": "x"}', "value"),
        ("double", "NaN", "structure"),
        ("string", '"\\ud800"', "encoding"),
        ("string", '"open', "structure"),
        ("string", '"a"} {"c": "b"', "structure"),
    ],
)
def test_what_does_not_fit_sets_its_row_aside(tmp_path, hive_type, written, cause):
    data = f'{{"c": null, "s": "x"}}\n{{"s": "y", "c": {written}}}\n{{"s": "z"}}\n'
    rows, bad = _read(tmp_path, data, {"s": "string", "c": hive_type})
    assert rows == [("x", None), ("z", None)]
    assert told(bad) == [(2, cause, None if cause == "structure" else "c")]
    assert bad.kept[0].raw.startswith('{"s": "y"')


@pytest.mark.parametrize("line", ["", "  ", "[]", "1", '"x"', "{", '{"a": 1,}', "{'a': 1}", "[" * 100_000, '{"a": 01}'])
def test_lines_that_are_no_object(tmp_path, line):
    rows, bad = _read(tmp_path, f'{{"a": 1}}\n{line}\n{{"a": 2}}\n', {"a": "int"})
    assert rows == [(1,), (2,)]
    assert told(bad) == [(2, "structure", None)]


def test_bytes_that_are_not_utf8(tmp_path):
    rows, bad = _read(tmp_path, b'{"a": "x"}\n{"a": "\xff"}\n{"z": "\xff"}\n', {"a": "string"})
    assert rows == [("x",)]
    assert told(bad) == [(2, "encoding", None), (3, "encoding", None)]


def test_keys_in_any_case_and_names_by_position(tmp_path):
    columns = {"userid": "int", "b": "string"}
    data = '{"userId": 1, "B": "x"}\n{"USERID": 2}\n{"_col0": 3, "_col1": "y"}\n{"userid": 4, "extra": [{}]}\n'
    assert _read(tmp_path, data, columns)[0] == [(1, "x"), (2, None), (3, "y"), (4, None)]
    assert _read(tmp_path, '{"a": 1, "A": 2}\n', {"a": "int"})[0] == [(2,)]


def test_properties(tmp_path):
    assert _read(tmp_path, "\n", {"a": "int"}, properties={"text.null.empty.line": "true"})[0] == [(None,)]
    raw = {"json.binary.format": "rawstring"}
    assert _read(tmp_path, '{"a": "AP8="}\n', {"a": "binary"}, properties=raw)[0] == [(b"AP8=",)]
    with pytest.raises(ConfigError, match=r"property 'mapping.ts' of org.openx"):
        definition = TableDefinition("t", {"a": "int"}, {}, "text", "json", {"mapping.ts": "timestamp"})
        spec_of(SourceOptions(table="t", partition_columns={"dt": "string"}), definition)


def test_null_instead_of_a_bad_row(tmp_path):
    rows, bad = _read(tmp_path, '{"a": "x", "l": [1, "y"]}\n', {"a": "int", "l": "array<int>"}, values="null")
    assert rows == [(None, [1, None])]
    assert bad.notes == {"value_as_null": 1}


COLUMNS = {
    "a": "int",
    "s": "string",
    "d": "double",
    "l": "array<string>",
    "t": "struct<x:bigint,y:string>",
    "w": "date",
}
_leaf = (
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(max_size=5)
    | st.just("2026-01-02")
)
_any = st.recursive(_leaf, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyXz"), inner))
_fitting = {
    "a": st.none() | st.integers(-9, 9),
    "s": st.none() | st.text(max_size=5),
    "d": st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
    "l": st.none() | st.lists(st.none() | st.text(max_size=3), max_size=2),
    "t": st.none() | st.fixed_dictionaries({}, optional={"x": st.integers(0, 9), "y": st.text(max_size=2)}),
    "w": st.none() | st.just("2026-01-02"),
}


@pytest.mark.parametrize("values", [_fitting, dict.fromkeys([*COLUMNS, "A", "extra"], _any)])
def test_arrows_way_and_the_careful_way_agree(tmp_path_factory, values):
    @settings(max_examples=40)
    @given(rows=st.lists(st.fixed_dictionaries({}, optional=values), min_size=1, max_size=5))
    def check(rows):
        data = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        folder = tmp_path_factory.mktemp("t")
        fast, fast_bad = _read(folder, data, COLUMNS)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(JsonBlocks, "read", lambda self, rows: None)
            careful, bad = _read(folder, data, COLUMNS)
        assert (fast, told(fast_bad)) == (careful, told(bad))

    check()


def test_ordinary_rows_do_go_through_arrow(tmp_path, monkeypatch):
    monkeypatch.setattr("hivemill.components.hive_example_gen.formats.serde.json_rows.JsonRows._one_by_one", None)
    data = '{"A": 1, "s": "x", "d": 1.5, "l": ["y"], "t": {"x": 1, "y": "z"}, "w": "2026-01-02", "more": 7}\n' * 3
    assert len(_read(tmp_path, data, COLUMNS)[0]) == 3


@settings(max_examples=50)
@given(data=st.binary(max_size=60))
def test_any_bytes(tmp_path_factory, data):
    body = b'{"a": 1}\n' + data
    rows, bad = _read(tmp_path_factory.mktemp("t"), body, {"a": "int"})
    plain = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert len(rows) + bad.total == plain.count(b"\n") + (plain[-1:] != b"\n")
