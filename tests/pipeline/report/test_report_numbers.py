import math

import pytest

from hivemill.pipeline.report.sections import numbers


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (numbers.count, 1234567, "1,234,567"),
        (numbers.count, 0, "0"),
        (numbers.decimal, 0.71234, "0.7123"),
        (numbers.decimal, -0.5, "−0.5000"),
        (numbers.signed, 0.0123, "+0.0123"),
        (numbers.signed, -0.0123, "−0.0123"),
        (numbers.signed, -0.000001, "0.0000"),
        (numbers.percent, 0.0512, "5.12 %"),
        (numbers.size, 999, "999 B"),
        (numbers.size, 1536, "1.50 KiB"),
        (numbers.size, 15 * 2**20, "15.0 MiB"),
        (numbers.size, 1023 * 1024, "1.00 MiB"),
        (numbers.size, 5000 * 2**40, "5000 TiB"),
        (numbers.duration, 0.42, "0.4 s"),
        (numbers.duration, 9.96, "10.0 s"),
        (numbers.duration, 59.4, "59 s"),
        (numbers.duration, 59.7, "1 min 00 s"),
        (numbers.duration, 75, "1 min 15 s"),
        (numbers.duration, 3700, "1 h 01 min"),
    ],
)
def test_numbers_have_units_separators_and_signs(function, value, text):
    assert function(value) == text


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
@pytest.mark.parametrize(
    "function",
    [numbers.count, numbers.decimal, numbers.signed, numbers.percent, numbers.size, numbers.duration],
)
def test_what_is_not_known_is_a_dash(function, value):
    assert function(value) == numbers.MISSING
