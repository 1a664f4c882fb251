"""Profiles and distances: hand-computed numbers, what is added up, what survives JSON. No TensorFlow."""

import datetime
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemill.common.errors import InfrastructureError
from hivemill.components.data_verdict.checks.dependence import dependence_by_day
from hivemill.components.data_verdict.comparison import distances
from hivemill.components.data_verdict.comparison.columns import compare
from hivemill.components.data_verdict.profile.builder import WindowFacts, profile_of
from hivemill.components.data_verdict.profile.column_roles import ColumnRoles, guessed_kind, kinds_of
from hivemill.components.data_verdict.profile.window_profile import (
    Distribution,
    buckets_of,
    from_json,
    shifted,
    total,
    upper_bound,
)
from hivemill.components.features import FeatureSet
from tests.components.data_verdict.verdict_log import MONDAY, ROLES, profiled, window


def counts(*values):
    return np.array(values, np.float64)


def test_jensen_shannon_by_hand():
    assert distances.jensen_shannon(counts(1, 1), counts(5, 5)) == 0
    assert distances.jensen_shannon(counts(3, 0), counts(0, 9)) == pytest.approx(1)  # nothing in common: one bit
    half = distances.jensen_shannon(counts(1, 0), counts(1, 1))
    # M = (3/4, 1/4): (1 log2(4/3) + 1/2 log2(2/3) + 1/2 log2(2)) / 2
    assert half == pytest.approx((math.log2(4 / 3) + 0.5 * math.log2(2 / 3) + 0.5) / 2)


def test_psi_and_l_infinity_by_hand():
    before, after = counts(50, 50), counts(75, 25)
    assert distances.psi(before, after) == pytest.approx(0.25 * math.log(1.5) - 0.25 * math.log(0.5))
    assert distances.l_infinity(before, after) == 0.25


@pytest.mark.parametrize("rows", [300, 3_000, 30_000])
@pytest.mark.parametrize("bins", [2, 10, 60])
def test_two_samples_of_one_distribution_are_hardly_ever_drift(rows, bins):
    random = np.random.default_rng(rows + bins)
    judged = []
    for _ in range(500):
        shares = random.dirichlet(np.ones(bins))
        before, after = (random.multinomial(size, shares).astype(float) for size in (rows * 8, rows))
        judged.append(distances.corrected_jensen_shannon(before, after))
    assert np.mean([is_real for _, is_real in judged]) <= 0.02  # with two bins chi-square's tail is the longest
    assert max(value for value, _ in judged) < 10 / rows


@given(st.floats(-1e30, 1e30).filter(lambda value: value == 0 or abs(value) > 1e-12))
def test_a_bucket_is_two_and_a_half_percent_wide_each_way(value):
    (bucket,) = buckets_of(np.array([value]))
    bound = upper_bound(int(bucket))
    assert bound == pytest.approx(value, rel=0.0501) and (value == 0) == (bucket == 0)


def test_buckets_are_in_the_order_of_numbers_and_moves_multiply():
    numbers = np.array([-1e6, -3.0, -1e-3, 0.0, 1e-3, 1.0, 1.1, 50.0, 1e6])
    buckets = buckets_of(numbers)
    assert (np.diff(buckets) > 0).all()
    moved = shifted(Distribution(1, 0, {int(buckets_of(np.array([10.0]))[0]): 1}), 10)
    assert upper_bound(next(iter(moved.counts))) == pytest.approx(10 * 1.05**10, rel=0.05)


def test_numbers_are_compared_in_bins_of_equal_mass_with_one_beyond_each_end():
    numbers = np.arange(1.0, 1001.0)
    before = Distribution(
        1000, 0, dict(zip(*[a.tolist() for a in np.unique(buckets_of(numbers), return_counts=True)], strict=True))
    )
    after = Distribution(1, 0, {int(buckets_of(np.array([1e6]))[0]): 10})
    comparison = compare("number", before, after)
    assert comparison.labels[0].startswith("up to") and comparison.labels[-1].startswith("above 1,0")
    assert comparison.before[0] == comparison.before[-1] == 0 and comparison.before[1:-1].max() < 100
    assert comparison.after.tolist()[-1] == 10


def test_values_beyond_the_report_are_folded():
    before = Distribution(3000, 0, {f"v{number:03}": 100 - number % 90 for number in range(60)})
    shown = compare("value", before, before).histograms()
    assert len(shown["before"]["bins"]) == 22 and shown["before"]["bins"][-1] == "(other values)"
    assert sum(shown["before"]["shares"]) == pytest.approx(1, abs=1e-3)


def test_a_profile_survives_json_and_says_what_is_wrong_with_another_file():
    profile = profiled(window(MONDAY, num_days=2))
    assert from_json(profile.to_json(), "here") == profile
    for text in ('{"version": 9}', "[]", '{"version": 1}', "no json"):
        with pytest.raises(InfrastructureError, match="here: not a data profile of version 1"):
            from_json(text, "here")


def test_days_add_up():
    profile = profiled(window(MONDAY, num_days=3))
    whole = profile.distribution("plan", profile.days)
    assert whole.rows == sum(profile.day_rows(day) for day in profile.days) == whole.present
    assert total([Distribution(2, 1, {"a": 1}), Distribution(3, 0, {"a": 1, "b": 2})]) == Distribution(
        5, 1, {"a": 2, "b": 2}
    )


def test_what_a_profile_counts():
    """Four rows by hand: hours, clicks, missing values, lists, times, a label that is none."""
    day = datetime.date(2026, 6, 1)
    start = (day.toordinal() - datetime.date(1970, 1, 1).toordinal()) * 86_400_000_000
    rows = pa.table(
        {
            "day": pa.array([[b"20260601"]] * 4),
            "hour": pa.array([[b"07"], [b"07"], [b"08"], [b"x"]]),
            "bought": pa.array([[1], [0], [7], None]),
            "amount": pa.array([[2.0], [float("nan")], None, [0.0]]),
            "tags": pa.array([[b"a", b"b"], [], None, [b"a"]]),
            "time": pa.array([[start + 7 * 3_600_000_000], [start + 9 * 3_600_000_000], None, None]),
        }
    )
    roles = ROLES.model_copy(update={"date_format": "%Y%m%d"})
    profile = profile_of(rows, roles, row_hashes=np.array([1, 1, 2, 3]))
    assert profile.sampled == {"2026-06-01": {-1: 1, 7: 2, 8: 1}} and profile.clicks["2026-06-01"][7] == 1
    amount, tags, time = (profile.columns[name].days["2026-06-01"] for name in ("amount", "tags", "time"))
    assert (amount.rows, amount.missing, amount.present) == (4, 1, 2)  # NaN is no number and not missing
    assert (tags.missing, tags.counts) == (1, {"a": 2, "b": 1})
    assert profile.columns["time"].kind == "time" and time.counts == {0: 1, 2: 1}
    assert profile.repeated == {"2026-06-01": 0.25}


def test_eval_values_that_training_lacks_are_counted_by_value():
    rows = pa.table(
        {
            "day": pa.array([[b"2026-06-01"]] * 2 + [[b"2026-06-02"]] * 4),
            "bought": pa.array([[0], [1]] * 3),
            "shop": pa.array([[b"a"], [b"b"], [b"a"], [b"c"], [b"c"], [b"d"]]),
        }
    )
    facts = WindowFacts(
        {"2026-06-01": {-1: 2}, "2026-06-02": {-1: 4}}, {"train": ["2026-06-01"], "eval": ["2026-06-02"]}
    )
    assert profile_of(rows, ROLES, facts).columns["shop"].unseen == 0.75


def test_an_unrelated_column_tells_nothing_and_a_copy_of_the_label_all():
    days = window(MONDAY, num_days=1)
    (columns,) = days.values()
    columns["note"] = np.where(columns["bought"] == 1, "x", "y")
    profile = profiled(days)
    by_name = {name: column.days[MONDAY.isoformat()].label_auc for name, column in profile.columns.items()}
    assert by_name["note"] == pytest.approx(1) and 0.45 < by_name["amount"] < 0.55 and by_name["visitor"] < 0.6


def test_dependence_is_one_where_one_column_determines_the_other():
    first = np.arange(1_000) % 4
    codes = {"a": first, "b": first // 2, "c": np.random.default_rng(1).integers(0, 4, 1_000)}
    found = dependence_by_day(codes, np.zeros(1_000, np.int64), 1)
    assert list(found) == [("a", "b")] and found["a", "b"] == [pytest.approx(1)]


@pytest.mark.parametrize(
    ("is_list", "values", "num_distinct", "kind"),
    [
        (True, None, 3, "list"),
        (False, None, 3, "value"),
        (False, np.array([1.5, 2.5]), 2, "number"),
        (False, np.full(100, 1_780_000_000_000_000), 90, "time"),
        (False, np.arange(100) % 7, 7, "value"),
        (False, np.arange(5_000), 5_000, "value"),
        (False, np.arange(5_000) % 300, 300, "number"),
    ],
)
def test_the_kind_of_a_column_that_no_feature_reads(is_list, values, num_distinct, kind):
    assert guessed_kind(is_list, values, num_distinct) == kind


def test_kinds_come_from_the_features():
    features = {
        "price": {"type": "numeric"},
        "price_band": {"type": "numeric", "column": "price", "transform": "quantile_buckets"},
        "context": {"type": "multivalent", "of": "items"},
        "pair": {"type": "cross", "columns": ["city", "device"], "hash_buckets": 10},
    }
    kinds = kinds_of(FeatureSet(features=features, label="click"))
    assert kinds == {
        "price": "number",
        "context": "list",
        "context_keys": "list",
        "context_values": "list",
        "city": "value",
        "device": "value",
    }
    assert ColumnRoles(label="click", kinds=kinds).is_used("context_keys")
