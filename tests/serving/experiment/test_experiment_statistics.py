"""CTR statistics against scipy and by hand; false alarms and power of the sequential test by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks import ab
from hivemill.common.errors import ConfigError
from hivemill.serving.experiment.analysis import holm
from hivemill.serving.experiment.exposures.users import UserSample, cells_of
from hivemill.serving.experiment.stats import power, ratio, sample_ratio, sequential

RANDOM = np.random.default_rng(1)


def sample(users, ctr, visits=3.0, concentration=30.0, seed=0, covariates=None):
    random = np.random.default_rng(seed)
    impressions = 1 + random.poisson(visits, users)
    rate = random.beta(ctr * concentration, (1 - ctr) * concentration, users)
    return UserSample(random.binomial(impressions, rate).astype(float), impressions.astype(float), covariates)


def test_one_impression_a_user_is_the_test_of_two_means():
    """Then the ratio is a mean over users, and the test is Welch's, but for normal instead of t quantiles."""
    one, other = (RANDOM.random(4000) < 0.1).astype(float), (RANDOM.random(5000) < 0.12).astype(float)
    made = ratio.compare(UserSample(one, np.ones(4000)), UserSample(other, np.ones(5000)))
    welch = stats.ttest_ind(other, one, equal_var=False)
    assert made.p_value == pytest.approx(welch.pvalue, rel=1e-3)
    assert made.interval(stats.norm.isf(0.025)) == pytest.approx(tuple(welch.confidence_interval()), abs=1e-5)


def test_delta_method_by_hand():
    """Users (clicks, impressions): (1, 2), (0, 3), (2, 5). R = 0.3; residuals 0.4, -0.9, 0.5."""
    made = ratio.rate(UserSample(np.array([1.0, 0, 2]), np.array([2.0, 3, 5])))
    assert made.value == pytest.approx(0.3)
    assert made.variance == pytest.approx((0.16 + 0.81 + 0.25) / 100 * 3 / 2)
    assert made.design_effect == pytest.approx(made.variance / (0.3 * 0.7 / 10))


def test_delta_method_agrees_with_scipys_bootstrap():
    one = sample(1500, 0.05)
    found = stats.bootstrap(
        (one.clicks, one.impressions),
        lambda clicks, impressions, axis: clicks.sum(axis=axis) / impressions.sum(axis=axis),
        paired=True, n_resamples=1500, method="percentile", rng=np.random.default_rng(1),
    )  # fmt: skip
    assert ratio.rate(one).standard_error == pytest.approx(found.standard_error, rel=0.08)


def test_own_bootstrap_agrees_with_the_delta_method():
    control, treatment = sample(3000, 0.05, seed=1), sample(3000, 0.06, seed=2)
    reach = stats.norm.isf(0.025)
    made = ratio.compare(control, treatment)
    difference, lift = ratio.bootstrap(control, treatment)
    assert difference == pytest.approx(made.interval(reach), rel=0.1, abs=2e-4)
    assert lift == pytest.approx(made.lift_interval(reach), rel=0.1, abs=0.02)
    assert ratio.bootstrap(control, treatment) == (difference, lift), "the same seed, the same interval"


def test_clustered_users_are_wider_than_impressions():
    """All impressions of a user alike: the design effect is the mean of squares over the mean of impressions."""
    impressions = RANDOM.integers(1, 20, 5000).astype(float)
    clicks = impressions * (RANDOM.random(5000) < 0.3)
    made = ratio.rate(UserSample(clicks, impressions))
    assert made.design_effect == pytest.approx((impressions**2).mean() / impressions.mean(), rel=0.05)


@given(
    st.floats(0.01, 0.5), st.floats(0.01, 0.5), st.floats(1e-5, 0.1), st.floats(1e-5, 0.1), st.floats(0.5, 5)
)  # fmt: skip
def test_fieller_leaves_out_zero_exactly_where_the_difference_does(control, treatment, error, other, reach):
    made = ratio.VariantComparison(
        ratio.Rate(100, 1000, 10, control, error**2), ratio.Rate(100, 1000, 10, treatment, other**2)
    )
    lift, (low, high) = made.lift_interval(reach), made.interval(reach)
    if lift is None:
        assert control <= reach * error * (1 + 1e-9)
    elif min(abs(low), abs(high)) > 1e-12:
        assert (lift[0] > 0) == (low > 0) and (lift[1] < 0) == (high < 0)
        assert lift[0] <= made.lift <= lift[1]


def test_fieller_covers_the_true_lift():
    """1,000 tests with a true lift of 20 %: 95 % of the intervals hold it."""
    random = np.random.default_rng(5)
    reach = stats.norm.isf(0.025)
    held = 0
    for _ in range(1000):
        control, treatment = (
            UserSample(random.binomial(5, random.beta(2, 38, 800) * factor).astype(float), np.full(800, 5.0))
            for factor in (1.0, 1.2)
        )
        low, high = ratio.compare(control, treatment).lift_interval(reach)
        held += low <= 0.2 <= high
    assert 0.93 <= held / 1000 <= 0.97


def test_no_lift_where_control_has_hardly_a_click():
    control = UserSample(np.r_[1.0, np.zeros(999)], np.ones(1000))
    made = ratio.compare(control, sample(1000, 0.05))
    assert made.lift_interval(1.96) is None
    nothing = ratio.compare(UserSample(np.zeros(1000), np.ones(1000)), UserSample(np.zeros(1000), np.ones(1000)))
    assert (nothing.lift, nothing.p_value) == (None, None)
    nobody = ratio.compare(control, UserSample(np.zeros(0), np.zeros(0)))
    assert (nobody.lift, nobody.p_value) == (None, None)


def test_cuped_takes_away_what_was_known_before_and_moves_no_mean():
    """Clicks now and before share each user's rate, of variance v: the squared correlation is v^2 / (var var')."""
    random = np.random.default_rng(3)
    reductions, differences = [], []
    for _ in range(200):
        pair = []
        for _ in range(2):
            rate = random.beta(1, 9, 2000)
            covariates = random.binomial(50, rate).astype(float)[:, None]
            covariates[:100] = np.nan
            pair.append(UserSample(random.binomial(20, rate).astype(float), np.full(2000, 20.0), covariates))
        made = ratio.compare(*pair)
        reductions.append(made.variance_reduction)
        differences.append(made.difference / made.standard_error)
    v, within = 0.09 / 11, 0.1 - 0.01 - 0.09 / 11
    squared_correlation = v**2 / ((v + within / 20) * (v + within / 50))
    assert np.mean(reductions) == pytest.approx(0.95 * squared_correlation, abs=0.01), "5 % of the users are unknown"
    assert abs(np.mean(differences)) < 0.25 and 0.85 < np.std(differences) < 1.15


def test_a_covariate_that_says_nothing_changes_nothing():
    plain = sample(500, 0.1, seed=1), sample(500, 0.1, seed=2)
    constant = [UserSample(one.clicks, one.impressions, np.full((500, 1), 3.0)) for one in plain]
    made = ratio.compare(*constant)
    assert made.difference == pytest.approx(ratio.compare(*plain).difference)
    assert made.variance_reduction == pytest.approx(0, abs=1e-9)


def test_the_boundary_is_nowhere_below_3_03_standard_errors():
    """So that 20 looks are safe under any dependence: 20 * P(|Z| > 3.03) < 5 %."""
    smallest = sequential.smallest_multiplier(0.05)
    assert smallest == pytest.approx(min(sequential.multiplier(s, 1.0) for s in np.geomspace(1e-3, 10, 2000)), abs=1e-4)
    assert smallest > 3.03
    assert 20 * 2 * stats.norm.sf(smallest) < 0.05


@given(st.floats(-6, 6), st.floats(0.01, 3), st.floats(0.01, 0.2))
def test_p_value_and_interval_agree(score, error, alpha):
    made = sequential.p_value(score * error, error, 1.0)
    reach = sequential.multiplier(error, 1.0, alpha)
    if abs(abs(score) - reach) > 1e-9:
        assert (made <= alpha) == (abs(score) > reach)


def test_brownian_motion_crosses_as_seldom_as_promised():
    """The boundary on what it is made for, looked at 200 times: at most alpha, and not far below over a long time."""
    random = np.random.default_rng(1)
    information = np.geomspace(1, 1e4, 200)
    steps = np.sqrt(np.diff(information, prepend=0.0))
    paths = np.cumsum(random.normal(size=(20_000, 200)) * steps, axis=1) / information
    reach = np.array([sequential.multiplier(1 / math.sqrt(i), 0.3, 0.05) / math.sqrt(i) for i in information])
    crossed = (np.abs(paths) > reach).any(axis=1).mean()
    assert 0.02 < crossed <= 0.05


def test_looks_know_nothing_of_the_future():
    cells = ab.simulate(ab.WORLDS[1], 3000, np.random.default_rng(4))
    early = cells.days < 7
    cut = type(cells)(
        cells.users[early], cells.days[early], cells.impressions[early], cells.clicks[early],
        cells.is_treatment, cells.dates[:7],
    )  # fmt: skip
    assert sequential.looks(cut) == sequential.looks(cells)[:7]


def test_looks_are_running_sums_and_p_values_never_rise():
    cells = ab.simulate(ab.WORLDS[1], 3000, np.random.default_rng(4), lift=0.3)
    made = sequential.looks(cells)
    shown = np.array([look.comparison.control.impressions + look.comparison.treatment.impressions for look in made])
    assert shown[-1] == cells.impressions.sum() and (np.diff(shown) > 0).all()
    assert (np.diff([look.p_value for look in made]) <= 0).all()
    crossed = sequential.first_crossing(made)
    assert crossed is not None and crossed.interval[0] > 0


def test_cells_are_sums_of_rows():
    days = np.array(["2026-11-02T23:59", "2026-11-01", "2026-11-02"], "datetime64[us]")
    made = cells_of(np.array([1, 0, 1]), days, np.ones(3), np.array([1.0, 0, 1]), np.array([False, True]))
    assert [date.day for date in made.dates] == [1, 2]
    assert (made.users.tolist(), made.days.tolist()) == ([0, 1], [0, 1])
    assert (made.impressions.tolist(), made.clicks.tolist()) == ([1, 2], [0, 2])


def test_too_few_clicks_are_no_look():
    days = np.full(1000, np.datetime64("2026-11-01"))
    clicks = np.zeros(1000)
    clicks[:19] = 1
    cells = cells_of(np.arange(1000), days, np.ones(1000), clicks, np.arange(1000) % 2 == 0)
    (look,) = sequential.looks(cells)
    assert (look.counts, look.interval, look.p_value) == (False, None, 1.0)


@pytest.mark.parametrize("world", [ab.WORLDS[0], ab.WORLDS[4]], ids=lambda world: world.name)
def test_peeking_daily_gives_few_false_alarms(world):
    """A small version of benchmarks/ab.py."""
    found = ab.false_alarms(world, tests=120, num_users=2000)
    assert found["always_valid"] <= 0.05
    assert found["one_look_used_daily"] > 0.08, "else the simulation would not notice a bad test"


@pytest.mark.slow
@pytest.mark.parametrize("world", ab.WORLDS, ids=lambda world: world.name)
def test_2000_tests_with_daily_peeking(world):
    found = ab.false_alarms(world, tests=2000, num_users=4000)
    assert found["always_valid"] <= 0.05
    assert 0.035 <= found["one_look"] <= 0.065


@pytest.mark.slow
@pytest.mark.parametrize("is_sequential", [True, False])
def test_power_is_as_promised(is_sequential):
    """80 % of 500 tests: a standard error of 1.8 %. Looks before the last can only find more."""
    _, reached = ab.reached_power(ab.POWER_WORLD, 500, 0.2, is_sequential)
    assert 0.76 <= reached <= (0.9 if is_sequential else 0.87)


def test_users_needed_by_hand():
    """Two proportions of 5 % and 6 %, one look: n = (1.96 + 0.8416)^2 (p q + p q) / d^2 in each variant."""
    users = power.users_needed(power.ExpectedTraffic(0.05), 0.2, power.Test(sequential=False))
    by_hand = 2 * (1.95996 + 0.84162) ** 2 * (0.05 * 0.95 + 0.06 * 0.94) / 0.01**2
    assert users == pytest.approx(by_hand, rel=1e-4)


def test_detectable_lift_is_the_inverse():
    traffic = power.ExpectedTraffic(0.03, 6.0, 2.2)
    for test in (power.Test(share=0.2), power.Test(sequential=False, power=0.9)):
        users = power.users_needed(traffic, 0.07, test)
        assert power.detectable_lift(traffic, users, test) == pytest.approx(0.07, rel=1e-3)
    assert power.detectable_lift(power.ExpectedTraffic(0.5), 20, power.Test()) is None


def test_uneven_shares_small_lifts_and_daily_looks_cost():
    traffic = power.ExpectedTraffic(0.05, 4.0, 1.5)
    base = power.users_needed(traffic, 0.1, power.Test())
    assert power.users_needed(traffic, 0.1, power.Test(share=0.01)) > 10 * base
    assert power.users_needed(traffic, 0.05, power.Test()) == pytest.approx(4 * base, rel=0.1)
    assert 1.5 < base / power.users_needed(traffic, 0.1, power.Test(sequential=False)) < 2.2


@pytest.mark.parametrize(
    "make",
    [
        lambda: power.ExpectedTraffic(0.0),
        lambda: power.ExpectedTraffic(1.0),
        lambda: power.ExpectedTraffic(0.05, 0.5),
        lambda: power.ExpectedTraffic(0.05, 2, -1),
        lambda: power.ExpectedTraffic(float("nan")),
        lambda: power.Test(alpha=0),
        lambda: power.Test(power=1.0),
        lambda: power.Test(share=1.2),
        lambda: power.users_needed(power.ExpectedTraffic(0.05), 0.0, power.Test()),
        lambda: power.users_needed(power.ExpectedTraffic(0.5), 1.0, power.Test()),
        lambda: power.users_needed(power.ExpectedTraffic(0.05), 1e-9, power.Test()),
        lambda: power.detectable_lift(power.ExpectedTraffic(0.05), 1, power.Test()),
    ],
)
def test_impossible_plans_are_refused(make):
    with pytest.raises(ConfigError, match=r"received|more than|makes a CTR"):
        make()


def test_ratio_check_agrees_with_scipy():
    found = sample_ratio.chi_square([sample_ratio.Stage(0.5, 5050, 4950)])
    assert found.p_value == pytest.approx(stats.chisquare([5050, 4950]).pvalue)
    uneven = sample_ratio.chi_square([sample_ratio.Stage(0.05, 9400, 600)])
    assert uneven.p_value == pytest.approx(stats.chisquare([9400, 600], [9500, 500]).pvalue)
    assert uneven.is_red and not found.is_red


def test_ratio_check_over_stages_and_edges():
    two = sample_ratio.chi_square([sample_ratio.Stage(0.01, 990, 10), sample_ratio.Stage(0.05, 9300, 700)])
    expected = (10 - 10) ** 2 / (1000 * 0.01 * 0.99) + (700 - 500) ** 2 / (10_000 * 0.05 * 0.95)
    assert two.p_value == pytest.approx(stats.chi2.sf(expected, 2))
    assert sample_ratio.chi_square([sample_ratio.Stage(0.0, 1000, 1)]).p_value == 0.0
    assert sample_ratio.chi_square([sample_ratio.Stage(1.0, 0, 50)]).p_value == 1.0
    assert sample_ratio.chi_square([]) is None and sample_ratio.chi_square([sample_ratio.Stage(0.01, 50, 1)]) is None


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []
