"""The vectorised way and the way for one value must read the same."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivemill.components.hive_example_gen.formats.text.primitives import binary_value, parser_of

TYPES = [
    pa.int8(),
    pa.int16(),
    pa.int32(),
    pa.int64(),
    pa.float32(),
    pa.float64(),
    pa.bool_(),
    pa.decimal128(6, 2),
    pa.decimal128(38, 0),
    pa.decimal128(3, 3),
    pa.decimal128(38, 20),
    pa.date32(),
    pa.timestamp("us"),
]
_numbers = st.text(st.sampled_from("0123456789.-+eExXdfNanIinty "), max_size=10)
_dates = st.builds(
    "{}-{}-{}{}{}".format,
    st.sampled_from(["2026", "0001", "9999", "26", "12026"]),
    st.sampled_from(["1", "01", "12", "13", "00"]),
    st.sampled_from(["2", "02", "29", "30", "31", "32"]),
    st.sampled_from(["", " ", "T"]),
    st.sampled_from(
        ["", "1:2:3", "01:02:03", "23:59:59.5", "01:02:03.123456789", "01:02", "01", "24:00:00", "01:02:03Z"]
    ),
)
_values = (
    st.none() | st.binary(max_size=6) | (_numbers | _dates | st.sampled_from(["TRUE", "false", ""])).map(str.encode)
)


def _one_by_one(parser, values):
    read = []
    for value in values:
        try:
            read.append(None if value in (None, b"") else parser.value(value))
        except ValueError:
            read.append(None)
    return pa.array(read, parser.data_type)


@pytest.mark.parametrize("data_type", TYPES, ids=str)
def test_both_ways_read_alike(data_type):
    parser = parser_of(data_type)

    @settings(max_examples=150)
    @given(values=st.lists(_values, max_size=6), skip=st.integers(0, 2))
    def check(values, skip):
        array = pa.array([b"7"] * skip + values, pa.binary()).slice(skip)
        read, failed = parser.read(array)
        expected = _one_by_one(parser, values)
        assert str(read.to_pylist()) == str(expected.to_pylist())  # nan is not nan
        missing = [place for place, value in enumerate(values) if value and not expected[place].is_valid]
        assert failed.tolist() == missing

    check()


@pytest.mark.parametrize("data_type", TYPES, ids=str)
def test_plain_values_are_sure(data_type):
    """`plain` promises that the vectorised way takes a value, and reads it as Hive does."""
    parser = parser_of(data_type)

    @settings(max_examples=100)
    @given(value=st.from_regex(parser.plain, fullmatch=True, alphabet=st.characters(codec="ascii")).map(str.encode))
    def check(value):
        if value.endswith(b"\n"):  # Python's $ matches before it, RE2's does not
            return
        assert str(parser.vector(pa.array([value], pa.binary())).to_pylist()) == str([_typed(parser, value)])

    if data_type != pa.decimal128(3, 3):  # of it nothing is plain
        check()


def _typed(parser, value):
    return pa.array([parser.value(value)], parser.data_type)[0].as_py()


def test_very_long_numbers_cost_nothing():
    long = b"1" * 1_000_000
    for data_type in TYPES:
        failed = parser_of(data_type).read(pa.array([long, b"x"], pa.binary()))[1]
        assert failed.tolist() in ([0, 1], [1])  # a float of a million digits is infinite


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (b"AP8=", b"\x00\xff"),
        (b"AP8", b"\x00\xff"),
        (b"AP-_", b"\x00\xff\xbf"),
        (b"A P 8 =", b"\x00\xff"),
        (b"abcde", b"i\xb7\x1d"),
        (b"no base64!", b"no base64!"),
        (b"=", b"="),
        (b"", b""),
        (b"\xff", b"\xff"),
    ],
)
def test_binary(written, expected):
    assert binary_value(written) == expected
