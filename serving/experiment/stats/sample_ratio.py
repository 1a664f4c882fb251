"""Sample-ratio mismatch: are there as many users in each variant as the split says?

A split that is not what was configured means that somebody is missing (a crash in one variant, a broken log, bots), and
that those who are there cannot be compared. Fabijan et al. (KDD 2019) found it in about 6 % of experiments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

THRESHOLD = 0.001
MIN_EXPECTED_USERS = 5


@dataclass(frozen=True)
class Stage:
    """Users whose first exposure was under one split. `share` is that of treatment."""

    share: float
    control_users: int
    treatment_users: int

    @property
    def is_large(self) -> bool:
        users = self.control_users + self.treatment_users
        return users > 0 and (self.share in (0.0, 1.0) or users * min(self.share, 1 - self.share) >= MIN_EXPECTED_USERS)


@dataclass(frozen=True)
class Mismatch:
    """The chi-square test over all stages. `expected_treatment_users` is what the split would give."""

    p_value: float
    statistic: float
    treatment_users: int
    expected_treatment_users: float
    users: int

    @property
    def is_red(self) -> bool:
        return self.p_value < THRESHOLD


def chi_square(stages: Sequence[Stage]) -> Mismatch | None:
    """Pearson's test; stages with different shares add up, statistics and degrees of freedom.

    A stage in which one variant has the share 0 must have no user of it: else the p-value is 0. Stages that expect
    fewer than 5 users of a variant are left out: chi-square does not hold there. None where no stage is left.
    """
    stages = [stage for stage in stages if stage.is_large]
    if not stages:
        return None
    total = sum(stage.control_users + stage.treatment_users for stage in stages)
    expected = sum(stage.share * (stage.control_users + stage.treatment_users) for stage in stages)
    statistic, freedom = 0.0, 0
    for stage in stages:
        users = stage.control_users + stage.treatment_users
        if 0 < stage.share < 1:
            statistic += (stage.treatment_users - users * stage.share) ** 2 / (users * stage.share * (1 - stage.share))
            freedom += 1
        elif (stage.treatment_users if stage.share <= 0 else stage.control_users) > 0:
            statistic = float("inf")
    p_value = float(stats.chi2.sf(statistic, freedom)) if freedom else float(statistic == 0)
    treated = sum(stage.treatment_users for stage in stages)
    return Mismatch(p_value, statistic, treated, expected, total)
