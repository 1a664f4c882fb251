"""Raw bytes of a text column to typed Arrow arrays, nested ones by their delimiters; no Python object per row.

Hive's LazySimpleSerDe takes the delimiter of each level of nesting from one list: fields, collection items, map keys,
then \\004, \\005 and so on; an array or a struct uses one of them, a map two. Source: LazyArray, LazyMap, LazyStruct,
LazySerDeParameters.collectSeparators.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hivemill.components.hive_example_gen.formats.arrays import from_the_beginning, null_where
from hivemill.components.hive_example_gen.formats.text import escapes
from hivemill.components.hive_example_gen.formats.text.primitives import binary_value, parser_of
from hivemill.components.hive_example_gen.formats.time.timestamp_formats import TimestampFormats
from hivemill.components.hive_example_gen.table.hive_types import TextBounds, text_bounds

Rows = Callable[[np.ndarray], np.ndarray]
"""From places in an array of elements to the rows that hold them."""


def same_rows(places: np.ndarray) -> np.ndarray:
    return places


@dataclass(frozen=True)
class TextRules:
    """How values lie in a text.

    Attributes:
        levels: the delimiters (one byte each) by level of nesting; [0] stands between columns.
        null: what NULL is written as, with its escapes set aside.
        escape: code of the ESCAPED BY byte; the values come with their escapes set aside.
        takes_rest: the last field of a row or struct keeps the delimiters that are too many.
    """

    levels: tuple[bytes, ...]
    null: bytes
    escape: int | None = None
    takes_rest: bool = False
    timestamps: TimestampFormats = field(default_factory=TimestampFormats)


@dataclass
class Problems:
    """The rows (int64 arrays) of one column that hold a value which is not of its type, or no UTF-8."""

    values: list[np.ndarray] = field(default_factory=list)
    encoding: list[np.ndarray] = field(default_factory=list)


@dataclass(frozen=True)
class TextColumn:
    """Reads one column of a type; `bounds` are its varchar and char lengths, where it has any."""

    rules: TextRules
    data_type: pa.DataType
    bounds: TextBounds | None = None

    @classmethod
    def of(cls, rules: TextRules, data_type: pa.DataType, hive_type: str) -> TextColumn:
        return cls(rules, data_type, text_bounds(hive_type))

    def read(self, values: pa.BinaryArray) -> tuple[pa.Array, Problems]:
        """`values` (NULL as NULL) in the type; what does not parse is NULL and among the problems."""
        problems = Problems()
        values = from_the_beginning(values)
        read = Reading(self.rules, problems).value(values, self.data_type, self.bounds, 1, same_rows)
        return read, problems


@dataclass(frozen=True)
class Reading:
    """The walk down a type; what does not parse is collected in `problems`."""

    rules: TextRules
    problems: Problems

    def value(
        self, values: pa.BinaryArray, data_type: pa.DataType, bounds: TextBounds | None, level: int, rows: Rows
    ) -> pa.Array:
        types = pa.types
        if types.is_string(data_type):
            return self._text(values, bounds, rows)
        if types.is_list(data_type):
            return self._list(values, data_type, bounds, level, rows)
        if types.is_map(data_type):
            return self._map(values, data_type, bounds, level, rows)
        if types.is_struct(data_type):
            return self._struct(values, data_type, bounds, level, rows)
        if types.is_binary(data_type):
            return self._binary(values)
        return self._primitive(values, data_type, rows)

    def _text(self, values: pa.BinaryArray, bounds: TextBounds | None, rows: Rows) -> pa.Array:
        if self.rules.escape is not None:
            values = escapes.unescaped(values)
        try:
            text = values.cast(pa.string())
        except pa.ArrowInvalid:
            bad = np.asarray([place for place, value in enumerate(values.to_pylist()) if not _is_utf8(value)], np.int64)
            self.problems.encoding.append(rows(bad))
            mask = np.zeros(len(values), bool)
            mask[bad] = True
            text = null_where(values, mask).cast(pa.string())
        return bounds.cut(text) if bounds else text

    def _binary(self, values: pa.BinaryArray) -> pa.Array:
        if self.rules.escape is not None:
            values = escapes.restored(values, self.rules.escape)
        return pa.array([None if value is None else binary_value(value) for value in values.to_pylist()], pa.binary())

    def _primitive(self, values: pa.BinaryArray, data_type: pa.DataType, rows: Rows) -> pa.Array:
        if pa.types.is_timestamp(data_type):
            values = self.rules.timestamps.canonical(values)
        read, failed = parser_of(data_type).read(values)
        if len(failed):
            self.problems.values.append(rows(failed))
        return read

    def _list(
        self, values: pa.BinaryArray, data_type: pa.ListType, bounds: TextBounds | None, level: int, rows: Rows
    ) -> pa.Array:
        lengths, elements = self._split(values, level)
        offsets = offsets_of(lengths)
        inner = self.value(
            elements, data_type.value_type, bounds.child(0) if bounds else None, level + 1, rows_of(offsets, rows)
        )
        return pa.ListArray.from_arrays(pa.array(offsets), inner, type=data_type, mask=null_mask(values))

    def _map(
        self, values: pa.BinaryArray, data_type: pa.MapType, bounds: TextBounds | None, level: int, rows: Rows
    ) -> pa.Array:
        lengths, items = self._split(values, level)
        sides = pc.split_pattern(items, self.rules.levels[level + 1], max_splits=1)
        lengths, (keys, held) = with_keys(lengths, (self._element(sides, 0), self._element(sides, 1)), 0)
        key_bounds, item_bounds = (bounds.child(0), bounds.child(1)) if bounds else (None, None)
        place = rows_of(offsets_of(lengths), rows)
        keys = self.value(keys, data_type.key_type, key_bounds, level + 2, place)
        lengths, (keys, held) = with_keys(lengths, (keys, held), 0)
        lengths, (keys, held) = _first_of_each_key(lengths, keys, held)
        offsets = offsets_of(lengths)
        read = self.value(held, data_type.item_type, item_bounds, level + 2, rows_of(offsets, rows))
        # from_arrays takes no mask for maps: a NULL offset stands for a NULL map
        nulls = np.append(np.asarray(values.is_null()), False)
        with_nulls = pa.array(offsets, mask=nulls) if values.null_count else pa.array(offsets)
        return pa.MapArray.from_arrays(with_nulls, keys, read, type=data_type)

    def _struct(
        self, values: pa.BinaryArray, data_type: pa.StructType, bounds: TextBounds | None, level: int, rows: Rows
    ) -> pa.Array:
        most = data_type.num_fields - 1 if self.rules.takes_rest else None
        sides = pc.split_pattern(values, self.rules.levels[level], max_splits=most)
        children = [
            self.value(
                self._element(sides, index), field.type, bounds.child(index) if bounds else None, level + 1, rows
            )
            for index, field in enumerate(data_type)
        ]
        return pa.StructArray.from_arrays(children, fields=list(data_type), mask=values.is_null())

    def _split(self, values: pa.BinaryArray, level: int) -> tuple[np.ndarray, pa.BinaryArray]:
        """Lengths per row and the elements of all rows. Empty text has no elements (Arrow would give one empty one)."""
        lists = pc.split_pattern(values, self.rules.levels[level])
        lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0)).astype(np.int64)
        elements = lists.flatten()
        empty = np.asarray(pc.fill_null(pc.equal(values, b""), False))
        if empty.any():
            elements = elements.filter(pa.array(~np.repeat(empty, lengths)))
            lengths = np.where(empty, 0, lengths)
        return lengths, self._nulls(elements)

    def _element(self, lists: pa.ListArray, index: int) -> pa.BinaryArray:
        """Element `index` of each list, NULL where it is written as NULL or the list is shorter or NULL."""
        lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0)).astype(np.int64)
        starts = np.cumsum(lengths) - lengths
        return self._nulls(lists.flatten().take(pa.array(starts + index, mask=lengths <= index)))

    def _nulls(self, values: pa.BinaryArray) -> pa.BinaryArray:
        return null_written(values, self.rules.null)


def null_written(values: pa.BinaryArray, null: bytes) -> pa.BinaryArray:
    """NULL where `null` is written."""
    return null_where(values, pc.equal(values, null))


def levels_of(data_type: pa.DataType) -> int:
    """How many delimiters below the column's own a type needs."""
    if pa.types.is_map(data_type):
        return 2 + max(levels_of(data_type.key_type), levels_of(data_type.item_type))
    if pa.types.is_list(data_type):
        return 1 + levels_of(data_type.value_type)
    if pa.types.is_struct(data_type):
        return 1 + max(levels_of(field.type) for field in data_type)
    return 0


def _is_utf8(value: bytes | None) -> bool:
    try:
        return value is None or value.decode() is not None
    except UnicodeDecodeError:
        return False


def with_keys(lengths: np.ndarray, columns: tuple[pa.Array, ...], key: int) -> tuple[np.ndarray, tuple[pa.Array, ...]]:
    """Items without a key left out: neither Hive's nor Arrow's maps have a NULL key."""
    if not columns[key].null_count:
        return lengths, columns
    keep = np.asarray(columns[key].is_valid())
    return _filtered(lengths, columns, keep)


def _first_of_each_key(lengths: np.ndarray, keys: pa.Array, held: pa.Array) -> tuple[np.ndarray, tuple[pa.Array, ...]]:
    """Of several items with one key Hive keeps the first (LazyMap.getMap)."""
    if not len(keys) or lengths.max() < 2:
        return lengths, (keys, held)
    codes = np.asarray(keys.dictionary_encode().indices).astype(np.int64)
    pairs = np.repeat(np.arange(len(lengths)), lengths) * (codes.max() + 1) + codes
    first = np.unique(pairs, return_index=True)[1]
    if len(first) == len(pairs):
        return lengths, (keys, held)
    keep = np.zeros(len(pairs), bool)
    keep[first] = True
    return _filtered(lengths, (keys, held), keep)


def _filtered(
    lengths: np.ndarray, columns: tuple[pa.Array, ...], keep: np.ndarray
) -> tuple[np.ndarray, tuple[pa.Array, ...]]:
    rows = np.repeat(np.arange(len(lengths)), lengths)
    mask = pa.array(keep)
    return np.bincount(rows[keep], minlength=len(lengths)), tuple(column.filter(mask) for column in columns)


def rows_of(offsets: np.ndarray, rows: Rows) -> Rows:
    return lambda places: rows(np.searchsorted(offsets, places, side="right") - 1)


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def null_mask(values: pa.Array) -> pa.Array | None:
    return values.is_null() if values.null_count else None
