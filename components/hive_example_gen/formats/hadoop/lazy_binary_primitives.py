"""Primitive values of Hive's LazyBinary encoding, a whole column at a time: positions in a buffer to Arrow arrays.

`Cells` says where each value lies. Numbers are VInts (tinyint and smallint: 1 and 2 bytes), floats big-endian, strings
their bytes, a timestamp seconds and reversed nanoseconds, a decimal its scale and unscaled number.
Every length is compared with what lies around it, so damaged bytes end as a problem and never as a wrong address.

Source: org.apache.hadoop.hive.serde2.lazybinary (LazyBinarySerDe, LazyBinaryUtils.checkObjectByteInfo),
serde2.io.TimestampWritableV2 and HiveDecimalWritable.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hivemill.components.hive_example_gen.formats.hadoop import vints

OK, STRUCTURE, VALUE, ENCODING, COLUMN_COUNT = range(5)
"""What is wrong with a value or a row: nothing, its bytes, its range for the declared type, its UTF-8, its width."""

_JOINED_FROM_BYTES = 64
FIRST_DAY, LAST_DAY = -719_164, 2_932_896
"""Days since 1970 that Hive has dates and timestamps for: 0001-01-01 (in the older of its calendars) to 9999-12-31."""
DAY_SECONDS = 86_400
_MICROS = 1_000_000
_ABSURD = 1 << 40


class BinaryCells(NamedTuple):
    """Where values lie in `data` (uint8, vints.PADDING bytes longer than any end): [start, end) each, int64."""

    data: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def at(self, chosen: np.ndarray) -> BinaryCells:
        return BinaryCells(self.data, self.start[chosen], self.end[chosen])

    @property
    def lengths(self) -> np.ndarray:
        return self.end - self.start

    def no_problem(self) -> np.ndarray:
        return np.zeros(len(self.start), np.uint8)


def padded(data: bytes) -> np.ndarray:
    return np.frombuffer(data + bytes(vints.PADDING), np.uint8)


def primitive_widths(cells: BinaryCells, data_type: pa.DataType) -> np.ndarray:
    """Bytes of each value that begins at `start`, its own length prefix included; more than are there if damaged."""
    types = pa.types
    count = len(cells.start)
    if types.is_boolean(data_type) or types.is_int8(data_type):
        return np.ones(count, np.int64)
    if types.is_int16(data_type):
        return np.full(count, 2, np.int64)
    if types.is_floating(data_type):
        return np.full(count, data_type.bit_width // 8, np.int64)
    if types.is_integer(data_type) or types.is_date(data_type):
        return vints.WIDTHS[cells.data[cells.start]]
    if types.is_timestamp(data_type):
        return _timestamp_widths(cells)
    if types.is_decimal(data_type):
        return _decimal_parts(cells)[2]
    length, prefix = vints.read(cells.data, cells.start)
    return prefix + clipped(length)


def clipped(length: np.ndarray) -> np.ndarray:
    """A negative or absurd length as one that no buffer has."""
    return np.where((length < 0) | (length > _ABSURD), _ABSURD, length)


def decode_primitive(cells: BinaryCells, data_type: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """The values of `cells` (strings without length prefix, none of them NULL), and a problem code for each."""
    types = pa.types
    if types.is_string(data_type):
        return as_text(binary_array(cells))
    if types.is_binary(data_type):
        return binary_array(cells), cells.no_problem()
    if types.is_timestamp(data_type):
        return _timestamp(cells)
    if types.is_decimal(data_type):
        return _decimal(cells, data_type)
    if types.is_boolean(data_type):
        return _boolean(cells)
    return _number(cells, data_type)


def _number(cells: BinaryCells, data_type: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    if pa.types.is_floating(data_type) or data_type.bit_width < 32:
        size = data_type.bit_width // 8
        kind = f">{'f' if pa.types.is_floating(data_type) else 'i'}{size}"
        values = fixed(cells.data, np.minimum(cells.start, len(cells.data) - size), kind)
        native = values.astype(values.dtype.newbyteorder("="))
        return pa.array(native, data_type), problems(cells.lengths != size, STRUCTURE)
    values, width = vints.read(cells.data, cells.start)
    problem = problems(cells.lengths != width, STRUCTURE)
    if data_type.bit_width == 32:
        narrow = values.astype(np.int32)
        is_date = pa.types.is_date(data_type)
        beyond = (values < FIRST_DAY) | (values > LAST_DAY) if is_date else narrow != values
        problem = np.where(beyond & (problem == OK), VALUE, problem).astype(np.uint8)
        return pa.array(narrow).cast(data_type) if is_date else pa.array(narrow), problem
    return pa.array(values), problem


def _boolean(cells: BinaryCells) -> tuple[pa.Array, np.ndarray]:
    value = cells.data[cells.start]
    return pa.array(value == 1), problems((cells.lengths != 1) | (value > 1), STRUCTURE)


def problems(is_bad: np.ndarray, problem: int) -> np.ndarray:
    return np.where(is_bad, problem, OK).astype(np.uint8)


def fixed(data: np.ndarray, start: np.ndarray, kind: str) -> np.ndarray:
    size = np.dtype(kind).itemsize
    return np.ascontiguousarray(data[start[:, None] + np.arange(size)]).view(kind).ravel()


def binary_array(cells: BinaryCells) -> pa.Array:
    """The bytes of each cell as pa.binary."""
    lengths = cells.lengths
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.Array.from_buffers(
        pa.binary(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(_gathered(cells, offsets))]
    )


def _gathered(cells: BinaryCells, offsets: np.ndarray) -> np.ndarray | bytes:
    total, count = int(offsets[-1]), len(cells.start)
    if not total:
        return b""
    if (cells.start[1:] == cells.end[:-1]).all():
        return cells.data[cells.start[0] : cells.end[-1]]
    if total > _JOINED_FROM_BYTES * count:
        view = memoryview(cells.data)
        return b"".join([view[a:b] for a, b in zip(cells.start.tolist(), cells.end.tolist(), strict=True)])
    shift = np.repeat(cells.start - offsets[:-1], cells.lengths)
    return cells.data[shift + np.arange(total)]


def as_text(raw: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """pa.binary as pa.string; values that are not UTF-8 are empty and ENCODING problems."""
    problem = np.zeros(len(raw), np.uint8)
    try:
        return raw.cast(pa.string()), problem
    except pa.ArrowInvalid:
        values = [_decodable(value) for value in raw.to_pylist()]
    for index, value in enumerate(values):
        if value is False:
            problem[index], values[index] = ENCODING, ""
    return pa.array(values, pa.string()), problem


def _decodable(value: bytes | None) -> str | bool | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return False


def _timestamp_widths(cells: BinaryCells) -> np.ndarray:
    data, start = cells.data, cells.start
    has_more = (data[start] & 0x80) != 0
    first = data[np.minimum(start + 4, len(data) - 1)]
    nanos_width = vints.WIDTHS[first]
    second = data[np.minimum(start + 4 + nanos_width, len(data) - 1)]
    has_second = _negative(first)
    return 4 + np.where(has_more, nanos_width + np.where(has_second, vints.WIDTHS[second], 0), 0)


def _negative(first: np.ndarray) -> np.ndarray:
    """Whether the VInt with this first byte is negative."""
    signed = first.view(np.int8)
    return (signed < -120) | ((signed >= -112) & (signed < 0))


def _timestamp(cells: BinaryCells) -> tuple[pa.Array, np.ndarray]:
    """Seconds in 31 bits and, where the top bit says so, reversed nanoseconds and the seconds' higher bits."""
    data, length = cells.data, len(cells.data)
    whole = _timestamp_widths(cells) == cells.lengths
    start = np.where(whole, cells.start, length - vints.PADDING)  # where zeros lie
    low = fixed(data, start, ">u4").astype(np.int64)
    seconds = low & 0x7FFFFFFF
    (more,) = np.nonzero(low >> 31)
    nanos = np.zeros(len(start), np.int64)
    if more.size:
        reversed_nanos, width = vints.read(data, start[more] + 4)
        has_second = reversed_nanos < 0
        nanos[more] = _reversed_digits(np.where(has_second, -reversed_nanos - 1, reversed_nanos))
        (second,) = np.nonzero(has_second)
        high = vints.read(data, (start[more] + 4 + width)[second])[0]
        seconds[more[second]] |= np.clip(high, -(1 << 31), 1 << 31) << 31
    in_range = (seconds >= FIRST_DAY * DAY_SECONDS) & (seconds < (LAST_DAY + 1) * DAY_SECONDS)
    micros = np.where(in_range, seconds, 0) * _MICROS + nanos // 1000
    problem = np.where(whole, np.where(in_range, OK, VALUE), STRUCTURE).astype(np.uint8)
    return pa.array(micros, pa.timestamp("us")), problem


def _reversed_digits(number: np.ndarray) -> np.ndarray:
    """Nine decimal digits in the opposite order: 1 is 100,000,000 nanoseconds."""
    result, rest = np.zeros_like(number), number % 1_000_000_000
    for _ in range(9):
        result, rest = result * 10 + rest % 10, rest // 10
    return result


def _decimal_parts(cells: BinaryCells) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scale, bytes of the unscaled number, and bytes of it all."""
    scale, scale_width = vints.read(cells.data, cells.start)
    inside = np.minimum(cells.start + scale_width, len(cells.data) - vints.PADDING)
    length, length_width = vints.read(cells.data, inside)
    return scale, clipped(length), scale_width + length_width + clipped(length)


def _decimal(cells: BinaryCells, data_type: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """Rounded half up to the declared scale; what has more digits than the precision is a VALUE problem."""
    scale, length, width = _decimal_parts(cells)
    whole = (width == cells.lengths) & (length > 0) & (length <= vints.PADDING + 8) & (np.abs(scale) <= 77)
    shift = data_type.scale - scale
    small = whole & (length <= 7) & (shift >= 0) & (shift <= 18)
    values = np.zeros(len(scale), np.int64)
    values[small] = _unscaled(cells.data, (cells.end - length)[small], length[small])
    factor = 10 ** np.where(small, np.clip(shift, 0, 18), 0)
    limit = min(10**data_type.precision, 1 << 62)
    fits = small & (np.abs(values) < limit // factor)
    values = np.where(fits, values * factor, 0)
    problem = problems(~whole, STRUCTURE)
    array = _decimal_array(values, data_type)
    (rest,) = np.nonzero(whole & ~fits)
    return _with_big_decimals(array, problem, rest, cells, data_type) if rest.size else (array, problem)


def _unscaled(data: np.ndarray, start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Big-endian two's complement of at most 7 bytes."""
    values = data[start].view(np.int8).astype(np.int64)
    for place in range(1, int(length.max(initial=1))):
        values = np.where(place < length, (values << 8) | data[start + place], values)
    return values


def _decimal_array(values: np.ndarray, data_type: pa.DataType) -> pa.Array:
    words = np.empty((len(values), 2), np.int64)
    words[:, 0], words[:, 1] = values, values >> 63
    return pa.Array.from_buffers(data_type, len(values), [None, pa.py_buffer(words)])


def _with_big_decimals(
    array: pa.Array, problem: np.ndarray, rest: np.ndarray, cells: BinaryCells, data_type: pa.DataType
) -> tuple[pa.Array, np.ndarray]:
    """The few numbers beyond 64 bits, or with digits to round, one by one."""
    values = array.to_pylist()
    exponent = Decimal(1).scaleb(-data_type.scale)
    for index in rest.tolist():
        packed = cells.data[cells.start[index] : cells.end[index]].tobytes()
        scale, place = vints.read_one(packed, 0)
        number = int.from_bytes(packed[vints.read_one(packed, place)[1] :], "big", signed=True)
        rounded = _WIDE.quantize(_WIDE.scaleb(Decimal(number), -scale), exponent)
        fits = rounded.scaleb(data_type.scale, _WIDE).copy_abs() < 10**data_type.precision  # abs() would round
        values[index] = rounded if fits else None
        problem[index] = OK if fits else VALUE
    return pa.array(values, data_type), problem


_WIDE = Context(prec=200, rounding=ROUND_HALF_UP)
