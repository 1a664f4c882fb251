"""How many users a test needs, and the smallest lift that it can find with those it has.

The power is that of the last look alone: a test that may stop at every look finds the lift at least as often.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy import optimize, stats

from hivemill.common.errors import ConfigError
from hivemill.serving.experiment.exposures.log import ExposureLog
from hivemill.serving.experiment.exposures.users import UserSample
from hivemill.serving.experiment.stats import sequential
from hivemill.serving.experiment.stats.ratio import rate

_MOST_USERS = 1e13
MIN_LOG_USERS = 100


@dataclasses.dataclass(frozen=True)
class ExpectedTraffic:
    """What is known before the test.

    Attributes:
        ctr: of control.
        impressions_per_user: over the test's whole time.
        design_effect: how many times the variance of independent impressions; 1 where each user has one.
    """

    ctr: float
    impressions_per_user: float = 1.0
    design_effect: float = 1.0

    def __post_init__(self) -> None:
        _require(0 < self.ctr < 1, f"the CTR must be above 0 and below 1; received {self.ctr:g}")
        at_least_one = math.isfinite(self.impressions_per_user) and self.impressions_per_user >= 1
        _require(at_least_one, f"impressions per user must be 1 or more; received {self.impressions_per_user:g}")
        effect = self.design_effect
        _require(math.isfinite(effect) and effect >= 1, f"the design effect must be 1 or more; received {effect:g}")


@dataclasses.dataclass(frozen=True)
class Test:
    """How the test is run. `sequential`: looked at every day, else once at its end; `share` is treatment's."""

    __test__ = False  # pytest: no test case

    alpha: float = 0.05
    power: float = 0.8
    share: float = 0.5
    sequential: bool = True

    def __post_init__(self) -> None:
        for name in ("alpha", "power", "share"):
            value = getattr(self, name)
            _require(0 < value < 1, f"{name} must be above 0 and below 1; received {value:g}")
        _require(self.power > self.alpha, f"power must be above alpha; received {self.power:g} and {self.alpha:g}")


def users_needed(traffic: ExpectedTraffic, lift: float, test: Test) -> int:
    """Users in both variants together that find the relative `lift` with the test's power. Raises ConfigError."""
    _check_lift(traffic, lift)
    if _excess(_MOST_USERS, traffic, lift, test) < 0:
        raise ConfigError(f"a lift of {lift:g} needs more than {_MOST_USERS:.0e} users", hint="Ask for a larger lift.")
    found = optimize.brentq(lambda log: _excess(math.exp(log), traffic, lift, test), 0.0, math.log(_MOST_USERS))
    return math.ceil(math.exp(found))


def detectable_lift(traffic: ExpectedTraffic, users: int, test: Test) -> float | None:
    """The smallest relative lift upwards that `users` find; None where not even a CTR of 1 would be found."""
    _require(users >= 2, f"a test needs 2 users or more; received {users}")
    largest = (1 - traffic.ctr) / traffic.ctr * (1 - 1e-9)
    if _excess(users, traffic, largest, test) < 0:
        return None
    return float(optimize.brentq(lambda lift: _excess(users, traffic, lift, test), largest * 1e-9, largest))


def traffic_of(log: ExposureLog) -> tuple[ExpectedTraffic, float, float]:
    """The traffic as a log shows it, with its impressions and users per day. Raises ConfigError for too small a log.

    The design effect grows with the impressions per user: take a log about as long as the test will be.
    """
    frame = log.frame[log.frame["click"].notna().to_numpy()]
    codes = np.unique(frame["user_id"].cat.codes.to_numpy(), return_inverse=True)[1]
    impressions = np.bincount(codes) if len(codes) else np.zeros(0)
    clicks = np.bincount(codes, frame["click"].to_numpy()) if len(codes) else np.zeros(0)
    found = rate(UserSample(clicks, impressions))
    effect = found.design_effect
    if found.users < MIN_LOG_USERS or effect is None:
        raise ConfigError(
            f"the log has {found.users:,} users with {found.clicks:,.0f} clicks: too few to plan with",
            hint=f"Give a log of at least {MIN_LOG_USERS} users, with clicks, or --ctr and --design-effect.",
        )
    days = len(np.unique(frame["request_time"].to_numpy().astype("datetime64[D]")))
    traffic = ExpectedTraffic(found.value, found.impressions / found.users, max(effect, 1.0))
    return traffic, found.impressions / days, found.users / days


def _excess(users: float, traffic: ExpectedTraffic, lift: float, test: Test) -> float:
    """Above 0 where `users` are enough: the lift in standard errors, less those that the test asks for."""
    error = _standard_error(users, traffic, lift, test)
    needed = stats.norm.isf(test.alpha / 2)
    if test.sequential:
        scale = sequential.mixture_scale(abs(lift), traffic.ctr, test.alpha, test.power)
        needed = sequential.multiplier(error, scale, test.alpha)
    return abs(lift) * traffic.ctr / error - needed - stats.norm.ppf(test.power)


def _standard_error(users: float, traffic: ExpectedTraffic, lift: float, test: Test) -> float:
    """Of the difference of the CTRs. What users differ by grows with the lift: each rate is times 1 + lift."""
    ctr, treated = traffic.ctr, traffic.ctr * (1 + lift)
    control = ctr * (1 - ctr)
    between_users = (traffic.design_effect - 1) * control
    per_impression = (control + between_users) / (1 - test.share)
    per_impression += (treated * (1 - treated) + between_users * (1 + lift) ** 2) / test.share
    return math.sqrt(per_impression / (users * traffic.impressions_per_user))


def _check_lift(traffic: ExpectedTraffic, lift: float) -> None:
    _require(math.isfinite(lift) and lift != 0, f"the lift must be a number other than 0; received {lift:g}")
    reached = traffic.ctr * (1 + lift)
    _require(0 < reached < 1, f"a lift of {lift:g} makes a CTR of {reached:g}, which is no share of impressions")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)
