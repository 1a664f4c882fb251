"""JsonSerDe (HCatalog's and Hive 3's): a JSON object a row; keys in any case, a missing key is NULL.

The objects of a batch are taken apart column by column; the leaves then go the way of every other text, so that "7"
and 7 are one number and text that is no number is a bad value. Stricter than Hive where it guesses: text behind the
object, a number as boolean and an object as string make a bad row.
Source: org.apache.hive.hcatalog.data.JsonSerDe, org.apache.hadoop.hive.serde2.json.HiveJsonReader.
"""

from __future__ import annotations

import decimal
import json
import re
from typing import Any

import numpy as np
import pyarrow as pa

from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.serde.base import SplitRows
from hivemill.components.hive_example_gen.formats.serde.json_blocks import JsonBlocks
from hivemill.components.hive_example_gen.formats.text.values import (
    Problems,
    Reading,
    Rows,
    TextColumn,
    offsets_of,
    rows_of,
    same_rows,
    with_keys,
)
from hivemill.components.hive_example_gen.table.hive_types import TextBounds
from hivemill.components.hive_example_gen.table.spec import TableSpec

_POSITIONAL = re.compile(r"_col(\d{1,4})")
_EXPONENT = re.compile(r"[eE]")


class _Number(str):
    """A number as it is written: 1.10 is no 1.1 for a string column."""


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_float=_Number, parse_int=_Number, parse_constant=_no_constant)


class JsonRows(SplitRows):
    def __init__(self, file: DataFile, spec: TableSpec, bad: BadRows):
        super().__init__(file, spec, bad)
        properties = {name.lower(): value.lower() for name, value in spec.serde_properties.items()}
        self.null_empty = properties.get("text.null.empty.line") == "true"
        self.blocks = JsonBlocks(self.typed.columns)
        self.raw_binary = properties.get("json.binary.format") == "rawstring"

    def batch(self, rows: list[bytes], numbers: np.ndarray) -> pa.RecordBatch:
        read = None if self.raw_binary else self.blocks.read(rows)
        if read is None:
            return self._one_by_one(rows, numbers)
        return self.typed.assembled(read, numbers, lambda name, place: rows[place])

    def _one_by_one(self, rows: list[bytes], numbers: np.ndarray) -> pa.RecordBatch:
        parsed = [self._object(row, int(number)) for row, number in zip(rows, numbers.tolist(), strict=True)]
        good = np.asarray([row is not None for row in parsed], bool)
        objects = [_lower_keys(row) for row in parsed if row is not None]
        kept = [row for row, keep in zip(rows, good.tolist(), strict=True) if keep]
        read, held = {}, {}
        for place, name in enumerate(self.columns):
            if name in self.typed.columns:
                held[name] = [_value(row, name.lower(), place) for row in objects]
                read[name] = self._column(held[name], self.typed.columns[name])
        return self.typed.assembled(
            read,
            numbers[good],
            lambda name, place: json.dumps(held[name][place], ensure_ascii=False).encode(errors="surrogatepass"),
            kept.__getitem__,
        )

    def _object(self, row: bytes, number: int) -> dict[str, Any] | None:
        if not row and self.null_empty:
            return {}
        try:
            value = _DECODER.decode(row.decode())
        except UnicodeDecodeError:
            self.reject(number, "encoding", "not valid UTF-8", row)
            return None
        except (ValueError, RecursionError) as error:
            self.reject(number, "structure", f"no JSON: {str(error) or 'nested too deep'}", row)
            return None
        if not isinstance(value, dict):
            self.reject(number, "structure", "no JSON object", row)
            return None
        return value

    def _column(self, values: list[Any], column: TextColumn) -> tuple[pa.Array, Problems]:
        problems = Problems()
        builder = _Builder(Reading(column.rules, problems), self.raw_binary)
        return builder.array(values, column.data_type, column.bounds, same_rows), problems


def _lower_keys(value: dict[str, Any]) -> dict[str, Any]:
    return value if all(map(str.islower, value)) else {key.lower(): held for key, held in value.items()}


def _value(row: dict[str, Any], name: str, place: int) -> Any:
    """Hive writes its results with _col0, _col1, ... for names, and reads them by position."""
    value = row.get(name)
    return row.get(f"_col{place}") if value is None and name not in row else value


class _Builder:
    """Arrow arrays of JSON values, level by level; a value of another kind than its type's is a problem and NULL."""

    def __init__(self, reading: Reading, raw_binary: bool):
        self.reading = reading
        self.raw_binary = raw_binary

    def array(self, values: list[Any], data_type: pa.DataType, bounds: TextBounds | None, rows: Rows) -> pa.Array:
        types = pa.types
        if types.is_list(data_type):
            return self._list(self._of_kind(values, list, rows), data_type, bounds, rows)
        if types.is_map(data_type):
            return self._map(self._of_kind(values, dict, rows), data_type, bounds, rows)
        if types.is_struct(data_type):
            return self._struct(self._of_kind(values, dict, rows), data_type, bounds, rows)
        texts = [self._text(value, data_type) for value in self._of_kind(values, (str, bool), rows)]
        if types.is_binary(data_type) and self.raw_binary:
            return pa.array(texts, pa.binary())
        return self.reading.value(pa.array(texts, pa.binary()), data_type, bounds, 1, rows)

    def _of_kind(self, values: list[Any], kind: type | tuple[type, ...], rows: Rows) -> list[Any]:
        wrong = [place for place, value in enumerate(values) if value is not None and not isinstance(value, kind)]
        if wrong:
            self.reading.problems.values.append(rows(np.asarray(wrong, np.int64)))
            values = list(values)
            for place in wrong:
                values[place] = None
        return values

    @staticmethod
    def _text(value: Any, data_type: pa.DataType) -> bytes | None:
        if value is None or value is True or value is False:
            return None if value is None else (b"true" if value else b"false")
        if isinstance(value, _Number) and pa.types.is_integer(data_type) and _EXPONENT.search(value):
            value = _without_exponent(value)
        return value.encode(errors="surrogatepass")

    def _list(self, values: list[Any], data_type: pa.ListType, bounds: TextBounds | None, rows: Rows) -> pa.Array:
        offsets = offsets_of(np.asarray([len(value or ()) for value in values], np.int64))
        elements = [element for value in values if value for element in value]
        inner = self.array(elements, data_type.value_type, bounds.child(0) if bounds else None, rows_of(offsets, rows))
        return pa.ListArray.from_arrays(pa.array(offsets), inner, type=data_type, mask=_nulls(values))

    def _map(self, values: list[Any], data_type: pa.MapType, bounds: TextBounds | None, rows: Rows) -> pa.Array:
        lengths = np.asarray([len(value or ()) for value in values], np.int64)
        inner = rows_of(offsets_of(lengths), rows)
        key_bounds, item_bounds = (bounds.child(0), bounds.child(1)) if bounds else (None, None)
        keys = self.array([key for value in values if value for key in value], data_type.key_type, key_bounds, inner)
        held = [item for value in values if value for item in value.values()]
        items = self.array(held, data_type.item_type, item_bounds, inner)
        lengths, (keys, items) = with_keys(lengths, (keys, items), 0)
        nulls = np.asarray([value is None for value in values] + [False], bool)
        return pa.MapArray.from_arrays(pa.array(offsets_of(lengths), mask=nulls), keys, items, type=data_type)

    def _struct(self, values: list[Any], data_type: pa.StructType, bounds: TextBounds | None, rows: Rows) -> pa.Array:
        held = [_lower_keys(value) if value else {} for value in values]
        children = [
            self.array(
                [value.get(field.name.lower()) for value in held],
                field.type,
                bounds.child(index) if bounds else None,
                rows,
            )
            for index, field in enumerate(data_type)
        ]
        return pa.StructArray.from_arrays(children, fields=list(data_type), mask=_nulls(values))


def _nulls(values: list[Any]) -> pa.Array:
    return pa.array([value is None for value in values], pa.bool_())


def _without_exponent(number: str) -> str:
    """1e3 as 1000, as Jackson's getIntValue has it; a number that is out of every range as it is."""
    value = decimal.Decimal(number)
    return f"{value:f}" if -20 < value.adjusted() < 20 else number
