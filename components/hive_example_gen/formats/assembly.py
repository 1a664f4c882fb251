"""Decoded columns of one run of rows put together: bad rows left out, columns brought to the table's types.

For readers that decode column by column (LazyBinary, RCFile): each column comes with a problem code per row
(lazy_primitives: OK, STRUCTURE, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from hivemill.components.hive_example_gen.formats.bad_rows import BadRows, Cause
from hivemill.components.hive_example_gen.formats.columnar import bounded, conformed, target_schema
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.hadoop.lazy_binary_primitives import (
    COLUMN_COUNT,
    ENCODING,
    STRUCTURE,
    VALUE,
)
from hivemill.components.hive_example_gen.formats.time.calendars import Writer
from hivemill.components.hive_example_gen.table.hive_types import name_of, parse_type
from hivemill.components.hive_example_gen.table.spec import TableSpec

_CAUSES: dict[int, Cause] = {STRUCTURE: "structure", VALUE: "value", ENCODING: "encoding", COLUMN_COUNT: "column_count"}


@dataclass(frozen=True)
class Assembly:
    """`layout` are the columns as they lie in the file, in its order, with their types."""

    file: DataFile
    spec: TableSpec
    bad: BadRows
    layout: pa.Schema
    writer: Writer

    @classmethod
    def declared(cls, file: DataFile, spec: TableSpec, bad: BadRows) -> Assembly:
        """For files that do not name their columns: `spec.layout` does. Raises ConfigError."""
        layout = pa.schema([(name, parse_type(text)) for name, text in (spec.layout or {}).items()])
        return cls(file, spec, bad, layout, Writer.declared(spec.serde_properties))

    @cached_property
    def wanted(self) -> frozenset[str]:
        """Names in the layout whose values are needed."""
        return frozenset(self._target[1].values())

    @cached_property
    def _target(self) -> tuple[pa.Schema, dict[str, str]]:
        own = pa.schema([field for field in self.layout if not self.spec.excludes(field.name)])
        return target_schema(own, self.spec, self.file)

    def batches(
        self,
        columns: dict[str, tuple[pa.Array, np.ndarray]],
        row_problem: np.ndarray,
        first_row: int,
        raw_of: Callable[[int], bytes],
    ) -> Iterator[pa.RecordBatch]:
        """The good rows of `columns` (name in the layout: values and problem codes), typed as spec.schema.

        `row_problem` is what is wrong with rows as a whole; `raw_of` gives the bytes of a bad row, by index.
        """
        keep = self._without_bad(columns, row_problem, first_row, raw_of)
        target, present = self._target
        names = list(present.values())
        arrays = [self._column(name, *columns[name], keep) for name in names]
        count = len(row_problem) if keep is None else int(keep.sum())
        if count:
            batch = pa.RecordBatch.from_struct_array(_struct_of(arrays, names, count))
            yield from bounded(conformed(batch, target, present, self.file, first_row, self.bad), self.spec)

    def _column(self, name: str, array: pa.Array, problem: np.ndarray, keep: np.ndarray | None) -> pa.Array:
        out_of_range = problem == VALUE
        if out_of_range.any():  # NULL as in Hive where bad_rows.values says so; else the row is left out anyway
            array = array.take(pa.array(np.arange(len(array)), mask=out_of_range))
        if keep is not None:  # before the calendar is asked: what is left out may hold anything
            array = array.filter(pa.array(keep))
        return self.writer.read(array, name, self.file)

    def _without_bad(
        self,
        columns: dict[str, tuple[pa.Array, np.ndarray]],
        row_problem: np.ndarray,
        first_row: int,
        raw_of: Callable[[int], bytes],
    ) -> np.ndarray | None:
        """Which rows stay; None: all of them. The others are given to `bad`, each with its first bad column."""
        as_null = self.bad.options.values == "null"
        worst = np.where(row_problem > 0, row_problem, 0)
        blamed = np.full(len(worst), -1)
        names = list(columns)
        for index, name in enumerate(names):
            problem = columns[name][1]
            if not problem.any():
                continue
            if as_null:
                self.bad.note("value_as_null", int(((problem == VALUE) & (worst == 0)).sum()))
                problem = np.where(problem == VALUE, 0, problem)
            first = (worst == 0) & (problem > 0)
            worst, blamed = np.where(first, problem, worst), np.where(first, index, blamed)
        if not worst.any():
            return None
        for row in np.nonzero(worst)[0].tolist():
            column = names[blamed[row]] if blamed[row] >= 0 else None
            self._add(row + first_row, int(worst[row]), column, raw_of(row))
        return worst == 0

    def _add(self, row: int, problem: int, column: str | None, raw: bytes) -> None:
        if problem == ENCODING:
            message = "not valid UTF-8"
        elif problem == COLUMN_COUNT:
            message = "it has more or fewer columns than declared"
        elif column is None:
            message = "the row's bytes do not follow the declared columns"
        else:
            kind = name_of(self.layout.field(column).type)
            message = f"its bytes are no {kind}" if problem == STRUCTURE else f"the value does not fit in {kind}"
        self.bad.add(self.file.name, row + 1, _CAUSES[problem], message, raw, column=column)


def _struct_of(arrays: list[pa.Array], names: list[str], count: int) -> pa.StructArray:
    if not arrays:  # a RecordBatch without columns has no rows
        return pa.array([{}] * count, pa.struct([]))
    return pa.StructArray.from_arrays(arrays, names=names)
