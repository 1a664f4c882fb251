"""Faults planted in a generated log: drifting features, unreadable rows, a schema that changes."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hivemill.data.click_log import vocabulary as words
from hivemill.data.click_log.options import NUMERIC_DRIFTS, ClickLogOptions, LogFault, SchemaChange
from hivemill.data.click_log.shop import Impressions
from hivemill.data.hive_table import ARROW_TYPES

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


_WORDS_OF = {
    "age_band": words.AGE_BANDS, "gender": words.GENDERS, "city": words.CITIES, "category": words.CATEGORIES,
    "brand": words.BRANDS, "device": words.DEVICES,
}  # fmt: skip
_NUM_FLOOD_VALUES = 300
_BOTS = (900_000_001, 900_000_002, 900_000_003)
_BOT_PROFILE = {"age_band": None, "gender": None, "city": None, "member_level": 0}


def rows_factor(options: ClickLogOptions, date: datetime.date) -> float:
    """How many times the usual rows the day has."""
    factors = [fault.amount for fault in options.faults if fault.kind == "volume" and date >= fault.start]
    return float(np.prod(factors)) if factors else 1.0


def faulty(
    table: pa.Table, faults: tuple[LogFault, ...], date: datetime.date, hour: int, random: np.random.Generator
) -> pa.Table:
    """The chunk as a broken writer leaves it on `date`; the clicks were made from what the shop really showed."""
    for fault in faults:
        uniform = random.random((2, table.num_rows))
        is_over = fault.kind == "clicks_lost" and (date > fault.start or hour != int(fault.column))
        if date >= fault.start and not is_over and fault.kind in _FAULTS:
            table = _FAULTS[fault.kind](table, fault, uniform)
    return table


def _unit(table: pa.Table, fault: LogFault, uniform: np.ndarray) -> pa.Table:
    column = table.column(fault.column)
    scaled = pc.multiply(column.cast(pa.float64()), fault.amount)
    return _set(table, fault.column, pc.round(scaled, 2).cast(column.type, safe=False))


def _swap(table: pa.Table, fault: LogFault, uniform: np.ndarray) -> pa.Table:
    first, second = fault.columns
    chosen = pa.array(uniform[0] < fault.amount)
    left, right = table.column(first), table.column(second)
    return _set(_set(table, first, pc.if_else(chosen, right, left)), second, pc.if_else(chosen, left, right))


def _dead(table: pa.Table, fault: LogFault, uniform: np.ndarray) -> pa.Table:
    column = table.column(fault.column)
    nothing = pa.scalar("" if pa.types.is_string(column.type) else 0, column.type)
    return _set(table, fault.column, pc.if_else(pa.array(uniform[0] < fault.amount), nothing, column))


def _truncate(table: pa.Table, fault: LogFault, uniform: np.ndarray) -> pa.Table:
    """The values that stay are the most frequent ones, as in a dimension table that was cut at a size."""
    known = _WORDS_OF[fault.column]
    by_weight = sorted(known, key=lambda word: -known[word]) if isinstance(known, dict) else list(known)
    column = table.column(fault.column)
    stays = pc.is_in(column, value_set=pa.array(by_weight[: int(fault.amount)]))
    return _set(table, fault.column, pc.if_else(stays, column, pa.scalar(None, column.type)))


def _flood(table: pa.Table, fault: LogFault, uniform: np.ndarray) -> pa.Table:
    numbers = np.floor(uniform[1] * _NUM_FLOOD_VALUES).astype(np.int64)
    new = pa.array([f"{fault.column}-{number:03}" for number in range(_NUM_FLOOD_VALUES)]).take(pa.array(numbers))
    return _set(table, fault.column, pc.if_else(pa.array(uniform[0] < fault.amount), new, table.column(fault.column)))


def _leak(table: pa.Table, fault: LogFault, uniform: np.ndarray) -> pa.Table:
    column, clicked = table.column(fault.column), pc.equal(table.column("click"), 1)
    pair = list(_WORDS_OF[fault.column])[:2] if pa.types.is_string(column.type) else [1, 2]
    told = pc.if_else(clicked, pa.scalar(pair[0], column.type), pa.scalar(pair[1], column.type))
    return _set(table, fault.column, pc.if_else(pa.array(uniform[0] < fault.amount), told, column))


def _bots(table: pa.Table, fault: LogFault, uniform: np.ndarray) -> pa.Table:
    is_bot = pa.array(uniform[0] < fault.amount)
    ids = np.array(_BOTS)[np.floor(uniform[1] * len(_BOTS)).astype(np.int64)]
    table = _set(table, "user_id", pc.if_else(is_bot, pa.array(ids), table.column("user_id")))
    for name, value in {**_BOT_PROFILE, "click": 0}.items():
        column = table.column(name)
        table = _set(table, name, pc.if_else(is_bot, pa.scalar(value, column.type), column))
    return table


def _clicks_lost(table: pa.Table, fault: LogFault, uniform: np.ndarray) -> pa.Table:
    column = table.column("click")
    return _set(table, "click", pc.if_else(pa.array(uniform[0] < fault.amount), pa.scalar(0, column.type), column))


def _clock(table: pa.Table, fault: LogFault, uniform: np.ndarray) -> pa.Table:
    column = table.column(fault.column)
    moved = pc.add(column.cast(pa.int64()), round(fault.amount * 3_600_000_000))
    return _set(table, fault.column, moved.cast(column.type))


_FAULTS = {
    "unit": _unit, "swap": _swap, "dead": _dead, "truncate": _truncate, "flood": _flood, "leak": _leak, "bots": _bots,
    "clicks_lost": _clicks_lost, "clock": _clock,
}  # fmt: skip


def _set(table: pa.Table, name: str, column: pa.ChunkedArray | pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), table.schema.field(name), column)
