"""The gates on hand-made metrics: no TensorFlow."""

import pytest

from hivemill.components.evaluator.gates import SliceMetrics, is_blessed, judge, refusals
from hivemill.components.evaluator.options import Bound, GateOptions, SliceBound

GOOD = {
    "auc": 0.72,
    "auc_lower_bound": 0.70,
    "normalized_entropy": 0.9,
    "calibration": 1.02,
    "calibration_error": 0.03,
    "clicks": 900.0,
    "example_count": 20_000.0,
}


def verdict(gates, *slices):
    bounds = judge(gates, slices)
    return is_blessed(bounds), refusals({"bounds": bounds}), bounds


def overall(**changes):
    return SliceMetrics({}, GOOD | changes)


def test_a_good_first_model_is_blessed_and_change_limits_are_not_judged():
    blessed, refused, bounds = verdict(GateOptions(), overall())
    assert blessed and refused == []
    unjudged = [bound["rule"] for bound in bounds if not bound["judged"]]
    assert unjudged == ["auc >= stable - 0.01", "normalized_entropy <= stable + 0.01"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clicks": 99.0}, "clicks is 99, must be >= 100"),
        ({"auc_lower_bound": 0.49}, "auc_lower_bound is 0.49, must be >= 0.5"),
        ({"normalized_entropy": 1.2}, "normalized_entropy is 1.2, must be <= 1"),
        ({"calibration": 0.5}, "calibration is 0.5, must be >= 0.8"),
        ({"calibration": None}, "calibration is undefined, must be >= 0.8"),
    ],
)
def test_default_bounds(changes, message):
    blessed, refused, _ = verdict(GateOptions(), overall(**changes))
    assert not blessed
    assert refused[0] == message


def test_a_limit_is_inclusive():
    assert verdict(GateOptions(), overall(clicks=100.0, auc_lower_bound=0.5, normalized_entropy=1.0))[0]


def test_change_limits_compare_with_stable():
    part = SliceMetrics({}, GOOD, GOOD | {"auc": 0.74, "normalized_entropy": 0.85})
    blessed, refused, bounds = verdict(GateOptions(), part)
    assert not blessed
    assert refused == [
        "auc is 0.72, must be >= stable - 0.01 (stable: 0.74)",
        "normalized_entropy is 0.9, must be <= stable + 0.01 (stable: 0.85)",
    ]
    assert next(bound for bound in bounds if bound["rule"] == "auc >= stable - 0.01")["baseline"] == 0.74


def test_a_baseline_without_a_value_is_no_bar():
    assert verdict(GateOptions(), SliceMetrics({}, GOOD, GOOD | {"auc": None}))[0]


def test_predictions_that_are_no_probabilities_refuse_the_model_whatever_the_bounds():
    gates = GateOptions(metrics={"clicks": Bound(min=1)})
    blessed, refused, _ = verdict(gates, overall(bad_predictions=12.0))
    assert not blessed
    assert refused == ["12 predictions are NaN or outside 0..1, must be none"]


def slice_gate(slice_, **options):
    return GateOptions(slice_bounds=(SliceBound(slice=slice_, metric="auc", bound=Bound(min=0.65), **options),))


IOS = SliceMetrics({"device": "ios"}, {"auc": 0.61, "clicks": 50.0, "example_count": 4_000.0})
WEB = SliceMetrics({"device": "web"}, {"auc": 0.55, "clicks": 5.0, "example_count": 999.0})
IOS_AT_7 = SliceMetrics({"device": "ios", "hour": 7}, {"auc": 0.60, "clicks": 50.0, "example_count": 2_000.0})


def test_one_slice():
    blessed, refused, _ = verdict(slice_gate({"device": "ios"}), overall(), IOS, WEB)
    assert not blessed
    assert refused == ["auc on device=ios is 0.61, must be >= 0.65"]


def test_every_slice_of_a_column_small_ones_reported_only():
    _, refused, bounds = verdict(slice_gate(("device",)), overall(), IOS, WEB, IOS_AT_7)
    assert refused == ["auc on device=ios is 0.61, must be >= 0.65"]
    web = next(bound for bound in bounds if bound["slice"] == {"device": "web"})
    assert (web["judged"], web["passed"], web["value"]) == (False, True, 0.55)


def test_two_columns_and_values_of_either_type():
    for hour in (7, "7"):
        _, refused, _ = verdict(slice_gate({"hour": hour, "device": "ios"}), overall(), IOS, IOS_AT_7)
        assert refused == ["auc on device=ios, hour=7 is 0.6, must be >= 0.65"]


def test_a_named_slice_without_rows_is_reported_and_fails_where_no_minimum_spares_it():
    _, refused, bounds = verdict(slice_gate({"device": "tv"}), overall())
    assert refused == [] and bounds[-1]["slice"] == {"device": "tv"} and not bounds[-1]["judged"]
    _, refused, _ = verdict(slice_gate({"device": "tv"}, min_examples=0), overall())
    assert refused == ["auc on device=tv is undefined, must be >= 0.65"]
