"""The exposure log: one row for each impression, with who saw it, which variant, and whether it was clicked.

Columns (docs/experiments.md): request_time, user_id, variant, click must be there; request_id, model_version,
propensity, prediction, latency_seconds and error may be. Slices and covariates are columns of any other name.

The log is held in memory, about 100 bytes a row.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.serving.experiment.exposures import files as exposure_files
from hivemill.serving.experiment.exposures import values
from hivemill.serving.experiment.exposures.columns import OPTIONAL_COLUMNS, REQUIRED_COLUMNS
from hivemill.serving.experiment.exposures.values import Values

MAX_NAMED_ROWS = 10
MAX_REPEATED_SHARE = 0.2
"""Logs that are written at least once repeat a few rows. More than this are several impressions under one id."""
_NUMBERS = {
    "propensity": ("must be above 0 and at most 1", lambda v: (v > 0) & (v <= 1)),
    "prediction": ("must be 0 to 1", lambda v: (v >= 0) & (v <= 1)),
    "latency_seconds": ("must be a number of seconds, 0 or more", lambda v: (v >= 0) & np.isfinite(v)),
}


@dataclasses.dataclass(frozen=True)
class BadExposure:
    """A row that was left out: `value` breaks `rule`. `row` counts the file's rows from 1, a CSV's header not."""

    file: str
    row: int
    column: str
    value: str
    rule: str

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}: {self.column} {self.rule}; received {self.value}"


@dataclasses.dataclass(frozen=True)
class LogCounts:
    """Rows of the files, and what became of them.

    Attributes:
        rows: in the files, within the time asked for or bad.
        bad_rows: break a rule.
        rows_without_user: NULL or '': they are in no variant by lot, so they are left out.
        duplicate_rows: have the request id of another row and the same user and variant; one is kept, with a click if
            one of them has it.
        conflicting_rows: share a request id between users or variants; all of them are left out.
        rows_without_click: kept, but their click is not known (yet).
    """

    rows: int
    bad_rows: int
    rows_without_user: int
    duplicate_rows: int
    conflicting_rows: int
    rows_without_click: int


@dataclasses.dataclass(frozen=True)
class ExposureLog:
    """A log as it is analysed.

    Attributes:
        frame: columns by their standard names; request_time is datetime64[us] in UTC, user_id and variant categories of
            text, click, propensity, prediction and latency_seconds float64 with NaN, error bool, others as in the log.
        counts: what was left out.
        bad_rows: the first MAX_NAMED_ROWS of them.
        places: the files read.
    """

    frame: pd.DataFrame
    counts: LogCounts
    bad_rows: tuple[BadExposure, ...]
    places: tuple[str, ...]

    def variants(self) -> list[str]:
        return sorted(self.frame["variant"].unique())

    def between(self, since: datetime.datetime | None, until: datetime.datetime | None) -> ExposureLog:
        """The rows with since <= request_time < until (UTC)."""
        inside = _inside(self.frame["request_time"].to_numpy(), since, until)
        return dataclasses.replace(self, frame=self.frame[inside])


def read_log(
    log: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    slices: Sequence[str] = (),
    covariates: Sequence[str] = (),
    since: datetime.datetime | None = None,
    until: datetime.datetime | None = None,
    max_bad_share: float = 0.001,
) -> ExposureLog:
    """Reads a Parquet or CSV file, or a folder of them.

    Args:
        log: the file or folder; `name=value` folders are columns, as in Hive.
        columns: the log's own name of a standard column, by the standard name.
        slices, covariates: further columns to read, as text and as numbers.
        since, until: only rows with since <= request_time < until, UTC.
        max_bad_share: DataNotReadyError where a larger share of the rows breaks a rule.

    Raises:
        ConfigError: a column is not there.
        DataNotReadyError: no rows, unreadable files, wrong types, mixed time zones, too many bad rows.
    """
    names = _names(columns or {}, slices, covariates)
    files = exposure_files.files_of(Path(log))
    for name in (*REQUIRED_COLUMNS, *(columns or {}), *slices, *covariates):
        exposure_files.require_column(names[name], files, name)
    reader = _Reader(names, tuple(slices), tuple(covariates))
    frames = [_within(reader.frame_of(file), since, until) for file in files]
    _check_bad_rows(reader, sum(map(len, frames)) + reader.num_bad, max_bad_share)
    return _cleaned(_joined(frames), reader, tuple(str(file.path) for file in files))


def _joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Files one after the other; a column that only some of them have is not known in the others: no error there, no
    version."""
    frame = pd.concat(frames, ignore_index=True)
    for name, unknown in (("error", False), ("model_version", "")):
        if name in frame and frame[name].isna().any():
            frame[name] = frame[name].astype(object).where(frame[name].notna(), unknown)
    return frame.astype({"error": bool}) if "error" in frame else frame


class _Reader:
    """Files to frames, with the bad rows and time zones of all of them."""

    def __init__(self, names: Mapping[str, str], slices: Sequence[str], covariates: Sequence[str]):
        self.names, self.slices, self.covariates = names, slices, covariates
        self.bad_rows: list[BadExposure] = []
        self.num_bad = 0
        self._zones: dict[bool, str] = {}

    def frame_of(self, file: exposure_files.LogFile) -> pd.DataFrame:
        table = exposure_files.read(file, set(self.names.values()))
        place = str(file.path)
        is_bad = np.zeros(table.num_rows, bool)
        with exposure_files.damage_told(file.path):
            made = {
                name: self._values(name, table.column(inside), place)
                for name, inside in self.names.items()
                if inside in table.column_names
            }
            for name, column in made.items():
                self._note(name, column, table.column(self.names[name]), place, is_bad)
                is_bad |= column.is_bad
        self.num_bad += int(is_bad.sum())
        frame = pd.DataFrame({name: column.values for name, column in made.items()})
        return frame[~is_bad] if is_bad.any() else frame

    def _values(self, name: str, column: pa.ChunkedArray, place: str) -> Values:
        if name == "request_time":
            return self._times(column, place)
        if name in ("user_id", "request_id"):
            return values.identifiers(column, name, place)
        if name == "click":
            return values.clicks(column, place)
        if name == "error":
            return values.errors(column, place)
        if name in _NUMBERS:
            return values.numbers(column, name, place, *_NUMBERS[name])
        if name in self.covariates:
            return values.numbers(column, name, place, "must be a finite number or NULL", np.isfinite)
        found = values.labels(column, name, place)
        if name == "variant":
            return Values(found.values, found.values == "", "must not be empty")
        return found

    def _times(self, column: pa.ChunkedArray, place: str) -> Values:
        found = values.times(column, place)
        if found.has_zone is not None:
            self._zones.setdefault(found.has_zone, place)
        if len(self._zones) == 2:
            message = f"times with a time zone in {self._zones[True]}, without one in {self._zones[False]}"
            raise values.mixed_time_zones(message)
        return found.column

    def _note(self, name: str, column: Values, given: pa.ChunkedArray, place: str, known: np.ndarray) -> None:
        room = MAX_NAMED_ROWS - len(self.bad_rows)
        for row in np.flatnonzero(column.is_bad & ~known)[: max(room, 0)]:
            value = repr(given[int(row)].as_py())[:60]
            self.bad_rows.append(BadExposure(place, int(row) + 1, name, value, column.rule))


def _names(columns: Mapping[str, str], slices: Sequence[str], covariates: Sequence[str]) -> dict[str, str]:
    standard = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
    unknown = [name for name in columns if name not in standard]
    if unknown:
        raise ConfigError(f"{unknown[0]!r} is no column of an exposure log; there are {', '.join(standard)}")
    used = [name for name in (*slices, *covariates) if name in REQUIRED_COLUMNS or name in ("request_id", "propensity")]
    twice = [name for name in slices if name in covariates or list(slices).count(name) > 1] + used
    if twice:
        raise ConfigError(f"column {twice[0]!r} cannot be a slice or covariate: it has another use in the same log")
    others = {name: name for name in (*slices, *covariates)}
    return {**{name: columns.get(name, name) for name in standard}, **others}


def _check_bad_rows(reader: _Reader, rows: int, max_bad_share: float) -> None:
    if reader.num_bad > max_bad_share * rows:
        named = "\n  ".join(str(row) for row in reader.bad_rows)
        raise DataNotReadyError(
            f"{reader.num_bad:,} of {rows:,} rows of the exposure log break a rule, more than the share of "
            f"{max_bad_share:g} that may:\n  {named}",
            hint="Correct what writes the log, or raise experiment.max_bad_share: such rows are left out.",
        )


def _cleaned(frame: pd.DataFrame, reader: _Reader, places: tuple[str, ...]) -> ExposureLog:
    rows = len(frame) + reader.num_bad
    nobody = (frame["user_id"].isna() | (frame["user_id"] == "")).to_numpy(bool)
    frame = frame[~nobody].copy()
    for name in ("user_id", "variant"):
        frame[name] = frame[name].astype("category")
    if frame.empty:
        raise DataNotReadyError(f"{places[0]}: the exposure log has no row with a user in the time asked for")
    unique, duplicates, conflicts = _without_duplicates(frame)
    if duplicates + conflicts > MAX_REPEATED_SHARE * len(frame):
        raise DataNotReadyError(
            f"{places[0]}: {duplicates + conflicts:,} of {len(frame):,} rows repeat a request_id, more than "
            f"{MAX_REPEATED_SHARE:.0%}: it does not say which impression a row is",
            hint="Write one id for each impression, such as request/position, or leave the column out.",
        )
    frame = unique
    counts = LogCounts(
        rows=rows,
        bad_rows=reader.num_bad,
        rows_without_user=int(nobody.sum()),
        duplicate_rows=duplicates,
        conflicting_rows=conflicts,
        rows_without_click=int(frame["click"].isna().sum()),
    )
    frame["variant"] = frame["variant"].cat.remove_unused_categories()
    return ExposureLog(frame, counts, tuple(reader.bad_rows), places)


def _without_duplicates(frame: pd.DataFrame) -> tuple[pd.DataFrame, int, int]:
    """The frame, the rows dropped as duplicates, the rows dropped as conflicts. Rows without request id all stay."""
    if "request_id" not in frame:
        return frame, 0, 0
    repeated = frame["request_id"].notna() & frame.duplicated("request_id", keep=False)
    if not repeated.any():
        return frame, 0, 0
    groups = frame[repeated].groupby("request_id", sort=False, observed=True)
    kinds = groups[["user_id", "variant"]].transform("nunique").max(axis=1)
    in_conflict = kinds.index[kinds > 1]
    alike = frame.loc[kinds.index[kinds <= 1]].sort_values("request_time", kind="stable")
    kept = alike[~alike.duplicated("request_id")].copy()
    kept["click"] = kept["request_id"].map(alike.groupby("request_id", observed=True)["click"].max())
    whole = pd.concat([frame[~repeated], kept]).sort_index()
    return whole, len(alike) - len(kept), len(in_conflict)


def _within(frame: pd.DataFrame, since: datetime.datetime | None, until: datetime.datetime | None) -> pd.DataFrame:
    if since is None and until is None:
        return frame
    return frame[_inside(frame["request_time"].to_numpy(), since, until)]


def _inside(moments: np.ndarray, since: datetime.datetime | None, until: datetime.datetime | None) -> np.ndarray:
    inside = np.ones(len(moments), bool)
    if since is not None:
        inside &= moments >= _in_utc(since)
    if until is not None:
        inside &= moments < _in_utc(until)
    return inside


def _in_utc(moment: datetime.datetime) -> Any:
    """A moment without a zone is UTC."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return np.datetime64(moment, "us")
