"""Columns of a HiveServer2 result as typed Arrow arrays.

Numbers arrive as numbers; decimals, dates and timestamps as text; arrays, maps and structs as JSON text.
"""

from __future__ import annotations

import datetime
import decimal
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen.catalog.hiveserver2.client import HIVE, RawColumn, ResultColumn
from hivemill.components.hive_example_gen.table.hive_types import name_of, parse_type

_NUMBERS = {
    "BOOLEAN": "boolean",
    "TINYINT": "tinyint",
    "SMALLINT": "smallint",
    "INT": "int",
    "BIGINT": "bigint",
    "FLOAT": "float",
    "DOUBLE": "double",
}
_TEXTS = {
    "STRING": "string",
    "VARCHAR": "string",
    "CHAR": "string",
    "NULL": "string",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
}
_NESTED = ("ARRAY", "MAP", "STRUCT")


def hive_type(column: ResultColumn, declared: str | None, product: str) -> str:
    """The Hive type that a result column is read as: the declared one, else what the server says.

    Raises ConfigError where neither says it, or where the server's text could not be read back without doubt.
    """
    if column.type in _NESTED:
        return _nested_type(column, declared, product)
    if column.type == "DECIMAL":
        own = f"decimal({column.precision},{column.scale})"
    elif column.type in _NUMBERS or column.type in _TEXTS or column.type == "BINARY":
        own = {**_NUMBERS, **_TEXTS, "BINARY": "binary"}[column.type]
    else:
        raise ConfigError(
            f"column {column.name!r} of source.query is {column.type}, which is not supported",
            hint=f"CAST({column.name} AS STRING) AS {column.name}, or leave it out.",
        )
    if declared is None:
        return own
    if parse_type(declared) != parse_type(own) and own != "string":
        raise ConfigError(
            f"source.columns.{column.name} is {declared}, but the query gives {own}",
            hint=f"Select CAST({column.name} AS {declared}) AS {column.name}, or remove it from source.columns.",
        )
    return declared


def _nested_type(column: ResultColumn, declared: str | None, product: str) -> str:
    if product != HIVE:  # Spark writes text in it without escaping quotes: ["a","b"] may be one element or two
        raise ConfigError(
            f"column {column.name!r} of source.query is {column.type}, which {product} gives as ambiguous text",
            hint=f"to_json({column.name}) AS {column.name} in source.query, and its type in source.columns.",
        )
    if declared is None:
        raise ConfigError(
            f"column {column.name!r} of source.query is {column.type}, and the server does not say of what",
            hint=f"Declare it, e.g. source.columns: {{{column.name}: array<string>}}.",
        )
    if not declared.lower().lstrip().startswith(column.type.lower()):
        raise ConfigError(
            f"source.columns.{column.name} is {declared}, but the query gives {column.type}",
            hint="Declare it as the query gives it, or CAST it in source.query.",
        )
    return declared


def arrow_column(raw: RawColumn, data_type: pa.DataType, name: str, what: str) -> pa.Array:
    """Raises DataNotReadyError naming column and value where a value is not of its type."""
    if pa.types.is_nested(data_type):
        return _from_json(raw, data_type, name, what)
    try:
        if pa.types.is_integer(data_type) or pa.types.is_floating(data_type) or pa.types.is_boolean(data_type):
            return pa.array(raw.values, _sent_as(data_type), mask=raw.nulls).cast(data_type)
        array = pa.array(raw.values, pa.binary(), mask=raw.nulls)
        if pa.types.is_binary(data_type):
            return array
        text = array.cast(pa.string())
        return _timestamps(text, data_type) if pa.types.is_timestamp(data_type) else text.cast(data_type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise _bad_value(name, data_type, what, str(error).split("\n")[0]) from error


def _sent_as(data_type: pa.DataType) -> pa.DataType:
    return pa.float64() if pa.types.is_floating(data_type) else data_type


def _timestamps(text: pa.Array, data_type: pa.DataType) -> pa.Array:
    """`2026-11-15 01:02:03[.123456789]`; below a microsecond it is cut, as in every format."""
    return pc.replace_substring_regex(text, r"(\.\d{6})\d+$", r"\1").cast(data_type)


def _from_json(raw: RawColumn, data_type: pa.DataType, name: str, what: str) -> pa.Array:
    values = []
    for value, is_null in zip(raw.values, raw.nulls, strict=True):
        try:
            values.append(None if is_null else _converted(json.loads(value, parse_float=decimal.Decimal), data_type))
        except (ValueError, TypeError, ArithmeticError) as error:
            shown = bytes(value)[:80].decode("utf-8", "backslashreplace")
            raise _bad_value(name, data_type, what, f"{shown!r}: {error}") from error
    return pa.array(values, data_type)


def _converted(value: Any, data_type: pa.DataType) -> Any:
    """A value of parsed JSON as pyarrow takes it for `data_type`. Raises ValueError, TypeError."""
    types = pa.types
    if value is None:
        return None
    if types.is_list(data_type):
        return [_converted(each, data_type.value_type) for each in _expected(value, list)]
    if types.is_map(data_type):
        pairs = _expected(value, dict).items()
        return [(_key(key, data_type.key_type), _converted(each, data_type.item_type)) for key, each in pairs]
    if types.is_struct(data_type):
        fields = {key.lower(): each for key, each in _expected(value, dict).items()}
        return {field.name: _converted(fields.get(field.name.lower()), field.type) for field in data_type}
    if types.is_integer(data_type) or types.is_boolean(data_type):
        return _expected(value, bool if types.is_boolean(data_type) else int)
    if types.is_floating(data_type):
        return float(value)
    if types.is_decimal(data_type):
        return decimal.Decimal(value)
    return _from_text(_expected(value, str), data_type)


def _from_text(value: str, data_type: pa.DataType) -> Any:
    if pa.types.is_date(data_type):
        return datetime.date.fromisoformat(value)
    if pa.types.is_timestamp(data_type):
        return datetime.datetime.fromisoformat(value.rstrip("Z"))
    if pa.types.is_binary(data_type):
        raise ValueError("binary inside JSON cannot be read back; select it as a column of its own")
    return value


def _expected(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, found {type(value).__name__}")
    return value


def _key(text: str, data_type: pa.DataType) -> Any:
    """JSON has text keys alone."""
    if pa.types.is_integer(data_type):
        return int(text)
    return _converted(decimal.Decimal(text) if pa.types.is_floating(data_type) else text, data_type)


def _bad_value(name: str, data_type: pa.DataType, what: str, why: str) -> DataNotReadyError:
    return DataNotReadyError(
        f"{what}: column {name!r} has a value that is no {name_of(data_type)}: {why}",
        hint="Correct source.columns, or CAST the column in source.query.",
    )


def checked_names(columns: Mapping[str, str], declared: Mapping[str, str]) -> None:
    """Raises ConfigError for a declared column that the result lacks."""
    for name in declared:
        if name.lower() not in columns:
            raise ConfigError(
                f"source.columns names {name!r}, which source.query does not give",
                hint=f"It gives {', '.join(columns)}.",
            )
