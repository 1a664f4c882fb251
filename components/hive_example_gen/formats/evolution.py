"""Columns that changed their type over the months: what a file has is brought to what the table declares, as Hive does.

Wider types, and what Hive converts to without a loss: integers to float, double and decimal (a value that would
lose digits is refused), decimals to more digits or to double; integers, booleans, dates, timestamps to string. Fields
of structs come and go by name, at every depth. Refused, because a value would be lost or spelled by Java's rules:
anything to a narrower type, string to numbers, float, double and decimal to string.

Source: Hive's TypeInfoUtils.implicitConvertible and PrimitiveObjectInspectorUtils.getString.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

_INT64_DIGITS = 19
_MAX_DIGITS = 38


def widens(found: pa.DataType, declared: pa.DataType) -> bool:
    """Whether values of `found` can be read as `declared`."""
    types = pa.types
    if types.is_dictionary(found):
        return widens(found.value_type, declared)
    if types.is_null(found):
        return True
    if types.is_nested(found):
        return _nested_widens(found, declared)
    if is_text(found):  # Hive before 1.2 and Impala write Parquet strings without the UTF-8 mark
        return is_text(declared)
    if types.is_string(declared) and _has_one_spelling(found):
        return True
    if types.is_integer(found):
        return _integer_widens(found, declared)
    if types.is_floating(found):
        return types.is_floating(declared) and found.bit_width <= declared.bit_width
    if types.is_decimal(found):
        return types.is_float64(declared) or (types.is_decimal(declared) and _has_more_digits(found, declared))
    if types.is_timestamp(found):
        return types.is_timestamp(declared)
    return types.is_date(declared) if types.is_date(found) else found == declared


def _has_one_spelling(found: pa.DataType) -> bool:
    types = pa.types
    return types.is_integer(found) or types.is_boolean(found) or types.is_date(found) or types.is_timestamp(found)


def _integer_widens(found: pa.DataType, declared: pa.DataType) -> bool:
    types = pa.types
    if types.is_decimal(declared):
        return declared.scale <= _MAX_DIGITS - _INT64_DIGITS
    bits = found.bit_width + types.is_unsigned_integer(found)
    return (types.is_signed_integer(declared) and bits <= declared.bit_width) or (
        types.is_floating(declared) and declared.bit_width > 16
    )


def _has_more_digits(found: pa.DataType, declared: pa.DataType) -> bool:
    whole = declared.precision - declared.scale
    return found.scale <= declared.scale and found.precision - found.scale <= whole


def is_text(data_type: pa.DataType) -> bool:
    types = pa.types
    return any(
        is_kind(data_type)
        for is_kind in (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    )


def _nested_widens(found: pa.DataType, declared: pa.DataType) -> bool:
    types = pa.types
    if types.is_map(found):
        return (
            types.is_map(declared)
            and widens(found.key_type, declared.key_type)
            and widens(found.item_type, declared.item_type)
        )
    if types.is_struct(found):
        own = {field.name.lower(): field.type for field in found}
        return types.is_struct(declared) and all(
            widens(own[field.name.lower()], field.type) for field in declared if field.name.lower() in own
        )
    return types.is_list(declared) and widens(found.value_type, declared.value_type)


def converted(array: pa.Array, declared: pa.DataType) -> pa.Array:
    """`array` as `declared`, which its type widens to. Raises pa.ArrowInvalid for a value that would lose digits.

    Text that is not UTF-8 stays as it is: who calls checks it, with the row.
    """
    types = pa.types
    if array.type == declared:
        return array
    if types.is_dictionary(array.type):
        return converted(array.dictionary_decode(), declared)
    if types.is_null(array.type):
        return pa.nulls(len(array), declared)
    if types.is_nested(declared):
        return _converted_nested(array, declared)
    if types.is_timestamp(declared):
        return array.cast(pa.timestamp(declared.unit, array.type.tz), safe=False).cast(declared)
    if types.is_string(declared):
        return array.cast(declared, safe=False) if is_text(array.type) else _spelled(array)
    if types.is_decimal(declared) and types.is_integer(array.type):
        return array.cast(pa.decimal128(_MAX_DIGITS, declared.scale)).cast(declared)
    return array.cast(declared)


def _converted_nested(array: pa.Array, declared: pa.DataType) -> pa.Array:
    types = pa.types
    if types.is_struct(declared):
        own = {field.name.lower(): index for index, field in enumerate(array.type)}
        children = [
            converted(array.field(own[field.name.lower()]), field.type)
            if field.name.lower() in own
            else pa.nulls(len(array), field.type)
            for field in declared
        ]
        return pa.StructArray.from_arrays(children, fields=list(declared), mask=array.is_null())
    if types.is_map(declared):
        sides = (converted(array.keys, declared.key_type), converted(array.items, declared.item_type))
        inner = pa.StructArray.from_arrays(sides, fields=[declared.key_field, declared.item_field])
    else:
        if types.is_large_list(array.type) or types.is_fixed_size_list(array.type):
            array = array.cast(pa.list_(array.type.value_type))
        inner = converted(array.values, declared.value_type)
    return pa.Array.from_buffers(declared, len(array), array.buffers()[:2], offset=array.offset, children=[inner])


def _spelled(array: pa.Array) -> pa.Array:
    if pa.types.is_boolean(array.type):
        return pc.utf8_upper(array.cast(pa.string()))
    if pa.types.is_timestamp(array.type):  # fractions of a second without zeros at their end
        wall_clock = array.cast(pa.timestamp("us", array.type.tz), safe=False).cast(pa.timestamp("us"))
        return pc.replace_substring_regex(wall_clock.cast(pa.string()), r"\.?0+$", "")
    return array.cast(pa.string())
