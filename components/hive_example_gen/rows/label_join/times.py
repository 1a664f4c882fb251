"""Times of rows as microseconds since 1970-01-01, from timestamps or counted units."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa

from hivemill.components.hive_example_gen.rows.label_join.options import TimeUnit

DAY_MICROS = 86_400_000_000
_PER_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}
# Beyond the year 9999 in microseconds: what is larger is no time, and must not overflow on its way.
_FAR = 2**60


def is_time(data_type: pa.DataType, unit: TimeUnit | None) -> bool:
    """Whether `micros` can read it."""
    return pa.types.is_timestamp(data_type) or (pa.types.is_integer(data_type) and unit is not None)


def micros(column: pa.Array, unit: TimeUnit | None) -> tuple[np.ndarray, np.ndarray]:
    """(int64 microseconds, bool valid), one per row. A NULL is 0 and not valid."""
    valid = np.asarray(column.is_valid())
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64())
        return column.fill_null(0).to_numpy(zero_copy_only=False), valid
    per_unit = _PER_UNIT[unit or "us"]
    counted = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return np.clip(counted, -_FAR // per_unit, _FAR // per_unit) * per_unit, valid


def day_start(day: datetime.date) -> int:
    """Microseconds of the day's midnight."""
    return (day - datetime.date(1970, 1, 1)).days * DAY_MICROS


def shown(value: int) -> str:
    """`2026-11-15 07:00:00`, for messages."""
    try:
        return str(datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=int(value)))
    except OverflowError:
        return f"{value} us since 1970"
