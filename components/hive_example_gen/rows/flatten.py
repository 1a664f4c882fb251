"""Flattens Hive columns to what tf.Example has: lists of int64, float and bytes, one feature per leaf.

| column | feature | as |
|---|---|---|
| tinyint … bigint, boolean | `c` | int64 |
| timestamp | `c` | int64, microseconds since the epoch, UTC |
| float, double, decimal | `c` | float |
| string, varchar, char, binary | `c` | bytes |
| date | `c` | bytes, `YYYY-MM-DD` |
| array<T> | `c` | a list of T |
| map<K,V> | `c_keys`, `c_values` | two parallel lists |
| struct<a:T> | `c_a` | as T; structs may nest |

NULL is an absent feature (a null list), an empty array is a present and empty one. tf.Example has no NULL inside a
list: such elements are left out (both sides of a map's item) and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.table.hive_types import name_of

Dtype = Literal["int64", "float", "bytes"]
_HINT = "Add the column to source.exclude_columns, or flatten it in the query that writes the table."


@dataclass(frozen=True)
class FeatureKind:
    """A flattened feature: its type in tf.Example, whether it is a list, and the column that it comes from.

    `meaning` is the kind of the column's own type, which tf.Example does not tell apart; empty where it is not known.
    """

    dtype: Dtype
    multivalent: bool
    column: str
    meaning: str = field(default="", compare=False)


def feature_kinds(schema: pa.Schema) -> dict[str, FeatureKind]:
    """The features of columns of these types, in order.

    Raises ConfigError for a type that tf.Example cannot hold, and where two columns give the same name.
    """
    kinds: dict[str, FeatureKind] = {}
    for column in schema:
        for name, leaf, multivalent in _leaves(column.name, column.type):
            if name in kinds:
                raise ConfigError(
                    f"columns {kinds[name].column!r} and {column.name!r} both become the feature {name!r}",
                    hint="Add one of them to source.exclude_columns.",
                )
            kinds[name] = FeatureKind(_leaf_dtype(leaf, column), multivalent, column.name, _meaning(leaf))
    return kinds


def flatten(batch: pa.RecordBatch, dropped_nulls: dict[str, int] | None = None) -> pa.RecordBatch:
    """The batch as list columns that tfx_bsl's encoder takes; adds to `dropped_nulls` by feature."""
    collected = _Features(dropped_nulls if dropped_nulls is not None else {})
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        collected.add(name, column, None)
    return pa.RecordBatch.from_arrays(collected.arrays, collected.names)


def _leaves(name: str, data_type: pa.DataType) -> Iterator[tuple[str, pa.DataType, bool]]:
    """(feature, type of its values, whether it is a list) of a column."""
    if _is_list(data_type):
        yield name, data_type.value_type, True
    elif pa.types.is_map(data_type):
        yield f"{name}_keys", data_type.key_type, True
        yield f"{name}_values", data_type.item_type, True
    elif pa.types.is_struct(data_type):
        for child in data_type:
            yield from _leaves(f"{name}_{child.name}", child.type)
    else:
        yield name, data_type, False


def _meaning(data_type: pa.DataType) -> str:
    """`integer`, `boolean`, `timestamp`, `date`, `number` or `text`; empty for a column of NULLs."""
    types = pa.types
    if types.is_dictionary(data_type):
        return _meaning(data_type.value_type)
    kinds = {
        "integer": types.is_integer,
        "boolean": types.is_boolean,
        "timestamp": types.is_timestamp,
        "date": types.is_date,
        "number": lambda t: types.is_floating(t) or types.is_decimal(t),
    }
    found = next((name for name, is_kind in kinds.items() if is_kind(data_type)), "text")
    return "" if types.is_null(data_type) else found


def _leaf_dtype(data_type: pa.DataType, column: pa.Field) -> Dtype:
    dtype = _dtype(data_type)
    if dtype is None:
        inside = f": it holds {name_of(data_type)}" if pa.types.is_nested(column.type) else ""
        raise ConfigError(
            f"column {column.name!r} is {name_of(column.type)}{inside}, which does not fit in tf.Example",
            hint=_HINT,
        )
    return dtype


def _dtype(data_type: pa.DataType) -> Dtype | None:
    types = pa.types
    if types.is_dictionary(data_type):
        return _dtype(data_type.value_type)
    if types.is_integer(data_type) or types.is_boolean(data_type) or types.is_timestamp(data_type):
        return "int64"
    if types.is_floating(data_type) or types.is_decimal(data_type):
        return "float"
    text = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    if any(is_text(data_type) for is_text in text) or types.is_date(data_type) or types.is_null(data_type):
        return "bytes"
    return None


def _is_list(data_type: pa.DataType) -> bool:
    return pa.types.is_list(data_type) or pa.types.is_large_list(data_type) or pa.types.is_fixed_size_list(data_type)


@dataclass
class _Features:
    """The list columns made so far."""

    dropped_nulls: dict[str, int]
    names: list[str] = field(default_factory=list)
    arrays: list[pa.Array] = field(default_factory=list)

    def add(self, name: str, column: pa.Array, absent: np.ndarray | None) -> None:
        """Adds the features of `column`; `absent` marks the rows whose enclosing struct is NULL."""
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if _is_list(column.type):
            lengths, values = _list_parts(column)
            self._add_lists(name, [("", values)], lengths, _absent(column, absent))
        elif pa.types.is_map(column.type):
            lengths, entries = _list_parts(_as_list_of_structs(column))
            self._add_lists(
                name, [("_keys", entries.field(0)), ("_values", entries.field(1))], lengths, _absent(column, absent)
            )
        elif pa.types.is_struct(column.type):
            missing = _absent(column, absent)
            for index, child in enumerate(column.type):
                self.add(f"{name}_{child.name}", column.field(index), missing)
        else:
            self._add_scalar(name, column, absent)

    def _add_scalar(self, name: str, column: pa.Array, absent: np.ndarray | None) -> None:
        if absent is not None:  # below a NULL struct a value may be anything, also one that does not fit
            missing = _absent(column, absent)
            present = column.filter(pa.array(~missing))
            self._append(name, (~missing).astype(np.int64), _canonical(present), missing)
            return
        # A list of one value for each row: that of a NULL list is never looked at, so nothing need be moved.
        offsets = pa.array(np.arange(len(column) + 1, dtype=np.int32))
        mask = column.is_null() if column.null_count else None
        self._add(name, pa.ListArray.from_arrays(offsets, _canonical(column), mask=mask))

    def _add_lists(
        self, name: str, parts: list[tuple[str, pa.Array]], lengths: np.ndarray, absent: np.ndarray | None
    ) -> None:
        if absent is not None and lengths[absent].any():  # a NULL struct around a list that still has values
            keep = np.repeat(~absent, lengths)
            parts = [(suffix, values.filter(pa.array(keep))) for suffix, values in parts]
            lengths = np.where(absent, 0, lengths)
        if any(values.null_count for _, values in parts):
            keep = np.logical_and.reduce([np.asarray(values.is_valid()) for _, values in parts])
            rows = np.repeat(np.arange(len(lengths)), lengths)
            self.dropped_nulls[name] = self.dropped_nulls.get(name, 0) + int((~keep).sum())
            lengths = np.bincount(rows[keep], minlength=len(lengths))
            parts = [(suffix, values.filter(pa.array(keep))) for suffix, values in parts]
        for suffix, values in parts:
            self._append(name + suffix, lengths, _canonical(values), absent)

    def _append(self, name: str, lengths: np.ndarray, values: pa.Array, absent: np.ndarray | None) -> None:
        offsets = np.zeros(len(lengths) + 1, np.int32)
        np.cumsum(lengths, out=offsets[1:])
        mask = None if absent is None else pa.array(absent)
        self._add(name, pa.ListArray.from_arrays(pa.array(offsets), values, mask=mask))

    def _add(self, name: str, feature: pa.ListArray) -> None:
        self.names.append(name)
        self.arrays.append(feature)


def _absent(column: pa.Array, absent: np.ndarray | None) -> np.ndarray | None:
    if not column.null_count:
        return absent
    nulls = np.asarray(column.is_null())
    return nulls if absent is None else nulls | absent


def _list_parts(column: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Lengths (0 for NULL) and the values of all rows, whatever offset the array starts at."""
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    return np.asarray(lengths).astype(np.int64), column.flatten()


def _as_list_of_structs(column: pa.MapArray) -> pa.ListArray:
    """A map's own layout without its type; `MapArray.keys` would ignore where a slice starts."""
    entries = pa.struct([pa.field("key", column.type.key_type), pa.field("value", column.type.item_type)])
    return column.cast(pa.list_(entries))


def _canonical(values: pa.Array) -> pa.Array:
    """Values as int64, float32 or binary, NULLs as NULL. Raises pa.ArrowInvalid where a number does not fit."""
    data_type = values.type
    if pa.types.is_dictionary(data_type):
        return _canonical(values.dictionary_decode())
    dtype = _dtype(data_type)
    if pa.types.is_timestamp(data_type):
        return values.cast(pa.timestamp("us", data_type.tz), safe=False).view(pa.int64())
    if dtype == "int64":
        return values.cast(pa.int64())
    if dtype == "float":
        if pa.types.is_decimal(data_type):
            values = values.cast(pa.float64())  # straight to float32, Arrow misses the nearest float
        return values.cast(pa.float32(), safe=False)  # a double rounds to the float that tf.Example has
    if pa.types.is_date(data_type):
        return values.cast(pa.date32()).cast(pa.string()).view(pa.binary())
    if pa.types.is_string(data_type):
        return values.view(pa.binary())
    return values.cast(pa.binary())
