"""Faults planted in a generated log: drifting features, unreadable rows, a schema that changes."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data import vocabulary as words
from data.click_log_options import NUMERIC_DRIFTS, ClickLogOptions, SchemaChange
from data.hive_table import ARROW_TYPES
from data.shop import Impressions

VOCABULARY_SIZES = {
    "age_band": len(words.AGE_BANDS), "gender": len(words.GENDERS), "city": len(words.CITIES),
    "member_level": len(words.MEMBER_LEVELS), "category": len(words.CATEGORIES), "brand": len(words.BRANDS),
    "device": len(words.DEVICES),
}  # fmt: skip
BAD_TEXT = b"\xff\xfe"
NO_NUMBER = b"n/a"


def drift(impressions: Impressions, options: ClickLogOptions, random: np.random.Generator) -> None:
    """Changes the columns that drift on this day, in place; the clicks are drawn afterwards, from what the log says."""
    for fault in options.drift:
        uniform = random.random(len(impressions))
        if impressions.date < fault.start:
            continue
        values = getattr(impressions, fault.feature)
        if fault.feature in NUMERIC_DRIFTS:
            changed = _scaled(fault.feature, values, fault.amount)
        else:
            moved = np.where(values < 0, -1, (values + 1) % VOCABULARY_SIZES[fault.feature])
            changed = np.where(uniform < fault.amount, moved, values)
        setattr(impressions, fault.feature, changed)


def _scaled(feature: str, values: np.ndarray, factor: float) -> np.ndarray:
    if feature == "position":
        return np.maximum(np.rint(values * factor).astype(np.int64), 1)
    return np.rint(values * factor * 100) / 100


class TextCorruption:
    """Spoils a share of the lines of text; `readable` says which rows of the last chunk are still whole."""

    def __init__(self, column_names: list[str], share: float):
        self.names, self.share = column_names, share

    def choose(self, num_rows: int, random: np.random.Generator) -> None:
        """Draws the fate of the next rows: 0 whole; 1, 2 a column too many, too few; 3 bad UTF-8; 4 no number."""
        uniform = random.random(num_rows)
        kinds = 1 + np.floor(uniform / self.share * 4).astype(np.int64) if self.share else np.zeros(num_rows, np.int64)
        self.fate = np.where(uniform < self.share, kinds, 0)

    @property
    def readable(self) -> np.ndarray:
        return self.fate == 0

    def __call__(self, columns: list[pa.Array]) -> list[pa.Array]:
        columns, empty = list(columns), pa.scalar(b"", pa.large_binary())
        city, user_id = self.names.index("city"), self.names.index("user_id")
        surplus = pc.binary_join_element_wise(columns[-1], pa.scalar(b"\x01surplus", pa.large_binary()), empty)
        columns[-1] = self._replaced(1, columns[-1], surplus)
        columns[-1] = self._replaced(2, columns[-1], empty)
        bad = pc.binary_join_element_wise(pa.scalar(BAD_TEXT, pa.large_binary()), columns[city], empty)
        columns[city] = self._replaced(3, columns[city], bad)
        columns[user_id] = self._replaced(4, columns[user_id], pa.scalar(NO_NUMBER, pa.large_binary()))
        return columns

    def _replaced(self, kind: int, column: pa.Array, other: pa.Array | pa.Scalar) -> pa.Array:
        return pc.if_else(pa.array(self.fate == kind), other, column)


def changed_schema(table: pa.Table, changes: tuple[SchemaChange, ...], date: datetime.date) -> pa.Table:
    """`table` with the schema changes that are in force on `date`."""
    for change in changes:
        if date >= change.start:
            table = _changed(table, change)
    return table


def _changed(table: pa.Table, change: SchemaChange) -> pa.Table:
    if change.kind == "add":
        return table.append_column(change.column, _added_values(table.num_rows, ARROW_TYPES[change.to]))
    place = table.column_names.index(change.column)
    if change.kind == "rename":
        return table.rename_columns([change.to if name == change.column else name for name in table.column_names])
    return table.set_column(place, change.column, table.column(place).cast(ARROW_TYPES[change.to]))


def _added_values(num_rows: int, arrow_type: pa.DataType) -> pa.Array:
    numbers = pa.array(np.arange(num_rows) % 3)
    return numbers.cast(arrow_type) if not pa.types.is_string(arrow_type) else pa.array(["a", "b", "c"]).take(numbers)
