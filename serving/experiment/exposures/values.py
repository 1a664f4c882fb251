"""Columns of an exposure log in the types that the statistics need, with the rows that break a rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from hivemill.common.errors import DataNotReadyError

_HAS_ZONE = r"\d{1,2}:\d{2}.*(?:Z|[+-]\d{2}:?\d{2})$"
_CLICK_WORDS = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class Values:
    """A column: its values [rows], and the rule where a row's value breaks it (`is_bad` [rows])."""

    values: np.ndarray
    is_bad: np.ndarray
    rule: str


@dataclass(frozen=True)
class Times:
    """`has_zone` says whether the file's times carry a time zone; None where there is no time at all."""

    column: Values
    has_zone: bool | None


def times(column: pa.ChunkedArray, place: str) -> Times:
    """datetime64[us] in UTC. Times with a zone are converted; a file whose times are of both kinds is refused."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        moments = column.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.timestamp("us"))
        values = moments.to_numpy().astype("datetime64[us]")
        return Times(Values(values, np.isnat(values), "must be a time"), kind.tz is not None)
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise _wrong_type(place, "request_time", kind, "a timestamp, or text in ISO 8601")
    texts = column.to_pandas()
    moments = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce").dt.tz_localize(None)
    values = moments.to_numpy().astype("datetime64[us]")
    is_bad = np.isnat(values)
    zoned = texts.str.contains(_HAS_ZONE, regex=True, na=False).to_numpy(bool)[~is_bad]
    if zoned.any() and not zoned.all():
        raise mixed_time_zones(f"{place}: column request_time has times with and without a time zone")
    return Times(Values(values, is_bad, "must be a time in ISO 8601"), bool(zoned.all()) if len(zoned) else None)


def mixed_time_zones(message: str) -> DataNotReadyError:
    return DataNotReadyError(
        message,
        hint="Write all of them with a zone (`2026-11-15T08:00:00Z`), or all of them in UTC without one.",
    )


def identifiers(column: pa.ChunkedArray, name: str, place: str) -> Values:
    """Text [rows]; whole numbers as their digits, NULL as None. Floating point is refused: 1.0 is not 1 to a hash."""
    column = _plain(column)
    if not (pa.types.is_string(column.type) or pa.types.is_integer(column.type)):
        raise _wrong_type(place, name, column.type, "text or whole numbers")
    values = column.cast(pa.string()).to_pandas().to_numpy(object)
    return Values(values, np.zeros(len(values), bool), "must be text or a whole number")


def labels(column: pa.ChunkedArray, name: str, place: str) -> Values:
    """Text [rows] of any simple type; NULL as ''."""
    column = _plain(column)
    if pa.types.is_nested(column.type):
        raise _wrong_type(place, name, column.type, "single values")
    values = pc.fill_null(column.cast(pa.string()), "").to_pandas().to_numpy(object)
    return Values(values, np.zeros(len(values), bool), "")


def clicks(column: pa.ChunkedArray, place: str) -> Values:
    """0.0 or 1.0 [rows], NaN where it is not known yet."""
    column = _plain(column)
    if pa.types.is_boolean(column.type):
        values = column.cast(pa.int8()).to_pandas().to_numpy(float)
        is_bad = np.zeros(len(values), bool)
    elif pa.types.is_string(column.type):
        texts = column.to_pandas()
        values = texts.str.lower().map(_CLICK_WORDS).to_numpy(float)
        is_bad = texts.notna().to_numpy() & np.isnan(values)
    else:
        values = _numbers(column, "click", place)
        is_bad = ~np.isnan(values) & (values != 0) & (values != 1)
    return Values(values, is_bad, "must be 0, 1, or NULL while it is not known")


def numbers(
    column: pa.ChunkedArray, name: str, place: str, rule: str, is_right: Callable[[np.ndarray], np.ndarray]
) -> Values:
    """float64 [rows], NaN for NULL; `is_right` decides over the others."""
    column = _plain(column)
    if pa.types.is_string(column.type):
        texts = column.to_pandas()
        values = pd.to_numeric(texts, errors="coerce").to_numpy(float)
        unreadable = texts.notna().to_numpy() & np.isnan(values)
    else:
        values = _numbers(column, name, place)
        unreadable = np.zeros(len(values), bool)
    return Values(values, unreadable | (~np.isnan(values) & ~is_right(values)), rule)


def errors(column: pa.ChunkedArray, place: str) -> Values:
    """Whether the request failed [rows]: true, a number that is not 0, or any text but '', '0' and 'false'."""
    column = _plain(column)
    if pa.types.is_string(column.type):
        texts = column.to_pandas().fillna("").str.lower()
        values = ~texts.isin(["", "0", "false", "ok"]).to_numpy()
    elif pa.types.is_boolean(column.type):
        values = pc.fill_null(column, False).to_pandas().to_numpy(bool)
    else:
        values = np.nan_to_num(_numbers(column, "error", place)) != 0
    return Values(values, np.zeros(len(values), bool), "")


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dictionaries decoded, binary and large text as text: Hive and Spark write all of these for a string."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if (
        pa.types.is_binary(column.type)
        or pa.types.is_large_string(column.type)
        or pa.types.is_large_binary(column.type)
    ):
        column = column.cast(pa.string())
    return column


def _numbers(column: pa.ChunkedArray, name: str, place: str) -> np.ndarray:
    kind = column.type
    if not (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)
    ):
        raise _wrong_type(place, name, kind, "numbers")
    return column.cast(pa.float64()).to_pandas().to_numpy(float)


def _wrong_type(place: str, name: str, kind: pa.DataType, wanted: str) -> DataNotReadyError:
    return DataNotReadyError(
        f"{place}: column {name} must be {wanted}; it is {kind}",
        hint="Cast it where the log is written.",
    )
