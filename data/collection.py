"""A day of an exposure log and the features that were shown, as one partition of the click log: the loop's way back.

    table, facts = join_day(exposures, impressions, "click")
    publish(table, Path("clicks/dt=2026-11-15"), "parquet")

Rows meet by request id. The label is the exposure's click; what serving noted of the impression (variant, version,
propensity, prediction) stays beside it for analysis and is no feature (docs/loop.md). The same logs give the same
bytes. A day is held in memory.
"""

from __future__ import annotations

import dataclasses
import filecmp
import os
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.common.storage.atomic import folder_published_at
from hivemill.data.writers import DATA_FILE, SUCCESS_FILE, open_writer

REQUEST_ID = "request_id"
KEPT = {
    "model_version": pa.string(),
    "variant": pa.string(),
    "propensity": pa.float64(),
    "prediction": pa.float64(),
}
"""Columns of the exposure log that the table keeps, with their types; NULL where the log lacks them."""
UnknownClicks = Literal["fail", "negative", "drop"]
ColumnarFormat = Literal["parquet", "orc"]


@dataclasses.dataclass(frozen=True)
class JoinFacts:
    """What became of a day's exposures.

    Attributes:
        exposures: rows of the log on the day.
        rows, clicks: written.
        without_request_id, without_features: exposures that no impression can be found for.
        other_user: the impression of that request id is another user's.
        unknown_clicks: click was NULL; left out, or written as 0.
        repeated_impressions: further impressions of a request id; the first one counts.
    """

    exposures: int
    rows: int
    clicks: int
    without_request_id: int
    without_features: int
    other_user: int
    unknown_clicks: int
    repeated_impressions: int

    @property
    def lost(self) -> int:
        """Exposures that should be in the table and cannot be."""
        return self.without_request_id + self.without_features + self.other_user


def join_day(
    exposures: pd.DataFrame, impressions: pa.Table, label: str, unknown_clicks: UnknownClicks = "fail"
) -> tuple[pa.Table, JoinFacts]:
    """The rows of a day's partition, in order of time and request id, and what became of the others.

    Args:
        exposures: one row for each impression, as serving.experiment.exposures.log.read_log gives them: request_time
            (datetime64), user_id, variant, click (NaN: not known), request_id; of KEPT what the log has.
        impressions: the features as they were shown, with `request_id`. A column named `label` is replaced.
        label: name of the label's column, 0 or 1 as int32.
        unknown_clicks: what a click that is not known is: an error, a 0, or a row left out.

    Raises:
        ConfigError: a log has no request ids, or a column of KEPT is one of the impressions' too.
        DataNotReadyError: clicks are not known, and `unknown_clicks` is `fail`.
    """
    _check_columns(exposures, impressions, label)
    usable = exposures[exposures[REQUEST_ID].notna()]
    usable = usable.sort_values(["request_time", REQUEST_ID], kind="stable")
    usable, num_unknown = _with_known_clicks(usable, unknown_clicks)
    firsts, repeated = _firsts(impressions.column(REQUEST_ID))
    place = pc.index_in(pa.array(usable[REQUEST_ID], pa.string()), value_set=firsts.column("id"))
    found = place.is_valid().to_numpy(zero_copy_only=False)
    matched = usable[found]
    features = impressions.take(firsts.column("row").take(place.drop_null()))
    same_user = _same_user(matched, features)
    matched, features = matched[same_user], features.filter(pa.array(same_user))
    table = _table(matched, features, label)
    facts = JoinFacts(
        exposures=len(exposures),
        rows=table.num_rows,
        clicks=int(matched["click"].sum()),
        without_request_id=int(exposures[REQUEST_ID].isna().sum()),
        without_features=int((~found).sum()),
        other_user=int((~same_user).sum()),
        unknown_clicks=num_unknown,
        repeated_impressions=repeated,
    )
    return table, facts


def publish(table: pa.Table, folder: Path, file_format: ColumnarFormat, overwrite: bool = False) -> bool:
    """Writes a partition's folder, complete or not at all; False where it is there with the same content.

    Raises ConfigError where it has other content, unless `overwrite`; OSError.
    """
    try:
        with folder_published_at(folder, replace=overwrite) as made:
            with open_writer(file_format, made / DATA_FILE, table.schema) as writer:
                writer.write(table)
            (made / SUCCESS_FILE).touch()
            _check_old(folder, made, overwrite)
    except _SameContentError:
        return False
    return True


class _SameContentError(Exception):
    """Ends the publication of a partition that is there already; never leaves this module."""


def _check_old(folder: Path, made: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    names = sorted(os.listdir(made))
    if names == sorted(os.listdir(folder)) and not any(filecmp.cmpfiles(folder, made, names, shallow=False)[1:]):
        raise _SameContentError
    if not overwrite:
        raise ConfigError(
            f"{folder} exists with other content than these logs give",
            hint="Logs that grew since then (late clicks) replace it with --overwrite; a generated or imported "
            "partition is kept by choosing another table or other days.",
        )


def _check_columns(exposures: pd.DataFrame, impressions: pa.Table, label: str) -> None:
    if REQUEST_ID not in exposures:
        raise ConfigError(
            f"the exposure log has no column {REQUEST_ID!r}, so its rows cannot be joined to features",
            hint="Answer.exposures() of serving/client.py writes it; `--column request_id=NAME` where it has another "
            "name.",
        )
    if REQUEST_ID not in impressions.column_names:
        near = ", ".join(impressions.column_names[:20])
        raise ConfigError(f"the impressions have no column {REQUEST_ID!r}", hint=f"They have: {near}.")
    twice = [name for name in KEPT if name in impressions.column_names] + [label] * (label in (*KEPT, REQUEST_ID))
    if twice:
        raise ConfigError(
            f"column {twice[0]!r} is the exposure log's; the impressions must not have one of that name",
            hint="Rename it where the impressions are written.",
        )


def _with_known_clicks(exposures: pd.DataFrame, unknown_clicks: UnknownClicks) -> tuple[pd.DataFrame, int]:
    unknown = exposures["click"].isna().to_numpy()
    if not unknown.any():
        return exposures, 0
    if unknown_clicks == "fail":
        first = exposures[unknown].iloc[0]
        raise DataNotReadyError(
            f"click is not known of {int(unknown.sum()):,} of {len(exposures):,} exposures, the first being "
            f"{first[REQUEST_ID]} at {first['request_time']}",
            hint="Collect the day later, or say what they are: --unknown-clicks negative once no click can come any "
            "more, drop where clicks were lost.",
        )
    if unknown_clicks == "drop":
        return exposures[~unknown], int(unknown.sum())
    return exposures.assign(click=exposures["click"].fillna(0.0)), int(unknown.sum())


def _firsts(ids: pa.ChunkedArray) -> tuple[pa.Table, int]:
    """The request ids with the first row of each, and how many rows repeat one. Rows without an id are no rows."""
    named = pd.Series(ids.cast(pa.string()).to_pandas(), dtype=object)
    known = named.notna()
    first = known & ~named.duplicated()
    rows = np.flatnonzero(first.to_numpy())
    made = pa.table({"id": pa.array(named[first], pa.string()), "row": pa.array(rows, pa.int64())})
    return made, int(known.sum()) - len(rows)


def _same_user(exposures: pd.DataFrame, features: pa.Table) -> np.ndarray:
    """bool [rows]; True for all where the impressions do not say whose they are."""
    if "user_id" not in features.column_names:
        return np.ones(len(exposures), bool)
    theirs = features.column("user_id").cast(pa.string()).to_pandas().to_numpy(object)
    return exposures["user_id"].astype(object).to_numpy() == theirs


def _table(exposures: pd.DataFrame, features: pa.Table, label: str) -> pa.Table:
    """The features' own columns in their order, the label, request time and user where they lack them, then KEPT."""
    clicks = pa.array(exposures["click"].to_numpy().astype(np.int32))
    table = _set(features, label, clicks)
    for name in ("request_time", "user_id"):
        if name not in features.column_names:
            values = exposures[name].astype(object) if name == "user_id" else exposures[name]
            table = table.append_column(name, pa.array(values))
    for name, kind in KEPT.items():
        table = table.append_column(name, _kept(exposures, name, kind))
    return table.combine_chunks()


def _kept(exposures: pd.DataFrame, name: str, kind: pa.DataType) -> pa.Array:
    if name not in exposures:
        return pa.nulls(len(exposures), kind)
    if pa.types.is_string(kind):
        values = exposures[name].astype(object).replace("", None)
        return pa.array(values, kind, from_pandas=True)
    return pa.array(exposures[name].to_numpy(float), kind, from_pandas=True)


def _set(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)
