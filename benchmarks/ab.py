"""False alarms and power of the A/B report under daily peeking, simulated: make bench NAME=ab

Users differ in how much they click and how often they come, and come back for 14 days: their impressions are far from
independent. Every simulated test is looked at on every day, and stopped at the first look that is significant. Beside
the report's always-valid test stand two common mistakes: a test meant for one look used daily, and impressions taken
for independent.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import math
import sys
import time
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks._harness import print_result, print_table
from hivemill.serving.experiment.exposures.users import UserDays
from hivemill.serving.experiment.stats import power, ratio, sequential

DAYS = 14
ONE_LOOK = float(stats.norm.isf(0.025))


@dataclasses.dataclass(frozen=True)
class World:
    """Simulated traffic.

    Attributes:
        ctr: mean over users; each has a rate of their own from a Beta distribution.
        concentration: of that distribution: the smaller, the more users differ.
        visits: mean impressions of a user and day, from a Gamma distribution of shape 1/2 over users.
        arrivals: `first` all users are there on day 1; `daily` some arrive each day; `heavy` the later ones come ten
            times as often, so that each new day outweighs the ones before: the worst case for the method's theory.
    """

    name: str
    ctr: float = 0.05
    concentration: float = 20.0
    visits: float = 1.0
    arrivals: str = "daily"
    history: bool = False


WORLDS = (
    World("all users from day 1", arrivals="first"),
    World("users arrive daily"),
    World("users arrive daily, CUPED", history=True),
    World("CTR 0.5 %, many visits", ctr=0.005, visits=4.0),
    World("later users come 10x as often", arrivals="heavy"),
)
POWER_WORLD = WORLDS[1]


def simulate(
    world: World, num_users: int, random: np.random.Generator, lift: float = 0.0, days: int = DAYS
) -> UserDays:
    """One test: half of the users, by lot, have `lift` times more clicks."""
    rate = random.beta(world.ctr * world.concentration, (1 - world.ctr) * world.concentration, num_users)
    visits = random.gamma(0.5, 2 * world.visits, num_users)
    first = np.zeros(num_users, int) if world.arrivals == "first" else random.integers(0, days, num_users)
    if world.arrivals == "heavy":
        visits = visits * np.where(first > days // 2, 10.0, 1.0)
    treated = random.random(num_users) < 0.5
    there = np.arange(days)[:, None] >= first[None, :]
    impressions = random.poisson(visits[None, :] * there)
    day, user = np.nonzero(impressions)
    shown = impressions[day, user]
    clicks = random.binomial(shown, np.minimum(rate * np.where(treated, 1 + lift, 1.0), 1.0)[user])
    history = random.poisson(20 * world.visits * rate)[:, None].astype(float) if world.history else None
    start = datetime.date(2026, 11, 2)
    dates = tuple(start + datetime.timedelta(days=number) for number in range(days))
    return UserDays(user, day, shown.astype(float), clicks.astype(float), treated, dates, history)


@dataclasses.dataclass(frozen=True)
class Alarms:
    """Which tests called a difference: ours, stopped at any look; the last look alone; and the two mistakes."""

    always_valid: bool
    one_look: bool
    one_look_used_daily: bool
    impressions_used_daily: bool


def alarms_of(cells: UserDays, lift_of_interest: float = 0.1) -> Alarms:
    made = sequential.looks(cells, lift_of_interest=lift_of_interest)
    scores = [_score(look.comparison) for look in made if look.counts]
    naive = [_naive_score(look.comparison) for look in made if look.counts]
    return Alarms(
        always_valid=sequential.first_crossing(made) is not None,
        one_look=bool(scores) and scores[-1] > ONE_LOOK,
        one_look_used_daily=any(score > ONE_LOOK for score in scores),
        impressions_used_daily=any(score > ONE_LOOK for score in naive),
    )


def shares(alarms: list[Alarms]) -> dict[str, float]:
    return {
        field.name: float(np.mean([getattr(one, field.name) for one in alarms])) for field in dataclasses.fields(Alarms)
    }


def false_alarms(world: World, tests: int, num_users: int, seed: int = 1) -> dict[str, float]:
    """Share of A/A tests with an alarm."""
    random = np.random.default_rng(seed)
    return shares([alarms_of(simulate(world, num_users, random)) for _ in range(tests)])


def planned(world: World, lift: float, sequential_test: bool, seed: int = 2) -> tuple[int, power.ExpectedTraffic]:
    """What `ab power --log` says, from a log of a time like the test's."""
    control, treatment = simulate(world, 200_000, np.random.default_rng(seed)).samples()
    both = ratio.rate(
        type(control)(*(np.concatenate(pair) for pair in zip(_counts(control), _counts(treatment), strict=True)))
    )
    traffic = power.ExpectedTraffic(both.value, both.impressions / both.users, max(both.design_effect or 1.0, 1.0))
    return power.users_needed(traffic, lift, power.Test(sequential=sequential_test)), traffic


def reached_power(world: World, tests: int, lift: float, sequential_test: bool, seed: int = 3) -> tuple[int, float]:
    """Users planned, and the share of tests that found the lift: at any look, or in one look at the end."""
    users, _ = planned(world, lift, sequential_test)
    # `users` are those with an impression; some of the simulated ones never come.
    coming = (
        np.mean([len(a) + len(b) for a, b in [simulate(world, 20_000, np.random.default_rng(9)).samples()]]) / 20_000
    )
    random = np.random.default_rng(seed)
    alarms = [alarms_of(simulate(world, round(users / coming), random, lift), lift) for _ in range(tests)]
    found = shares(alarms)
    return users, found["always_valid" if sequential_test else "one_look"]


def _counts(sample) -> tuple[np.ndarray, np.ndarray]:
    return sample.clicks, sample.impressions


def _score(comparison: ratio.VariantComparison) -> float:
    return abs(comparison.difference) / comparison.standard_error


def _naive_score(comparison: ratio.VariantComparison) -> float:
    """As if impressions were independent."""
    parts = (comparison.control, comparison.treatment)
    plain = [one.clicks / one.impressions for one in parts]
    error = math.sqrt(sum(p * (1 - p) / one.impressions for p, one in zip(plain, parts, strict=True)))
    return abs(plain[1] - plain[0]) / error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=2000, help="A/A tests of each kind (default: 2000)")
    parser.add_argument("--power-tests", type=int, default=1000, help="tests with a lift (default: 1000)")
    parser.add_argument("--users", type=int, default=4000, help="users of an A/A test (default: 4000)")
    options = parser.parse_args()
    started = time.monotonic()
    found = {world.name: false_alarms(world, options.tests, options.users) for world in WORLDS}
    print(f"False alarms in {options.tests:,} A/A tests of {options.users:,} users, {DAYS} days, a look every day")
    header = ("traffic", "always valid", "one look, at the end", "one look, used daily", "impressions, daily")
    print_table(header, [(name, *(f"{value:.1%}" for value in row.values())) for name, row in found.items()])
    lift = 0.2
    rows = []
    for name, is_sequential in (("daily looks", True), ("one look", False)):
        users, reached = reached_power(POWER_WORLD, options.power_tests, lift, is_sequential)
        rows.append((name, f"{users:,}", "80.0%", f"{reached:.1%}"))
    print(f"\nPower: a lift of {lift:.0%} in {options.power_tests} tests of the size that `ab power` names")
    print_table(("test", "users", "promised", "reached"), rows)
    worst = max(row["always_valid"] for row in found.values())
    naive = max(row["one_look_used_daily"] for row in found.values())
    print_result(
        "ab",
        naive / max(worst, 1 / options.tests),
        "a test for one look, used daily",
        "false alarms, theirs over ours",
        worst_false_alarm_share=worst,
        tests=options.tests,
        seconds=round(time.monotonic() - started, 1),
    )


if __name__ == "__main__":
    main()
