"""Impressions and clicks per user and day: the sufficient data of every CTR statistic, and the looks over time.

Users are the unit. They are assigned, not impressions, and the impressions of one user are not independent.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class UserSample:
    """One variant. Shapes: clicks [users], impressions [users] (all above 0), covariates [users, columns] or None."""

    clicks: np.ndarray
    impressions: np.ndarray
    covariates: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.clicks)


@dataclass(frozen=True)
class UserDays:
    """One entry for each user and day with impressions, in order of days.

    Attributes:
        users: index of the user [cells].
        days: index into `dates` [cells], ascending.
        impressions, clicks: counts, or sums of what is compared [cells].
        is_treatment: by user [users].
        dates: the UTC days that occur, ascending.
        covariates: what was known of each user before the experiment [users, columns], or None. NaN: not known.
    """

    users: np.ndarray
    days: np.ndarray
    impressions: np.ndarray
    clicks: np.ndarray
    is_treatment: np.ndarray
    dates: tuple[datetime.date, ...]
    covariates: np.ndarray | None = None

    def samples(self) -> tuple[UserSample, UserSample]:
        """Control and treatment over all days."""
        *_, last = self.looks()
        return last

    def looks(self) -> Iterator[tuple[UserSample, UserSample]]:
        """Control and treatment as they stood at the end of each day."""
        num_users = len(self.is_treatment)
        impressions, clicks = np.zeros(num_users), np.zeros(num_users)
        ends = np.searchsorted(self.days, np.arange(len(self.dates)), side="right")
        start = 0
        for end in ends:
            part = slice(start, end)
            impressions += np.bincount(self.users[part], self.impressions[part], num_users)
            clicks += np.bincount(self.users[part], self.clicks[part], num_users)
            start = end
            seen = impressions > 0
            yield (
                self._sample(seen & ~self.is_treatment, impressions, clicks),
                self._sample(seen & self.is_treatment, impressions, clicks),
            )

    def _sample(self, chosen: np.ndarray, impressions: np.ndarray, clicks: np.ndarray) -> UserSample:
        covariates = None if self.covariates is None else self.covariates[chosen]
        return UserSample(clicks[chosen], impressions[chosen], covariates)


def cells_of(
    users: np.ndarray,
    days: np.ndarray,
    impressions: np.ndarray,
    clicks: np.ndarray,
    is_treatment: np.ndarray,
    covariates: np.ndarray | None = None,
) -> UserDays:
    """Sums rows into cells. `users` are indices into `is_treatment`; `days` are numpy datetime64 of any unit."""
    dates, day_index = np.unique(np.asarray(days).astype("datetime64[D]"), return_inverse=True)
    num_users = max(len(is_treatment), 1)
    keys, cell = np.unique(day_index.astype(np.int64) * num_users + users, return_inverse=True)
    return UserDays(
        users=keys % num_users,
        days=keys // num_users,
        impressions=np.bincount(cell, impressions, len(keys)),
        clicks=np.bincount(cell, clicks, len(keys)),
        is_treatment=np.asarray(is_treatment, bool),
        dates=tuple(date.item() for date in dates),
        covariates=covariates,
    )
