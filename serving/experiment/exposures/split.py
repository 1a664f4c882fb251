"""Which rows belong to the test that runs now: those of its version, under its last split.

A log goes on from week to week, and canary is another version each week. CTRs of times with different splits do not add
up (Simpson), and a user whose bucket joined canary saw stable before.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

_SHARE_DIGITS = 6


@dataclasses.dataclass(frozen=True)
class LastSplit:
    """The rows under the split of the last day.

    Attributes:
        frame: those rows; all of them where the log has no propensity.
        treatment_share: by the propensity; None where the log has none.
        rows_under_other_splits: left out.
    """

    frame: pd.DataFrame
    treatment_share: float | None
    rows_under_other_splits: int


def last_version(frame: pd.DataFrame, treatment: str) -> tuple[pd.DataFrame, int]:
    """The rows since treatment's version of its last day began, and how many are left out.

    Failed requests stay, whichever version answered for treatment. All rows stay where treatment has one version only,
    or the log does not say versions.
    """
    if "model_version" not in frame:
        return frame, 0
    versions = frame["model_version"].to_numpy(object)
    moments = frame["request_time"].to_numpy()
    failed = frame["error"].to_numpy(bool) if "error" in frame else np.zeros(len(frame), bool)
    treated = (frame["variant"] == treatment).to_numpy()
    answered = treated & ~failed & (versions != "")
    if len(np.unique(versions[answered].astype(str))) < 2:
        return frame, 0
    days = moments.astype("datetime64[D]")
    last = pd.Series(versions[answered & (days == days[answered].max())]).value_counts().index[0]
    of_last = answered & (versions == last)
    chosen = (moments >= moments[of_last].min()) & (~treated | failed | of_last)
    return frame[chosen], int((~chosen).sum())


def last_split(frame: pd.DataFrame, treatment: str) -> LastSplit:
    """`frame` has rows of two variants. Rows without a propensity, where others have one, count as another split."""
    if "propensity" not in frame or frame["propensity"].isna().all():
        return LastSplit(frame, None, 0)
    own = frame["propensity"].to_numpy()
    treated = (frame["variant"] == treatment).to_numpy()
    shares = np.round(np.where(treated, own, 1 - own), _SHARE_DIGITS)
    days = frame["request_time"].to_numpy().astype("datetime64[D]")
    known = ~np.isnan(shares)
    values, counts = np.unique(shares[known & (days == days[known].max())], return_counts=True)
    share = float(values[counts.argmax()])
    chosen = shares == share
    return LastSplit(frame[chosen], share, int((~chosen).sum()))
