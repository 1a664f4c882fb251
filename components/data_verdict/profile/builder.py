"""Makes the profile of a window from a sample of its rows: one pass per column over Arrow arrays, no object per row."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hivemill.common.errors import DataVerdictError
from hivemill.components.data_verdict.checks import dependence
from hivemill.components.data_verdict.profile.column_roles import ColumnRoles, Kind, guessed_kind
from hivemill.components.data_verdict.profile.window_profile import Distribution, Profile, ProfiledColumn, buckets_of

MAX_VALUES = 500
"""A day with more different values keeps the HEAD_VALUES most frequent ones."""
HEAD_VALUES = 100
_MAX_LENGTH = 50
_HOUR_MICROSECONDS = 3_600_000_000
_MISSING_CODE = 0
_BLOCK_ROWS = 64
_PRIOR_ROWS = 20.0  # a value's click rate is drawn towards the mean as if it had so many rows more


@dataclasses.dataclass(frozen=True)
class WindowFacts:
    """What the manifest knows exactly: rows by day and hour, the days of each split, the fingerprint of each day."""

    rows: Mapping[str, Mapping[int, int]]
    splits: Mapping[str, Sequence[str]]
    fingerprints: Mapping[str, str] = dataclasses.field(default_factory=dict)


def profile_of(
    rows: pa.Table, roles: ColumnRoles, facts: WindowFacts | None = None, row_hashes: np.ndarray | None = None
) -> Profile:
    """Args:
    rows: flattened features, as tf.Example holds them: list columns, a null list where the value is missing.
    facts: of the whole window; without it the rows are all there are, and one split `all`.
    row_hashes: of each row, to find exact copies. Rows must have been sampled by this hash.
    """
    days, day_N = _days(rows, roles)
    hour_N = _hours(rows, roles, days, day_N)
    clicks_N = _labels(rows, roles.label)
    sampled = _by_hour(days, day_N, hour_N, None)
    facts = facts or WindowFacts(rows=sampled, splits={"all": days})
    window = _Window(days, day_N, hour_N, clicks_N, _halves(rows, roles), facts.splits)
    num_rows = sum(sum(hours.values()) for hours in facts.rows.values())
    columns, codes = {}, {}
    for name in rows.column_names:
        if name != roles.label and not roles.is_partition(name):
            columns[name], code_N = _column(name, rows.column(name), window, roles)
            if columns[name].kind == "value" and code_N.max(initial=0) < dependence.MAX_VALUES:
                codes[name] = code_N
    by_hour = any(hour >= 0 for hours in facts.rows.values() for hour in hours)
    return Profile(
        splits={split: tuple(names) for split, names in facts.splits.items()},
        columns=columns,
        rows={day: dict(hours) for day, hours in facts.rows.items()} if by_hour else _scaled(sampled, facts.rows),
        sampled=sampled,
        clicks=_by_hour(days, day_N, hour_N, np.nan_to_num(clicks_N)),
        repeated=_repeated(days, day_N, row_hashes),
        fingerprints=dict(facts.fingerprints),
        dependence=_dependence(codes, window),
        thinned=tuple(day for split in roles.thinned_splits for day in facts.splits.get(split, ())),
        sample_share=rows.num_rows / num_rows if num_rows else 1.0,
    )


@dataclasses.dataclass(frozen=True)
class _Window:
    """The rows' day (index into `days`, -1 unknown), hour (-1 unknown), label (NaN unknown) and half (0, 1)."""

    days: list[str]
    day_N: np.ndarray
    hour_N: np.ndarray
    clicks_N: np.ndarray
    half_N: np.ndarray
    splits: Mapping[str, Sequence[str]]

    def rows_of(self, split: str) -> np.ndarray:
        wanted = set(self.splits.get(split, ()))
        flags = np.array([day in wanted for day in self.days] + [False])
        return flags[self.day_N]


@dataclasses.dataclass(frozen=True)
class _Elements:
    """The present values of a column: the row of each, its code, and what the codes mean."""

    row_M: np.ndarray
    code_M: np.ndarray
    names: Sequence


def _dependence(codes: Mapping[str, np.ndarray], window: _Window) -> dict[str, dict[str, float]]:
    pairs = dependence.dependence_by_day(codes, window.day_N, len(window.days))
    return {
        f"{first}|{second}": {day: round(value, 4) for day, value in zip(window.days, values, strict=True)}
        for (first, second), values in pairs.items()
    }


def _column(
    name: str, chunked: pa.ChunkedArray, window: _Window, roles: ColumnRoles
) -> tuple[ProfiledColumn, np.ndarray]:
    """The column, and one code per row of it."""
    column = _combined(chunked)
    lengths_N = np.asarray(pc.fill_null(pc.list_value_length(column), -1)).astype(np.int64)
    values = column.flatten()
    encoded = values.dictionary_encode()
    kind = roles.kinds.get(name) or _guess(lengths_N, values, len(encoded.dictionary))
    if kind in ("number", "time") and not _is_numeric(values.type):
        kind = "value"  # the schema check says that the type is wrong; what is there is still worth a look
    row_M = np.repeat(np.arange(len(lengths_N)), np.maximum(lengths_N, 0))
    elements = _elements(kind, row_M, values, encoded, window)
    missing_N = lengths_N < 0 if kind == "list" else lengths_N <= 0
    days = _day_distributions(elements, missing_N, window)
    code_N = _row_codes(kind, lengths_N, elements)
    for day, auc in _label_aucs(code_N, window).items():
        days[day] = dataclasses.replace(days[day], label_auc=auc)
    unseen = _unseen(elements, window) if kind in ("value", "list") else None
    return ProfiledColumn(kind, days, unseen), code_N


def _combined(chunked: pa.ChunkedArray) -> pa.ListArray:
    column = chunked.combine_chunks()
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column


def _guess(lengths_N: np.ndarray, values: pa.Array, num_distinct: int) -> Kind:
    numbers = values.to_numpy(zero_copy_only=False) if _is_numeric(values.type) else None
    return guessed_kind(bool((lengths_N > 1).any()), numbers, num_distinct)


def _is_numeric(data_type: pa.DataType) -> bool:
    return pa.types.is_integer(data_type) or pa.types.is_floating(data_type)


def _elements(
    kind: Kind, row_M: np.ndarray, values: pa.Array, encoded: pa.DictionaryArray, window: _Window
) -> _Elements:
    if kind == "number":
        numbers = values.to_numpy(zero_copy_only=False).astype(np.float64)
        finite = np.isfinite(numbers)
        names, codes = np.unique(buckets_of(numbers[finite]), return_inverse=True)
        return _Elements(row_M[finite], codes, names.tolist())
    if kind == "time":
        hours = _offset_hours(values.to_numpy(zero_copy_only=False), row_M, window)
        names, codes = np.unique(hours, return_inverse=True)
        return _Elements(row_M, codes, names.tolist())
    names = [_text(value) for value in encoded.dictionary.to_pylist()]
    return _Elements(row_M, encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), names)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _offset_hours(times: np.ndarray, row_M: np.ndarray, window: _Window) -> np.ndarray:
    """Whole hours from the start of a row's partition (its hour, or its day where the hour is not known)."""
    epoch = datetime.date(1970, 1, 1).toordinal()
    starts = np.array([(datetime.date.fromisoformat(day).toordinal() - epoch) * 24 for day in window.days] + [0])
    start_M = starts[window.day_N[row_M]] + np.maximum(window.hour_N[row_M], 0)
    return np.clip(times // _HOUR_MICROSECONDS - start_M, -10_000, 10_000)


def _day_distributions(elements: _Elements, missing_N: np.ndarray, window: _Window) -> dict[str, Distribution]:
    num_days, num_codes = len(window.days), max(len(elements.names), 1)
    known_N = window.day_N >= 0
    rows = np.bincount(window.day_N[known_N], minlength=num_days)
    missing = np.bincount(window.day_N[known_N & missing_N], minlength=num_days)
    day_M = window.day_N[elements.row_M]
    pairs, counts = np.unique((day_M * num_codes + elements.code_M)[day_M >= 0], return_counts=True)
    bounds = np.searchsorted(pairs, np.arange(num_days + 1) * num_codes)
    made = {}
    for index, day in enumerate(window.days):
        part = slice(bounds[index], bounds[index + 1])
        made[day] = _distribution(pairs[part] % num_codes, counts[part], elements.names, rows[index], missing[index])
    return made


def _distribution(codes: np.ndarray, counts: np.ndarray, names: Sequence, rows: int, missing: int) -> Distribution:
    kept = np.arange(len(codes))
    if len(codes) > MAX_VALUES and isinstance(names[0], str):
        kept = np.array(sorted(range(len(codes)), key=lambda i: (-counts[i], names[codes[i]]))[:HEAD_VALUES])
    by_name: dict = {}
    for code, count in zip(codes[kept].tolist(), counts[kept].tolist(), strict=True):
        by_name[names[code]] = by_name.get(names[code], 0) + count  # bad UTF-8 may give one text to two values
    other = int(counts.sum()) - int(counts[kept].sum())
    return Distribution(int(rows), int(missing), by_name, other, len(codes))


def _row_codes(kind: Kind, lengths_N: np.ndarray, elements: _Elements) -> np.ndarray:
    """One code per row for the label test: the value's own, a list's length; missing is a code too."""
    if kind == "list":
        return np.minimum(lengths_N, _MAX_LENGTH) + 1
    codes = np.full(len(lengths_N), _MISSING_CODE, np.int64)
    codes[elements.row_M] = elements.code_M + 1
    return codes


def _label_aucs(code_N: np.ndarray, window: _Window) -> dict[str, float]:
    """By day: the AUC of the click rate by code, learnt from one half and measured on the other, both ways."""
    usable = (window.day_N >= 0) & ~np.isnan(window.clicks_N)
    codes, clicks, days = code_N[usable], window.clicks_N[usable], window.day_N[usable]
    half = window.half_N[usable]
    found = {}
    for index, day in enumerate(window.days):
        of_day = days == index
        parts = [(codes[of_day & (half == side)], clicks[of_day & (half == side)]) for side in (0, 1)]
        aucs = [_auc_of(*parts[side], *parts[1 - side]) for side in (0, 1)]
        if all(auc is not None for auc in aucs):
            found[day] = round(float(np.mean(aucs)), 4)
    return found


def _auc_of(train_codes: np.ndarray, train_clicks: np.ndarray, codes: np.ndarray, clicks: np.ndarray) -> float | None:
    """AUC (Mann-Whitney, ties count half) of codes ranked by their click rate in other rows."""
    if not len(codes) or not 0 < train_clicks.sum() < len(train_clicks) or not 0 < clicks.sum() < len(clicks):
        return None
    unique, place = np.unique(np.concatenate([train_codes, codes]), return_inverse=True)
    train_place, place = place[: len(train_codes)], place[len(train_codes) :]
    rows = np.bincount(train_place, minlength=len(unique))
    rates = (np.bincount(train_place, train_clicks, len(unique)) + _PRIOR_ROWS * train_clicks.mean()) / (
        rows + _PRIOR_ROWS
    )
    _, rank = np.unique(rates, return_inverse=True)
    ranks = rank[place]
    positive = np.bincount(ranks, clicks, rank.max() + 1)
    negative = np.bincount(ranks, minlength=rank.max() + 1) - positive
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))


def _unseen(elements: _Elements, window: _Window) -> float | None:
    """Share of the eval split's values that do not occur in the train split."""
    in_train, in_eval = window.rows_of("train")[elements.row_M], window.rows_of("eval")[elements.row_M]
    if not in_train.any() or not in_eval.any():
        return None
    known = np.bincount(elements.code_M[in_train], minlength=len(elements.names)) > 0
    return round(float(1 - known[elements.code_M[in_eval]].mean()), 6)


def _days(rows: pa.Table, roles: ColumnRoles) -> tuple[list[str], np.ndarray]:
    if roles.date not in rows.column_names:
        raise DataVerdictError(
            f"the examples have no column `{roles.date}`, the date of the partition, and days cannot be told apart",
            hint="Set source.date_column to the partition column that holds the date.",
        )
    encoded = _first_values(rows.column(roles.date)).dictionary_encode()
    texts = [_iso(_text(value), roles.date_format) for value in encoded.dictionary.to_pylist()]
    days = sorted({text for text in texts if text})
    place = np.array([days.index(text) if text else -1 for text in texts] + [-1])
    return days, place[np.asarray(pc.fill_null(encoded.indices, -1))]


def _iso(text: str, date_format: str) -> str | None:
    try:
        return datetime.datetime.strptime(text, date_format).date().isoformat()
    except ValueError:
        return None


def _first_values(column: pa.ChunkedArray) -> pa.Array:
    """The only value of each row, null where there is none."""
    lists = _combined(column)
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0)).astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    return lists.flatten().take(pa.array(starts, mask=lengths == 0))


def _halves(rows: pa.Table, roles: ColumnRoles) -> np.ndarray:
    """0 or 1 by user, so that what one user did is never learnt from and measured on; else by blocks of rows, which
    keep most copies of a row together."""
    if roles.user is None or roles.user not in rows.column_names:
        return np.arange(rows.num_rows) // _BLOCK_ROWS % 2
    codes = pc.fill_null(_first_values(rows.column(roles.user)).dictionary_encode().indices, -1)
    return np.asarray(codes).astype(np.int64) % 2


def _hours(rows: pa.Table, roles: ColumnRoles, days: list[str], day_N: np.ndarray) -> np.ndarray:
    """0 to 23 by the partition column of the hour; -1 for all rows where there is none."""
    if roles.hour is None or roles.hour not in rows.column_names:
        return np.full(rows.num_rows, -1, np.int64)
    encoded = _first_values(rows.column(roles.hour)).dictionary_encode()
    hours = [
        int(text) if text.isdecimal() and int(text) < 24 else -1 for text in map(_text, encoded.dictionary.to_pylist())
    ]
    return np.array([*hours, -1])[np.asarray(pc.fill_null(encoded.indices, -1))]


def _labels(rows: pa.Table, label: str) -> np.ndarray:
    """0.0 and 1.0; NaN where there is none, or another value: the label check speaks about those."""
    if label not in rows.column_names or not _is_numeric(rows.column(label).type.value_type):
        return np.full(rows.num_rows, np.nan)
    values = _first_values(rows.column(label)).cast(pa.float64()).to_numpy(zero_copy_only=False)
    return np.where((values == 0) | (values == 1), values, np.nan)


def _by_hour(
    days: list[str], day_N: np.ndarray, hour_N: np.ndarray, weights: np.ndarray | None
) -> dict[str, dict[int, int]]:
    place = (day_N * 25 + hour_N + 1)[day_N >= 0]
    chosen = None if weights is None else weights[day_N >= 0]
    rows = np.bincount(place, minlength=len(days) * 25)
    sums = rows if chosen is None else np.bincount(place, chosen, len(days) * 25)
    return {
        day: {slot % 25 - 1: round(sums[slot]) for slot in range(index * 25, index * 25 + 25) if rows[slot]}
        for index, day in enumerate(days)
    }


def _scaled(
    sampled: Mapping[str, Mapping[int, int]], rows: Mapping[str, Mapping[int, int]]
) -> dict[str, dict[int, int]]:
    """Rows by hour where the manifest knows days only: the sample's hours, scaled to the day."""
    made = {}
    for day, exact in rows.items():
        hours, day_rows = sampled.get(day, {}), sum(exact.values())
        seen = sum(hours.values())
        made[day] = {hour: round(count / seen * day_rows) for hour, count in hours.items()} if seen else dict(exact)
    return made


def _repeated(days: list[str], day_N: np.ndarray, row_hashes: np.ndarray | None) -> dict[str, float]:
    """By day, the share of rows that are a further copy of an earlier one."""
    if row_hashes is None:
        return {}
    found = {}
    for index, day in enumerate(days):
        hashes = row_hashes[day_N == index]
        found[day] = round(1 - len(np.unique(hashes)) / len(hashes), 6) if len(hashes) else 0.0
    return found
