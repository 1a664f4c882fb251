"""Constant predictions, miscalibration, one broken slice: refused by the default gates, and named first."""

from __future__ import annotations

import numpy as np
import pytest

from hivemill.components.evaluator.gates import SliceMetrics, findings, judge, refusals, slice_key
from hivemill.components.evaluator.metrics import bootstrap, comparison
from hivemill.components.evaluator.metrics import click_summary as cs
from hivemill.components.evaluator.options import GateOptions, SliceHealth

ROWS = 40_000
DEVICES = ("android", "ios", "web")


def world(seed: int = 1):
    """Clicks of 8 %, AUC about 0.72; a third of the rows of each device."""
    random = np.random.default_rng(seed)
    logits = random.normal(-2.8, 0.9, ROWS)
    truth = 1 / (1 + np.exp(-logits))
    labels = (random.random(ROWS) < truth).astype(float)
    users = random.integers(1, 4_000, ROWS).astype(np.uint64) << np.uint64(20)
    return labels, truth, users, np.arange(ROWS) % 3


def part(slice_, labels, predictions, users, stable=None) -> SliceMetrics:
    def judged(values):
        summary = cs.summarize(labels, values, users)
        metrics = {k: v if np.isfinite(v) else None for k, v in cs.metrics_of(summary).items()}
        return metrics, bootstrap.replicates(summary.groups)

    metrics, replicates = judged(predictions)
    baseline = judged(stable) if stable is not None else (None, None)
    return SliceMetrics(slice_, metrics, baseline[0], replicates, baseline[1])


def verdict(predictions, stable=None, gates=None, seed=1):
    labels, _, users, device = world(seed)
    slices = [part({}, labels, predictions, users, stable)]
    for number, name in enumerate(DEVICES):
        rows = device == number
        stable_rows = stable[rows] if stable is not None else None
        slices.append(part({"device": name}, labels[rows], predictions[rows], users[rows], stable_rows))
    bounds = judge(gates or GateOptions(slices=(("device",),)), slices)
    rows_of = {slice_key(one.slice): one.metrics["example_count"] for one in slices}
    found = findings(bounds, ROWS, rows_of)
    assert [one["rank"] for one in found] == list(range(1, len(found) + 1))
    return found


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_good_model_has_no_finding(seed):
    truth = world(seed)[1]
    assert verdict(truth, stable=np.clip(truth * 1.05, 0, 1), seed=seed) == []


def test_a_constant_prediction_is_named_first():
    labels = world()[0]
    first = verdict(np.full(ROWS, labels.mean()))[0]
    assert first["cause"] == "constant_prediction"
    assert first["message"] == "the predictions are all the same: the model ignores its features"


def test_predictions_that_hardly_differ_too():
    labels, truth, _, _ = world()
    first = verdict(labels.mean() * (1 + 0.1 * (truth - truth.mean())))[0]
    assert first["cause"] == "constant_prediction" and "hardly differ" in first["message"]


def test_nan_goes_before_everything():
    predictions = world()[1].copy()
    predictions[:100] = np.nan
    assert verdict(predictions)[0]["cause"] == "bad_predictions"


@pytest.mark.parametrize(
    "bend",
    [
        lambda p: np.clip(p * 1.6, 0, 1),
        lambda p: p * 0.55,
        lambda p: np.clip(p**1.8 * p.mean() / (p**1.8).mean(), 0, 0.99),
    ],
    ids=["too high", "too low", "too sure"],
)
def test_a_miscalibrated_model_is_named_so(bend):
    """The last one is right on average: only the deciles show it."""
    found = verdict(bend(world()[1]))
    assert found[0]["cause"] == "miscalibrated", [one["message"] for one in found]


def test_calibration_error_leaves_luck_alone():
    labels, truth, _, _ = world()
    whole = cs.metrics_of(cs.summarize(labels, truth))
    small = cs.metrics_of(cs.summarize(labels[:2_000], truth[:2_000]))
    assert whole["calibration_error"] < 0.02 and small["calibration_error"] < 0.05


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p, random: np.clip(p * 3, 0, 0.99), "times the clicks"),
        (lambda p, random: random.permutation(p), "worse than always saying the slice's own click rate"),
    ],
    ids=["miscalibrated", "shuffled"],
)
def test_one_broken_slice_is_named_with_the_slice(spoil, words):
    _, truth, _, device = world()
    predictions = truth.copy()
    ios = device == 1
    predictions[ios] = spoil(truth[ios], np.random.default_rng(5))
    found = verdict(predictions)
    first = found[0]
    assert (first["cause"], first["slice"]) == ("slice_broken", {"device": "ios"}), [one["message"] for one in found]
    assert first["message"].startswith("device=ios is broken") and words in first["message"]
    assert not any(one["slice"] not in ({}, {"device": "ios"}) for one in found)


def test_a_slice_that_fell_against_stable():
    _, truth, _, device = world()
    predictions = truth.copy()
    ios = device == 1
    predictions[ios] = truth[ios].mean()
    found = verdict(predictions, stable=truth)
    assert found[0]["cause"] == "slice_broken" and "device=ios is broken: AUC fell from 0.7" in found[0]["message"]
    assert "(stable) to 0.5 (" in found[0]["message"]


def test_where_every_slice_is_wrong_the_whole_is_named_first():
    found = verdict(np.clip(world()[1] * 3, 0, 0.99))
    assert found[0]["cause"] == "miscalibrated" and found[0]["slice"] == {}
    assert {one["cause"] for one in found} >= {"slice_broken"}


def test_slice_health_can_be_left_out_and_small_slices_are_spared():
    _, truth, _, device = world()
    predictions = truth.copy()
    predictions[device == 1] = np.clip(truth[device == 1] * 3, 0, 0.99)
    off = GateOptions(slices=(("device",),), slice_health=None, metrics={"clicks": {"min": 1}})
    large = GateOptions(
        slices=(("device",),), slice_health=SliceHealth(min_examples=ROWS), metrics={"clicks": {"min": 1}}
    )
    assert verdict(predictions, gates=off) == verdict(predictions, gates=large) == []


def test_refusals_are_the_findings_in_their_order():
    found = verdict(np.full(ROWS, 0.5))
    assert refusals({"findings": found, "bounds": []}) == [one["message"] for one in found]


def difference(mine, other):
    labels, _, users, _ = world()
    a, b = part({}, labels, mine, users), part({}, labels, other, users)
    return comparison.differences(a.metrics, a.replicates, b.metrics, b.replicates)


def test_noise_is_not_a_gain():
    _, truth, _, _ = world()
    random = np.random.default_rng(8)

    def shaken(width):
        return 1 / (1 + (1 - truth) / truth * np.exp(random.normal(0, width, ROWS)))

    same = difference(shaken(0.05), shaken(0.05))["auc"]
    assert same["meaning"] == "noise" and same["lower"] < 0 < same["upper"]
    worse = difference(shaken(0.8), truth)
    assert worse["auc"]["meaning"] == worse["logloss"]["meaning"] == "loss"
    assert worse["auc"]["upper"] < 0 < worse["logloss"]["lower"]
    assert difference(truth, shaken(0.8))["auc"]["meaning"] == "gain"


@pytest.mark.parametrize("seed", range(6))
def test_interval_and_meaning_agree(seed):
    """Average precision comes from coarse buckets in the bootstrap; what is said must fit what is shown."""
    _, truth, _, _ = world()
    shaken = 1 / (1 + (1 - truth) / truth * np.exp(np.random.default_rng(seed).normal(0, 0.15, ROWS)))
    for name, seen in difference(shaken, truth).items():
        if name != "calibration":  # which gains by nearness, not by size
            assert (seen["meaning"] == "noise") == (seen["lower"] <= 0 <= seen["upper"]), name


def test_calibration_gains_by_coming_nearer_to_one():
    _, truth, _, _ = world()
    assert difference(truth * 0.98, truth * 0.7)["calibration"]["meaning"] == "gain"
    assert difference(np.clip(truth * 1.4, 0, 1), truth)["calibration"]["meaning"] == "loss"


def test_two_models_with_nothing_to_compare():
    assert comparison.differences({"auc": 0.7}, None, {"auc": 0.7}, None) == {}
    assert comparison.intervals({"auc": None}, np.full((6, 201), 0.7)) == {}


def against_stable(width: float, rows: int):
    """Default gates on the first rows of the world: the candidate knows less than stable, which knows the truth."""
    labels, truth, users, _ = world()
    shaken = 1 / (1 + (1 - truth) / truth * np.exp(np.random.default_rng(8).normal(0, width, ROWS)))
    whole = part({}, labels[:rows], shaken[:rows], users[:rows], truth[:rows])
    bounds = [bound for bound in judge(GateOptions(), [whole]) if "stable" in bound["rule"]]
    return comparison.to_stable(whole, "auc"), bounds, findings(bounds, rows, {(): rows})


def test_a_drop_that_luck_explains_refuses_no_model():
    change, bounds, found = against_stable(width=0.35, rows=2_000)
    assert change["value"] < -0.01 < change["upper"] and change["meaning"] == "noise"
    assert next(bound["rule"] for bound in bounds) == "auc >= stable - 0.01, luck set aside"
    assert all(bound["passed"] for bound in bounds) and found == []


def test_a_drop_that_may_be_within_the_limit_is_a_doubt():
    change, bounds, found = against_stable(width=0.4, rows=3_000)
    assert change["value"] < -0.01 < change["upper"] < 0
    doubt = found[0]
    assert (doubt["severity"], doubt["cause"], doubt["kind"]) == ("amber", "worse_than_stable", "auc")
    assert bounds[0]["passed"] and "should be >= stable - 0.01 (stable" in doubt["message"]


def test_a_drop_beyond_luck_refuses_the_model_and_says_so():
    change, bounds, found = against_stable(width=0.9, rows=ROWS)
    assert change["upper"] < -0.01 and not bounds[0]["passed"] and bounds[0]["rule"] == "auc >= stable - 0.01"
    assert found[0]["severity"] == "red"
    assert f"; difference {change['value']:+.4f}, with luck {change['lower']:+.4f} to" in found[0]["message"]


@pytest.mark.parametrize(("apart", "first"), [(True, "slice_broken"), (None, "slice_broken"), (False, "miscalibrated")])
def test_a_slice_is_the_cause_where_it_is_worse_than_the_whole(apart, first):
    whole = {"metric": "calibration", "slice": {}, "cause": "miscalibrated", "apart": None}
    of_slice = {"metric": "normalized_entropy", "slice": {"device": "ios"}, "cause": "slice_broken", "apart": apart}
    shared = {"value": 1.5, "baseline": None, "rule": "calibration <= 1.25", "passed": False, "message": None}
    bounds = [bound | shared for bound in (whole, of_slice)]
    assert findings(bounds, 100, {(("device", "ios"),): 30})[0]["cause"] == first


def test_what_sets_a_slice_apart_is_its_distance_from_the_whole():
    """A model that is too sure everywhere, and one that is wrong on iOS alone."""
    labels, truth, users, device = world()
    sure = 1 / (1 + np.exp(-(2 * np.log(truth / (1 - truth)) + 2.8)))
    broken = np.where(device == 1, np.clip(3 * truth, 0, 0.99), truth)
    for predictions, expected in ((sure, {False}), (broken, {True})):
        ios = device == 1
        slices = [part({}, labels, predictions, users)]
        slices.append(part({"device": "ios"}, labels[ios], predictions[ios], users[ios]))
        assert {one["apart"] for one in judge(GateOptions(), slices) if one["slice"]} == expected
