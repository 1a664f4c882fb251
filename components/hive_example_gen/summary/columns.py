"""The values that a summary looks at, taken from flattened list columns without an object per row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.summary.request import CountedValues


@dataclass(frozen=True)
class ListColumn:
    """`lengths` int64 [rows], 0 for NULL; `values` of all rows, one after the other, without NULLs."""

    lengths: np.ndarray
    values: pa.Array

    @classmethod
    def of(cls, column: pa.Array) -> ListColumn:
        lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0)).astype(np.int64)
        values = column.flatten()
        return cls(lengths, values.cast(pa.binary()) if pa.types.is_large_binary(values.type) else values)

    @cached_property
    def is_single(self) -> bool:
        """No row has more than one value."""
        return not len(self.lengths) or int(self.lengths.max()) <= 1

    def cut(self, at_most: int | None) -> ListColumn:
        """The first `at_most` values of each row."""
        if at_most is None or not len(self.lengths) or int(self.lengths.max()) <= at_most:
            return self
        starts = np.cumsum(self.lengths) - self.lengths
        place = np.arange(len(self.values)) - np.repeat(starts, self.lengths)
        return ListColumn(np.minimum(self.lengths, at_most), self.values.filter(pa.array(place < at_most)))

    @property
    def rows_with_value(self) -> int:
        return int(np.count_nonzero(self.lengths))

    def of_rows(self, per_row: np.ndarray) -> np.ndarray:
        """What belongs to the row of each value."""
        return np.repeat(per_row, self.lengths)

    def first_floats(self) -> np.ndarray:
        """float32: the first number of each row that has one, without NaN."""
        numbers = self.cut(1).values.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
        return numbers[~np.isnan(numbers)]


class BatchColumns:
    """The columns of one batch, each taken apart once."""

    def __init__(self, batch: pa.RecordBatch):
        self._batch = batch
        self._known: dict[str, ListColumn] = {}
        self._names = set(batch.schema.names)

    def get(self, name: str) -> ListColumn | None:
        """None where no row has a value, as in an example that lacks the feature."""
        if name not in self._names or pa.types.is_null(self._batch.column(name).type):
            return None
        if name not in self._known:
            self._known[name] = ListColumn.of(self._batch.column(name))
        return self._known[name]

    def counted(self, wanted: CountedValues) -> ListColumn | None:
        """int64 or binary values; None where there are none, or numbers with a fraction, which are not counted."""
        plain = self.get(wanted.column)
        column = plain or self.get(f"{wanted.column}_keys")
        if column is None or pa.types.is_floating(column.values.type):
            return None
        if wanted.values == "items" and plain is None:
            column = self._items(wanted.column, column)
        return column.cut(1 if wanted.values == "first" else wanted.at_most)

    def labels(self, name: str | None) -> np.ndarray | None:
        """float64 [rows], 0 where there is no label; None where no row has a number for one."""
        column = self.get(name) if name else None
        if column is None or not pa.types.is_primitive(column.values.type):
            return None
        sums = np.zeros(len(column.lengths))
        first = column.cut(1)
        sums[first.lengths > 0] = np.nan_to_num(first.values.to_numpy(zero_copy_only=False).astype(np.float64))
        return sums

    def _items(self, name: str, keys: ListColumn) -> ListColumn:
        values = self.get(f"{name}_values")
        if values is None or not np.array_equal(values.lengths, keys.lengths):
            raise ConfigError(
                f"{name}_keys and {name}_values: the two parallel lists of a row differ in length",
                hint="Write the column as a map, or declare the feature without `of: items`.",
            )
        parts = [_text(keys.values), _text(values.values), pa.scalar(b"=", pa.binary())]
        return ListColumn(keys.lengths, pc.binary_join_element_wise(*parts))


def _text(values: pa.Array) -> pa.Array:
    """As TensorFlow's `as_string` writes numbers."""
    if pa.types.is_floating(values.type):
        return pa.array([b"%f" % number for number in values.to_pylist()], pa.binary())
    return values if pa.types.is_binary(values.type) else values.cast(pa.string()).cast(pa.binary())
