"""Covariates from the log's own time before the test: what each user saw and clicked then, for CUPED."""

from __future__ import annotations

import dataclasses
import datetime

import numpy as np

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.serving.experiment.exposures.log import ExposureLog

HISTORY_COLUMNS = ("history_impressions", "history_clicks")


def first_moment(since: datetime.datetime | None, days: int | None) -> datetime.datetime | None:
    """From when on the log is to be read. Raises ConfigError where history is asked for without a beginning."""
    if days is None:
        return since
    if since is None:
        raise ConfigError(
            "history needs the beginning of the test: what comes before it is history",
            hint="Give --since with the day on which canary began.",
        )
    return since - datetime.timedelta(days=days)


def with_history(log: ExposureLog, since: datetime.datetime, treatment: str) -> ExposureLog:
    """The rows from `since` on, with HISTORY_COLUMNS from those before; a user without any has zeros.

    Only impressions with a known click count. Raises DataNotReadyError without history, and where it has rows of
    treatment: canary's effect on the history of those who saw it early would be taken off again.
    """
    before, rows = log.between(None, since), log.between(since, None)
    if rows.frame.empty:
        raise DataNotReadyError(f"{log.places[0]}: no row from {since:%Y-%m-%d %H:%M} on")
    early = int((before.frame["variant"] == treatment).sum())
    if early:
        raise DataNotReadyError(
            f"{log.places[0]}: {early:,} rows of {treatment} are before {since:%Y-%m-%d %H:%M}, in the time that "
            "history is made from",
            hint="Give fewer --history-days, so that they end before any canary, or use columns known before the test.",
        )
    known = before.frame[before.frame["click"].notna().to_numpy()]
    if known.empty:
        raise DataNotReadyError(f"{log.places[0]}: no row with a known click before {since:%Y-%m-%d %H:%M}")
    by_user = known.groupby("user_id", observed=True)["click"].agg(["size", "sum"])
    users = rows.frame["user_id"].astype(object)
    columns = {
        name: users.map(by_user[column]).fillna(0).to_numpy(np.float64)
        for name, column in zip(HISTORY_COLUMNS, ("size", "sum"), strict=True)
    }
    return dataclasses.replace(rows, frame=rows.frame.assign(**columns))
