"""Click-through rates of two variants compared, with users as the unit.

CTR is a ratio of sums over users, R = sum(clicks) / sum(impressions). Its variance is that of the mean of its
linearisation, (clicks - R * impressions) / mean(impressions), over users: the delta method (Deng, Knoblich, Lu 2018,
arXiv 1803.06336). The relative lift has Fieller's interval (1954), which leaves out 0 exactly where the test of the
difference is significant. CUPED (Deng, Xu, Kohavi, Walker 2013) subtracts what was known of the users before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

from hivemill.serving.experiment.exposures.users import UserSample


class Interval(NamedTuple):
    low: float
    high: float


@dataclass(frozen=True)
class Rate:
    """A CTR. `variance` is that of `value`, `design_effect` how many times that of independent impressions."""

    users: int
    impressions: float
    clicks: float
    value: float
    variance: float

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.variance)

    @property
    def design_effect(self) -> float | None:
        independent = self.value * (1 - self.value) / self.impressions if self.impressions else 0.0
        return self.variance / independent if independent > 0 else None


@dataclass(frozen=True)
class VariantComparison:
    """Treatment against control. `variance_reduction` is CUPED's share of the variance removed; None without it."""

    control: Rate
    treatment: Rate
    variance_reduction: float | None = None

    @property
    def difference(self) -> float:
        return self.treatment.value - self.control.value

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.control.variance + self.treatment.variance)

    @property
    def lift(self) -> float | None:
        """Relative: 0.05 is 5 % more. None where control has no click, or a variant no impression."""
        if not self.control.value > 0 or math.isnan(self.treatment.value):
            return None
        return self.difference / self.control.value

    @property
    def p_value(self) -> float | None:
        """Two-sided, for ONE look at a moment fixed in advance. None where nothing varies."""
        if not self.standard_error > 0:
            return None
        return float(2 * stats.norm.sf(abs(self.difference) / self.standard_error))

    def interval(self, multiplier: float) -> Interval:
        """Of the difference: `multiplier` standard errors to both sides."""
        reach = multiplier * self.standard_error
        return Interval(self.difference - reach, self.difference + reach)

    def lift_interval(self, multiplier: float) -> Interval | None:
        """Fieller's, of the relative lift. None where control's CTR cannot be told from 0: any lift would fit."""
        control, treatment, square = self.control, self.treatment, multiplier * multiplier
        a = control.value**2 - square * control.variance
        product = control.value * treatment.value
        inside = product**2 - a * (treatment.value**2 - square * treatment.variance)
        if a <= 0 or inside < 0:
            return None
        root = math.sqrt(inside)
        return Interval(max((product - root) / a - 1, -1.0), (product + root) / a - 1)  # no CTR is below 0


def rate(sample: UserSample) -> Rate:
    """The CTR of one variant. Needs two users; without any impression, or with one user, its variance is NaN."""
    users, impressions, clicks = len(sample), float(sample.impressions.sum()), float(sample.clicks.sum())
    if users < 2 or impressions <= 0:
        return Rate(users, impressions, clicks, clicks / impressions if impressions else math.nan, math.nan)
    value = clicks / impressions
    residuals = sample.clicks - value * sample.impressions
    variance = float(residuals @ residuals) / impressions**2 * users / (users - 1)
    return Rate(users, impressions, clicks, value, variance)


def compare(control: UserSample, treatment: UserSample) -> VariantComparison:
    """Treatment against control, adjusted by the covariates where the samples have them."""
    plain = VariantComparison(rate(control), rate(treatment))
    if control.covariates is None or treatment.covariates is None or not plain.standard_error > 0:
        return plain
    return _adjusted(plain, control, treatment)


def bootstrap(
    control: UserSample, treatment: UserSample, *, alpha: float = 0.05, rounds: int = 2000, seed: int = 1
) -> tuple[Interval, Interval | None]:
    """Percentile intervals of the difference and of the lift, users drawn with replacement. For one look.

    Users with the same clicks and impressions are alike, so that whole groups are drawn at once, by a multinomial.
    """
    random = np.random.default_rng(seed)
    before, after = _drawn_rates(control, rounds, random), _drawn_rates(treatment, rounds, random)
    difference = _middle(after - before, alpha)
    return difference, None if (before <= 0).any() else _middle(after / before - 1, alpha)


def _middle(values: np.ndarray, alpha: float) -> Interval:
    low, high = np.quantile(values, [alpha / 2, 1 - alpha / 2])
    return Interval(float(low), float(high))


def _drawn_rates(sample: UserSample, rounds: int, random: np.random.Generator) -> np.ndarray:
    kinds, counts = np.unique(np.stack([sample.clicks, sample.impressions], axis=1), axis=0, return_counts=True)
    rates = np.empty(rounds)
    step = max(1, 4_000_000 // len(kinds))
    for start in range(0, rounds, step):
        drawn = random.multinomial(len(sample), counts / len(sample), size=min(step, rounds - start))
        sums = drawn @ kinds
        rates[start : start + len(drawn)] = sums[:, 0] / sums[:, 1]
    return rates


def _adjusted(plain: VariantComparison, control: UserSample, treatment: UserSample) -> VariantComparison:
    """CUPED for a ratio: its linearisation is regressed on the covariates, with one slope for both variants.

    Unknown covariates become the mean of the known ones: they adjust nothing. The covariates' mean over all users is
    taken as given, as usual: its uncertainty is common to both variants.
    """
    rates, samples = (plain.control, plain.treatment), (control, treatment)
    known = _filled(np.concatenate([control.covariates, treatment.covariates]))
    parts = known[: len(control)], known[len(control) :]
    values = [
        (sample.clicks - one.value * sample.impressions) * one.users / one.impressions
        for sample, one in zip(samples, rates, strict=True)
    ]
    centred = [part - part.mean(axis=0) for part in parts]
    slopes, *_ = np.linalg.lstsq(np.concatenate(centred), np.concatenate(values), rcond=None)
    adjusted = [
        _adjusted_rate(one, value - part @ slopes, float(part.mean(axis=0) @ slopes))
        for one, value, part in zip(rates, values, parts, strict=True)
    ]
    first, second = adjusted
    made = VariantComparison(first, second)
    return VariantComparison(first, second, variance_reduction=1 - made.standard_error**2 / plain.standard_error**2)


def _adjusted_rate(one: Rate, adjusted_values: np.ndarray, shift: float) -> Rate:
    variance = float(adjusted_values.var(ddof=1)) / one.users
    return Rate(one.users, one.impressions, one.clicks, one.value - shift, variance)


def _filled(covariates: np.ndarray) -> np.ndarray:
    """Centred at the mean of the known values; unknown ones 0. A column that never varies stays all zeros."""
    covariates = np.asarray(covariates, float)
    known = np.isfinite(covariates)
    counts = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, covariates, 0.0).sum(axis=0) / counts
    return np.where(known, covariates - means, 0.0)
