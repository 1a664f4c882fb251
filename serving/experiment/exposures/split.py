"""Which rows belong to the test that runs now: those of its version, under its last split.

A log goes on from week to week, and canary is another version each week. CTRs of times with different splits do not add
up (Simpson), and a user whose bucket joined canary saw stable before.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from hivemill.common.errors import DataNotReadyError

_SHARE_DIGITS = 6
_LEAST_SHARE_OF_A_DAY = 0.01  # of the rows of its last day: fewer agree by chance


@dataclasses.dataclass(frozen=True)
class LastSplit:
    """The rows under the last split in which both variants exist.

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
    share = _last_share(shares, treated, frame["request_time"].to_numpy().astype("datetime64[D]"))
    chosen = shares == share
    return LastSplit(frame[chosen], share, int((~chosen).sum()))


def _last_share(shares: np.ndarray, treated: np.ndarray, days: np.ndarray) -> float:
    """The share of the last split that has rows of both variants: when a test ends, the split goes to 0 or 1.

    Of several on its last day the one with the most rows there. Raises DataNotReadyError where no split has both.
    """
    both = np.intersect1d(shares[treated], shares[~treated])
    candidates = np.isin(shares, both[(both > 0) & (both < 1)])
    if candidates.any():
        last_day = days == days[candidates].max()
        values, counts = np.unique(shares[candidates & last_day], return_counts=True)
        if counts.max() >= _LEAST_SHARE_OF_A_DAY * last_day.sum():
            return float(values[counts.argmax()])
    seen = ", ".join(f"{share:g}" for share in np.unique(shares[~np.isnan(shares)])[:5])
    raise DataNotReadyError(
        f"by `propensity`, no split has rows of both variants (treatment's share by its rows: {seen})",
        hint="A row's propensity is the probability of its own variant: canary's share in rows of canary, 1 less "
        "that in rows of stable. It must be the same for all users at a time, not drawn by request. If the log has "
        "something else there, name another column (experiment.columns) and set experiment.treatment_share.",
    )
