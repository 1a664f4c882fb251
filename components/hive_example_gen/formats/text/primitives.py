"""Text to numbers, booleans, dates, timestamps, decimals and binary, as Hive's lazy objects read them.

Each type has a vectorised way (Arrow's casts, which refuse a whole column for one odd value) and a way for one value,
which says exactly what Hive takes. The second is used for those values only that do not look plain.

| type | what Hive takes | class |
|---|---|---|
| tinyint to bigint | sign, digits; a fraction is dropped; no blanks; out of range is NULL | LazyInteger, LazyLong |
| float, double | blanks around, NaN, Infinity, 0x1p3, a suffix f or d (Double.valueOf) | LazyDouble |
| boolean | true and false in any case | LazyBoolean |
| decimal | blanks around, exponents; rounded half up; too many digits before the point are NULL | LazyHiveDecimal |
| date | yyyy-[m]m-[d]d; a day that the calendar lacks is NULL, as in Hive 4 (Hive 2 and 3 roll it over) | LazyDate |
| timestamp | a date, alone or with hh:mm:ss[.f] after a blank or T; digits beyond micros are cut | LazyTimestamp |
| binary | base64, or the bytes as they are | LazyBinary |

An empty text is NULL for all of them but binary. Source: Apache Hive 4, package org.apache.hadoop.hive.serde2.lazy.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hivemill.components.hive_example_gen.formats.arrays import buffers, from_the_beginning, null_where

_EXACT_SCALE = 18
_DECIMALS = decimal.Context(prec=120, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
_NOTHING = "[^\\x00-\\xff]"


@dataclass(frozen=True)
class Parser:
    """How one type is read.

    Attributes:
        vector: a whole binary array at once; raises pa.ArrowInvalid where it cannot.
        faithful: whether what `vector` made of these values is what Hive makes of them.
        plain: RE2 pattern of the values that `vector` is sure to read as Hive does.
        value: one value; raises ValueError where Hive gives NULL.
    """

    data_type: pa.DataType
    vector: Callable[[pa.BinaryArray], pa.Array]
    faithful: Callable[[pa.BinaryArray, pa.Array], bool]
    plain: str
    value: Callable[[bytes], object]

    def read(self, values: pa.BinaryArray) -> tuple[pa.Array, np.ndarray]:
        """`values` in the type, and the places (int64) of those that are not of it; they are NULL."""
        values = empty_as_null(from_the_beginning(values))
        try:
            read = self.vector(values)
            if self.faithful(values, read):
                return read, np.zeros(0, np.int64)
        except pa.ArrowInvalid:
            pass
        return self._value_by_value(values)

    def _value_by_value(self, values: pa.BinaryArray) -> tuple[pa.Array, np.ndarray]:
        odd_ones = pc.fill_null(pc.invert(pc.match_substring_regex(values, self.plain)), False)
        odd = np.flatnonzero(np.asarray(odd_ones))
        sure = self.vector(null_where(values, odd_ones))
        parsed, failed = [], []
        for place in odd.tolist():
            try:
                parsed.append(self.value(values[place].as_py()))
            except ValueError:
                parsed.append(None)
                failed.append(place)
        where = np.arange(len(values))
        where[odd] = len(values) + np.arange(len(odd))
        both = pa.concat_arrays([sure, pa.array(parsed, self.data_type)])
        return both.take(pa.array(where)), np.asarray(failed, np.int64)


def empty_as_null(values: pa.BinaryArray) -> pa.BinaryArray:
    return null_where(values, pc.equal(values, b""))


@functools.cache
def parser_of(data_type: pa.DataType) -> Parser:
    """The parser of a primitive type but string and binary."""
    types = pa.types
    if types.is_boolean(data_type):
        return Parser(data_type, _booleans, _are_booleans, "(?i)^(true|false)$", _boolean)
    if types.is_integer(data_type):
        return _integers(data_type)
    if types.is_floating(data_type):
        plain = r"^[+-]?[0-9]{1,30}(\.[0-9]{0,30})?([eE][+-]?[0-9]{1,2})?$"
        return Parser(data_type, lambda values: values.cast(data_type), _are_finite, plain, _float)
    if types.is_decimal(data_type):
        return _decimals(data_type)
    if types.is_date(data_type):
        plain = r"^[0-9]{3}[1-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$"
        return Parser(data_type, lambda values: as_string(values).cast(data_type), _always, plain, _date)
    plain = (
        r"^[0-9]{3}[1-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
        r"( ([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?)?$"
    )
    return Parser(data_type, lambda values: as_string(values).cast(data_type), _are_timestamps, plain, _timestamp)


def as_string(values: pa.BinaryArray) -> pa.StringArray:
    """The same bytes as pa.string, unchecked: only for parsers that refuse what is not ASCII."""
    return pa.Array.from_buffers(pa.string(), len(values), values.buffers(), values.null_count, values.offset)


def _booleans(values: pa.BinaryArray) -> pa.Array:
    return pc.equal(pc.ascii_lower(as_string(values)), "true")


def _are_booleans(values: pa.BinaryArray, read: pa.Array) -> bool:
    return pc.all(pc.or_(read, pc.equal(pc.ascii_lower(as_string(values)), "false")), min_count=0).as_py()


def _boolean(value: bytes) -> bool:
    if value.lower() not in (b"true", b"false"):
        raise ValueError("neither true nor false")
    return value.lower() == b"true"


def _integers(data_type: pa.DataType) -> Parser:
    digits = {8: 2, 16: 4, 32: 9, 64: 18}[data_type.bit_width]
    bound = 1 << (data_type.bit_width - 1)

    def faithful(values: pa.BinaryArray, _: pa.Array) -> bool:
        text = buffers(values)[1].tobytes()
        return b"x" not in text and b"X" not in text  # Arrow reads 0x1F; Hive does not

    def value(text: bytes) -> int:
        match = re.fullmatch(rb"([+-]?[0-9]*)(\.[0-9]*)?", text)
        if match is None or (len(text) <= 2 and not re.search(rb"[0-9]", text)):
            raise ValueError("no integer")
        number = _bounded_int(match[1])
        if not -bound <= number < bound:
            raise ValueError("out of range")
        return number

    return Parser(data_type, lambda values: values.cast(data_type), faithful, f"^-?[0-9]{{1,{digits}}}$", value)


def _bounded_int(text: bytes) -> int:
    """Raises ValueError for more digits than any type has, before Python spends time on them."""
    digits = text.lstrip(b"+-").lstrip(b"0")
    if len(digits) > 20:
        raise ValueError("out of range")
    return int(digits or b"0") * (-1 if text.startswith(b"-") else 1)


def _always(values: pa.BinaryArray, read: pa.Array) -> bool:
    return True


def _are_finite(values: pa.BinaryArray, read: pa.Array) -> bool:
    """Arrow reads inf and nan in any case; Hive knows Infinity and NaN only."""
    return pc.all(pc.is_finite(read), min_count=0).as_py()


_FLOAT = re.compile(rb"([+-]?(?:NaN|Infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))[fFdD]?")
_HEX_FLOAT = re.compile(rb"([+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+)[fFdD]?")
_BLANKS = bytes(range(33))  # what Java's String.trim removes


def _float(value: bytes) -> float:
    text = value.strip(_BLANKS)
    number, hexadecimal = _FLOAT.fullmatch(text), _HEX_FLOAT.fullmatch(text)
    if (len(value) == 1 and not value.isdigit()) or not (number or hexadecimal):
        raise ValueError("no number")
    if number:
        return float(number[1])
    try:
        return float.fromhex(hexadecimal[1].decode())  # type: ignore[index]
    except OverflowError:
        return float("-inf" if text.startswith(b"-") else "inf")


def _decimals(data_type: pa.Decimal128Type) -> Parser:
    whole = data_type.precision - data_type.scale

    def vector(values: pa.BinaryArray) -> pa.Array:
        strings = as_string(values)
        try:
            return strings.cast(data_type)
        except pa.ArrowInvalid:
            if data_type.scale > _EXACT_SCALE:
                raise
        exact = strings.cast(pa.decimal128(38, _EXACT_SCALE))
        return pc.round(exact, data_type.scale, "half_towards_infinity").cast(data_type)

    def value(text: bytes) -> decimal.Decimal:
        stripped = text.strip(_BLANKS)
        if not re.fullmatch(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?", stripped):
            raise ValueError("no decimal")
        number = decimal.Decimal(stripped.decode())
        if number and number.adjusted() >= max(whole, 0):
            raise ValueError("too many digits before the point")
        if number.adjusted() < -data_type.scale - 1:
            return decimal.Decimal(0)
        unit = decimal.Decimal(1).scaleb(-data_type.scale)
        rounded = number.quantize(unit, decimal.ROUND_HALF_UP, _DECIMALS)
        if rounded and rounded.adjusted() >= max(whole, 0):
            raise ValueError("too many digits before the point, once rounded")
        return rounded

    fraction = rf"(\.[0-9]{{1,{data_type.scale}}})?" if data_type.scale else ""
    return Parser(data_type, vector, _always, rf"^[+-]?[0-9]{{1,{whole}}}{fraction}$" if whole else _NOTHING, value)


_DATE = re.compile(rb"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})")
_TIMESTAMP = re.compile(
    rb"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:[ T]([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:\.([0-9]{1,9}))?)?"
)


def _date(value: bytes) -> datetime.date:
    match = _DATE.fullmatch(value.strip(_BLANKS))
    if match is None or len(value) < 8:
        raise ValueError("no date")
    return datetime.date(*map(int, match.groups()))


def _are_timestamps(values: pa.BinaryArray, read: pa.Array) -> bool:
    """Arrow takes hours without minutes or seconds as well."""
    return not pc.any(pc.is_in(pc.binary_length(values), pa.array([13, 16], pa.int32()))).as_py()


def _timestamp(value: bytes) -> datetime.datetime:
    match = _TIMESTAMP.fullmatch(value.strip(_BLANKS))
    if match is None:
        raise ValueError("no timestamp")
    *numbers, fraction = match.groups()
    micros = int((fraction or b"").ljust(6, b"0")[:6])
    return datetime.datetime(*(int(number or 0) for number in numbers), micros)  # type: ignore[arg-type]


_BASE64 = re.compile(rb"[A-Za-z0-9+/=_\-\s]*")
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def binary_value(value: bytes) -> bytes:
    """Base64 as commons-codec decodes it (both alphabets, blanks left out, an incomplete end dropped), or `value`."""
    if not _BASE64.fullmatch(value):
        return value
    digits = b"".join(value.split()).translate(_URL_SAFE).split(b"=")[0]
    if len(digits) % 4 == 1:
        digits = digits[:-1]
    return base64.b64decode(digits + b"=" * (-len(digits) % 4)) or value
