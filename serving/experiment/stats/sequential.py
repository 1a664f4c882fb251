"""Intervals and p-values that hold at every look at once: peeking every day does not make false alarms.

The normal-mixture boundary of Robbins (1970), as in the mSPRT (Johari, Pekelis, Walsh 2015, arXiv 1512.04922), used
with an estimated variance: an asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas 2021, arXiv
2103.06476). With s the standard error of the difference D, the mixture's scale t and r = s^2 / t^2:

    |D - truth| <= s * sqrt((1 + r) * log((1 + r) / (r * alpha^2)))   at all looks, with probability 1 - alpha.

The theory wants independent increments. Users who come back break that a little, in either direction
(docs/decisions/0064-sequential-ctr.md). The boundary is nowhere below 3.03 standard errors at alpha 5 %, so that for up
to 20 looks the union bound alone, under any dependence, keeps false positives at 5 %; benchmarks/ab.py measures them.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import optimize, stats

from hivemill.serving.experiment.exposures.users import UserDays
from hivemill.serving.experiment.stats.ratio import Interval, VariantComparison, compare

MIN_USERS = 100
MIN_CLICKS = 20
"""Of each variant, before a look counts: below that a normal distribution is no fair picture of a CTR."""


@dataclass(frozen=True)
class Look:
    """The state at the end of a day, over all days so far.

    Attributes:
        date: the day.
        comparison: CTRs and their standard errors.
        p_value: always valid, and the smallest so far: it never rises. 1.0 before the first look that counts.
        interval: always valid, of the difference; None where the look does not count.
        lift_interval: always valid, of the relative lift; None too where control's CTR cannot be told from 0.
        counts: whether both variants had MIN_USERS and MIN_CLICKS by then.
    """

    date: datetime.date
    comparison: VariantComparison
    p_value: float
    own_p_value: float
    interval: Interval | None
    lift_interval: Interval | None
    counts: bool


def looks(cells: UserDays, *, alpha: float = 0.05, lift_of_interest: float = 0.1) -> list[Look]:
    """One look for each day with impressions. What a look says depends on nothing that came later."""
    made: list[Look] = []
    smallest = 1.0
    for date, (control, treatment) in zip(cells.dates, cells.looks(), strict=True):
        comparison = compare(control, treatment)
        if not _counts(comparison):
            made.append(Look(date, comparison, smallest, 1.0, None, None, False))
            continue
        scale = comparison_scale(comparison, lift_of_interest, alpha)
        own = p_value(comparison.difference, comparison.standard_error, scale)
        smallest = min(smallest, own)
        reach = multiplier(comparison.standard_error, scale, alpha)
        interval, lift_interval = comparison.interval(reach), comparison.lift_interval(reach)
        made.append(Look(date, comparison, smallest, own, interval, lift_interval, True))
    return made


def multiplier(standard_error: float, scale: float, alpha: float = 0.05) -> float:
    """How many standard errors the always-valid interval reaches to each side."""
    r = (standard_error / scale) ** 2
    return math.sqrt((1 + r) * math.log((1 + r) / (r * alpha * alpha)))


def p_value(difference: float, standard_error: float, scale: float) -> float:
    """Of one look; the smallest so far is always valid. At most alpha where the interval leaves out 0."""
    r = (standard_error / scale) ** 2
    log_ratio = 0.5 * math.log(r / (1 + r)) + difference**2 / (2 * standard_error**2 * (1 + r))
    return min(1.0, math.exp(-log_ratio)) if log_ratio < 700 else 0.0


def mixture_scale(lift_of_interest: float, ctr: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The scale that makes the interval tightest when the lift of interest is found with `power`.

    Tightest is r = 1 / (-2 log(alpha) + log(-2 log(alpha)) + 1) (Waudby-Smith et al. 2021, appendix B.2).
    """
    r = 1 / (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1)
    reach = math.sqrt((1 + r) * math.log((1 + r) / (r * alpha * alpha)))
    return lift_of_interest * ctr / (reach + stats.norm.ppf(power)) / math.sqrt(r)


def comparison_scale(comparison: VariantComparison, lift_of_interest: float, alpha: float = 0.05) -> float:
    """`mixture_scale` at the CTR of both variants together."""
    parts = (comparison.control, comparison.treatment)
    ctr = sum(one.clicks for one in parts) / sum(one.impressions for one in parts)
    return mixture_scale(lift_of_interest, ctr, alpha)


def first_crossing(made: Sequence[Look], alpha: float = 0.05) -> Look | None:
    """The first look at which the difference was significant."""
    return next((look for look in made if look.counts and look.p_value <= alpha), None)


def smallest_multiplier(alpha: float = 0.05) -> float:
    """The least that `multiplier` ever gives, over all standard errors."""
    found = optimize.minimize_scalar(lambda log_s: multiplier(math.exp(log_s), 1.0, alpha), bounds=(-10, 5))
    return float(found.fun)


def _counts(comparison: VariantComparison) -> bool:
    enough = all(
        one.users >= MIN_USERS and one.clicks >= MIN_CLICKS for one in (comparison.control, comparison.treatment)
    )
    return enough and comparison.standard_error > 0
