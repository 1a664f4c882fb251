"""Raw column bytes, as text SerDes give them, to batches of the declared types; rows that do not fit are left out.

What happens to a value that does not parse is the config's: `source.bad_rows.values`. Text that is not UTF-8 has no
place in a batch, so its row is always left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pyarrow as pa

from hivemill.components.hive_example_gen.formats.arrays import buffers
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows, Cause
from hivemill.components.hive_example_gen.formats.columnar import conformed, target_schema
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.text import escapes
from hivemill.components.hive_example_gen.formats.text.rules import rules_of
from hivemill.components.hive_example_gen.formats.text.values import Problems, TextColumn
from hivemill.components.hive_example_gen.table.hive_types import name_of, parse_type
from hivemill.components.hive_example_gen.table.spec import TableSpec

Excerpt = Callable[[int], bytes]
"""The raw bytes of a row of the batch (counted from 0), to be kept with a bad row."""
Written = Callable[[str, int], bytes]
"""The bytes of a column's value in a row of the batch, for the message."""


class TypedColumns:
    """Types the columns of one file.

    Attributes:
        names: the columns to be read, in the order of the table.
        rules: the delimiters and escapes that the values are read by.
    """

    def __init__(self, file: DataFile, spec: TableSpec, bad: BadRows, *, escaped: bool = True):
        """`escaped`: whether ESCAPED BY, if the table has one, holds for these values.

        Raises ConfigError for properties that cannot be honoured.
        """
        self.file = file
        self.spec = spec
        self.bad = bad
        rules = rules_of(spec)
        self.rules = rules if escaped else dataclasses.replace(rules, escape=None, null=spec.text.null_text.encode())
        layout = {name: text for name, text in (spec.layout or {}).items() if not spec.excludes(name)}
        self.columns = {name: TextColumn.of(self.rules, parse_type(text), text) for name, text in layout.items()}
        self.schema = pa.schema([(name, column.data_type) for name, column in self.columns.items()])
        self.names = tuple(layout)
        self.present = target_schema(self.schema, spec, file)[1] if spec.file_columns is not None else None

    def batch(
        self,
        raw: Mapping[str, pa.BinaryArray],
        first_row: int,
        *,
        num_rows: int | None = None,
        excerpt: Excerpt | None = None,
    ) -> pa.RecordBatch:
        """Args:
        raw: bytes by column, all of one length, NULL as NULL, escapes as in the file; a column that is not there
            is NULL. Names as in `names`, others are not looked at.
        first_row: the number in the file of the first row, from 0.
        num_rows: needed where `raw` may be empty.

        Returns:
            A batch of `spec.schema` (never more rows than `raw` has, at most BATCH_ROWS must be given).
        """
        rows = num_rows if num_rows is not None else len(next(iter(raw.values())))
        numbers = np.arange(first_row, first_row + rows)
        if self.rules.escape is not None:
            raw, numbers = self._marked(raw, numbers, excerpt)
        return self.marked_batch(raw, numbers, excerpt)

    def marked_batch(
        self, raw: Mapping[str, pa.BinaryArray], numbers: np.ndarray, excerpt: Excerpt | None = None
    ) -> pa.RecordBatch:
        """Like `batch`, with the escapes set aside already and the number (from 0) of each row."""
        read = {name: column.read(raw[name]) for name, column in self.columns.items() if name in raw}
        return self.assembled(read, numbers, lambda name, place: self._as_in_file(raw[name][place].as_py()), excerpt)

    def assembled(
        self,
        read: Mapping[str, tuple[pa.Array, Problems]],
        numbers: np.ndarray,
        written: Written,
        excerpt: Excerpt | None = None,
    ) -> pa.RecordBatch:
        """A batch of columns that are typed already, without the rows of their problems."""
        columns = [
            read[name][0] if name in read else pa.nulls(len(numbers), column.data_type)
            for name, column in self.columns.items()
        ]
        batch = pa.RecordBatch.from_arrays(columns, schema=self.schema)
        problems = {name: found for name, (_, found) in read.items() if found.values or found.encoding}
        if problems:
            batch = batch.filter(pa.array(self._good_rows(problems, numbers, written, excerpt)))
        if self.present is None:
            return batch
        return self._conformed(batch, numbers)

    def _conformed(self, batch: pa.RecordBatch, numbers: np.ndarray) -> pa.RecordBatch:
        first = int(numbers[0]) if len(numbers) else 0
        parts: Iterator[pa.RecordBatch] = conformed(batch, self.spec.schema, self.present, self.file, first, self.bad)
        return next(iter(parts), pa.RecordBatch.from_pylist([], schema=self.spec.schema))

    def _good_rows(
        self, problems: Mapping[str, Problems], numbers: np.ndarray, written: Written, excerpt: Excerpt | None
    ) -> np.ndarray:
        """Which rows stay. A row counts once, for its first bad column."""
        good = np.ones(len(numbers), bool)
        as_null = np.zeros(len(numbers), bool)
        for name, found in problems.items():
            for places in found.encoding:
                self._leave_out(good, places, "encoding", name, numbers, written, excerpt)
            for places in found.values:
                if self.bad.options.values == "null":
                    as_null[places] = True
                else:
                    self._leave_out(good, places, "value", name, numbers, written, excerpt)
        self.bad.note("value_as_null", int((as_null & good).sum()))
        return good

    def _leave_out(
        self,
        good: np.ndarray,
        places: np.ndarray,
        cause: Cause,
        name: str,
        numbers: np.ndarray,
        written: Written,
        excerpt: Excerpt | None,
    ) -> None:
        for place in places.tolist():
            if not good[place]:
                continue
            good[place] = False
            value = written(name, place)
            message = (
                f"not valid UTF-8: {quoted(value)}"
                if cause == "encoding"
                else f"{shown(value)} is not a {name_of(self.columns[name].data_type)}"
            )
            raw = excerpt(place) if excerpt else value
            self.bad.add(self.file.name, int(numbers[place]) + 1, cause, message, raw, column=name)

    def _as_in_file(self, value: bytes) -> bytes:
        if self.rules.escape is None:
            return value
        return escapes.restored_bytes(np.frombuffer(value, np.uint8), self.rules.escape).tobytes()

    def _marked(
        self, raw: Mapping[str, pa.BinaryArray], numbers: np.ndarray, excerpt: Excerpt | None
    ) -> tuple[dict[str, pa.BinaryArray], np.ndarray]:
        """Escapes set aside; rows with bytes that no UTF-8 has (and which the marks are made of) left out before."""
        assert self.rules.escape is not None
        good = np.ones(len(numbers), bool)
        for name in self.names:
            if name in raw:
                offsets, data = buffers(raw[name])
                reserved = np.flatnonzero(data >= escapes.RESERVED[0])
                if len(reserved):
                    places = np.searchsorted(offsets, reserved, side="right") - 1
                    self._leave_out(
                        good, places, "encoding", name, numbers, lambda name, place: raw[name][place].as_py(), excerpt
                    )
        kept = {name: raw[name] for name in self.names if name in raw}
        if not good.all():
            kept = {name: values.filter(pa.array(good)) for name, values in kept.items()}
        return {name: escapes.marked_values(values, self.rules.escape) for name, values in kept.items()}, numbers[good]


def shown(value: bytes) -> str:
    """A value as messages quote it."""
    try:
        return quoted(value.decode())
    except UnicodeDecodeError:
        return quoted(value)


def quoted(value: bytes | str) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
