"""Strings of a Hive text file to typed Arrow arrays, nested ones by their delimiters; no Python object per row.

Hive's LazySimpleSerDe takes the delimiter of each level of nesting from one list: fields, collection items, map keys,
then \\004, \\005 and so on; an array or a struct uses one of them, a map two.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.hive_example_gen.options import TextOptions

_DEEPER = tuple(map(chr, range(4, 9)))
_EXACT_SCALE = 18


@dataclass(frozen=True)
class Delimiters:
    """`levels[0]` is the next delimiter inside a value; `null_text` stands for NULL at every level."""

    levels: tuple[str, ...]
    null_text: str

    @classmethod
    def of(cls, text: TextOptions) -> Delimiters:
        return cls((text.collection_delimiter, text.map_key_delimiter, *_DEEPER), text.null_text)

    def deeper(self, levels: int = 1) -> Delimiters:
        return Delimiters(self.levels[levels:], self.null_text)


def convert(strings: pa.Array, data_type: pa.DataType, delimiters: Delimiters) -> pa.Array:
    """`strings` (pa.string, NULL as NULL) as `data_type`.

    Raises pa.ArrowInvalid or ValueError where a value is not of the type; an empty number, date or boolean is NULL.
    """
    types = pa.types
    if types.is_string(data_type):
        return strings
    if types.is_list(data_type):
        return _list(strings, data_type, delimiters)
    if types.is_map(data_type):
        return _map(strings, data_type, delimiters)
    if types.is_struct(data_type):
        return _struct(strings, data_type, delimiters)
    if types.is_binary(data_type):
        return pa.array([_binary(value) for value in strings.to_pylist()], pa.binary())
    return _primitive(_empty_as_null(strings), data_type)


def _primitive(strings: pa.Array, data_type: pa.DataType) -> pa.Array:
    types = pa.types
    if types.is_boolean(data_type):
        return _boolean(strings)
    if types.is_integer(data_type) and _has_hexadecimal(strings):
        raise ValueError("hexadecimal number")  # Arrow would read 0x1F; Hive does not
    if types.is_decimal(data_type):
        return _decimal(strings, data_type)
    if types.is_timestamp(data_type):
        return pc.utf8_slice_codeunits(strings, 0, 26).cast(data_type)  # Hive has nine digits, this type six
    return strings.cast(data_type)


def _empty_as_null(strings: pa.Array) -> pa.Array:
    empty = pc.equal(strings, "")
    return pc.if_else(empty, pa.scalar(None, pa.string()), strings) if pc.any(empty).as_py() else strings


def _boolean(strings: pa.Array) -> pa.Array:
    lower = pc.utf8_lower(strings)
    true = pc.equal(lower, "true")
    if not pc.all(pc.or_(true, pc.equal(lower, "false"))).as_py() and len(strings) > strings.null_count:
        raise ValueError("neither true nor false")
    return true


def _has_hexadecimal(strings: pa.Array) -> bool:
    data = strings.buffers()[2]
    if data is None:
        return False
    bounds = np.frombuffer(strings.buffers()[1], np.int32)[strings.offset : strings.offset + len(strings) + 1]
    text = memoryview(data)[bounds[0] : bounds[-1]].tobytes()
    return b"x" in text or b"X" in text


def _decimal(strings: pa.Array, data_type: pa.DataType) -> pa.Array:
    """Digits beyond the scale are rounded half up, as Hive does."""
    if data_type.scale > _EXACT_SCALE:
        return strings.cast(data_type)
    exact = strings.cast(pa.decimal128(38, _EXACT_SCALE))
    return pc.round(exact, data_type.scale, "half_towards_infinity").cast(data_type)


def _binary(value: str | None) -> bytes | None:
    """Hive writes binary as base64 and takes anything else as it is (LazyBinary)."""
    if value is None:
        return None
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        return value.encode()


def _list(strings: pa.Array, data_type: pa.ListType, delimiters: Delimiters) -> pa.Array:
    lengths, elements = _split(strings, delimiters)
    values = convert(elements, data_type.value_type, delimiters.deeper())
    return pa.ListArray.from_arrays(_offsets(lengths), values, type=data_type, mask=_mask(strings))


def _map(strings: pa.Array, data_type: pa.MapType, delimiters: Delimiters) -> pa.Array:
    lengths, items = _split(strings, delimiters)
    inner = delimiters.deeper()
    sides = pc.split_pattern(items, inner.levels[0], max_splits=1)
    keys, values = (_as_null(_element(sides, index), inner.null_text) for index in (0, 1))
    if keys.null_count:  # Arrow's maps have no NULL key, and a feature has none either
        keep = np.asarray(keys.is_valid())
        rows = np.repeat(np.arange(len(lengths)), lengths)
        lengths = np.bincount(rows[keep], minlength=len(lengths))
        keys, values = keys.filter(pa.array(keep)), values.filter(pa.array(keep))
    return pa.MapArray.from_arrays(
        _null_offsets(lengths, strings),  # from_arrays takes no mask for maps: a NULL offset stands for a NULL map
        convert(keys, data_type.key_type, inner.deeper()),
        convert(values, data_type.item_type, inner.deeper()),
        type=data_type,
    )


def _struct(strings: pa.Array, data_type: pa.StructType, delimiters: Delimiters) -> pa.Array:
    sides = pc.split_pattern(strings, delimiters.levels[0])
    children = [
        convert(_as_null(_element(sides, index), delimiters.null_text), field.type, delimiters.deeper())
        for index, field in enumerate(data_type)
    ]
    return pa.StructArray.from_arrays(children, fields=list(data_type), mask=strings.is_null())


def _split(strings: pa.Array, delimiters: Delimiters) -> tuple[np.ndarray, pa.Array]:
    """Lengths per row and the elements of all rows. Empty text has no elements (Arrow would give one empty element)."""
    lists = pc.split_pattern(strings, delimiters.levels[0])
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0)).astype(np.int64)
    elements = lists.flatten()
    empty = np.asarray(pc.fill_null(pc.equal(strings, ""), False))
    if empty.any():
        elements = elements.filter(pa.array(~np.repeat(empty, lengths)))
        lengths = np.where(empty, 0, lengths)
    return lengths, _as_null(elements, delimiters.null_text)


def _as_null(strings: pa.Array, null_text: str) -> pa.Array:
    is_null = pc.equal(strings, null_text)
    return pc.if_else(is_null, pa.scalar(None, pa.string()), strings) if pc.any(is_null).as_py() else strings


def _element(lists: pa.ListArray, index: int) -> pa.Array:
    """Element `index` of each list, NULL where the list is shorter or NULL."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0)).astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    return lists.flatten().take(pa.array(starts + index, mask=lengths <= index))


def _offsets(lengths: np.ndarray) -> pa.Array:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.array(offsets)


def _null_offsets(lengths: np.ndarray, strings: pa.Array) -> pa.Array:
    nulls = np.append(np.asarray(strings.is_null()), False)
    return pa.array(np.asarray(_offsets(lengths)), mask=nulls) if strings.null_count else _offsets(lengths)


def _mask(strings: pa.Array) -> pa.Array | None:
    return strings.is_null() if strings.null_count else None
