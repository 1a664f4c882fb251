"""Metrics against numbers worked out by hand, and against brute force in NumPy."""

import math

import numpy as np
import pytest

from hivemill.components.evaluator.metrics import click_summary as cs


def brute_force_auc(labels, predictions):
    positive, negative = predictions[labels == 1], predictions[labels == 0]
    wins = (positive[:, None] > negative).sum() + 0.5 * (positive[:, None] == negative).sum()
    return wins / (len(positive) * len(negative))


def simulated(rows, seed, offset=-2.0):
    random = np.random.default_rng(seed)
    logits = random.normal(offset, 1.0, rows)
    predictions = 1 / (1 + np.exp(-logits))
    return (random.random(rows) < predictions).astype(float), predictions.astype(np.float32)


def test_hand_computed():
    # clicks at 0.9 and 0.4, others at 0.5 and 0.2: of 4 pairs only (0.4, 0.5) is in the wrong order.
    metrics = cs.metrics_of(cs.summarize(np.array([1.0, 1, 0, 0]), np.array([0.9, 0.4, 0.5, 0.2])))
    logloss = -(math.log(0.9) + math.log(0.4) + math.log(0.5) + math.log(0.8)) / 4
    assert metrics["auc"] == pytest.approx(0.75)
    assert metrics["auc_precision_recall"] == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert metrics["logloss"] == pytest.approx(logloss)
    assert metrics["normalized_entropy"] == pytest.approx(logloss / math.log(2))
    assert metrics["calibration"] == pytest.approx(2.0 / 2)
    assert (metrics["clicks"], metrics["example_count"]) == (2, 4)
    assert math.isnan(metrics["gauc"])


def test_hanley_mcneil_standard_error():
    # A = 0.8, 50 of each class: Q1 = 0.8/1.2, Q2 = 1.28/1.8;
    # variance = (0.16 + 49 (0.666667 - 0.64) + 49 (0.711111 - 0.64)) / 2500 = (0.16 + 1.306667 + 3.484444) / 2500
    assert cs.auc_standard_error(0.8, 50, 50) == pytest.approx(math.sqrt(4.951111 / 2500), rel=1e-6)


def test_hanley_mcneil_standard_error_is_the_spread_seen_in_simulation():
    aucs = [brute_force_auc(*simulated(400, seed)) for seed in range(200)]
    labels, _ = simulated(400, 0)
    expected = cs.auc_standard_error(float(np.mean(aucs)), int(labels.sum()), int(400 - labels.sum()))
    assert np.std(aucs) == pytest.approx(expected, rel=0.25)


def test_auc_lower_bound_is_three_standard_errors_below():
    labels, predictions = simulated(500, 1)
    metrics = cs.metrics_of(cs.summarize(labels, predictions))
    error = cs.auc_standard_error(metrics["auc"], int(labels.sum()), int(500 - labels.sum()))
    assert metrics["auc_lower_bound"] == pytest.approx(metrics["auc"] - 3 * error)


@pytest.mark.parametrize("offset", [-2.0, -7.0])
def test_bucketed_auc_is_the_exact_one_also_where_clicks_are_rare(offset):
    labels, predictions = simulated(20_000, 2, offset)
    metrics = cs.metrics_of(cs.summarize(labels, predictions))
    assert metrics["auc"] == pytest.approx(brute_force_auc(labels, predictions), abs=1e-4)


def test_average_precision_against_brute_force():
    labels, predictions = simulated(2_000, 3)
    order = np.argsort(-predictions, kind="stable")
    precision = np.cumsum(labels[order]) / np.arange(1, len(labels) + 1)
    expected = (precision * labels[order]).sum() / labels.sum()
    metrics = cs.metrics_of(cs.summarize(labels, predictions))
    assert metrics["auc_precision_recall"] == pytest.approx(expected, abs=1e-3)


def test_normalized_entropy_of_the_click_rate_itself_is_one():
    labels = np.array([1.0] * 3 + [0.0] * 97)
    metrics = cs.metrics_of(cs.summarize(labels, np.full(100, 0.03)))
    assert metrics["normalized_entropy"] == pytest.approx(1.0)
    assert metrics["calibration"] == pytest.approx(1.0)
    assert metrics["auc"] == pytest.approx(0.5)


def test_gauc_hand_computed():
    # user 1: 3 rows, AUC 1/2 (click 0.5 beats 0.1, loses to 0.9); user 2: 2 rows, AUC 1; user 3 has no click and is
    # skipped; user 0 is unknown and is skipped. (3 * 0.5 + 2 * 1) / 5 = 0.7
    users = np.array([1, 1, 1, 2, 2, 3, 3, 0, 0], np.uint64)
    labels = np.array([1, 0, 0, 1, 0, 0, 0, 1, 0], float)
    predictions = np.array([0.5, 0.1, 0.9, 0.7, 0.2, 0.3, 0.4, 0.1, 0.9])
    assert cs.metrics_of(cs.summarize(labels, predictions, users))["gauc"] == pytest.approx(0.7)


def test_gauc_against_brute_force_with_ties():
    labels, predictions = simulated(3_000, 4)
    predictions = np.round(predictions, 2)
    users = np.random.default_rng(5).integers(1, 80, 3_000).astype(np.uint64)
    parts = [(labels[users == user], predictions[users == user]) for user in np.unique(users)]
    parts = [(y, p) for y, p in parts if 0 < y.sum() < len(y)]
    expected = sum(len(y) * brute_force_auc(y, p) for y, p in parts) / sum(len(y) for y, _ in parts)
    assert cs.metrics_of(cs.summarize(labels, predictions, users))["gauc"] == pytest.approx(expected)


def test_merged_parts_are_the_whole():
    labels, predictions = simulated(3_000, 6)
    users = np.sort(np.random.default_rng(7).integers(1, 80, 3_000)).astype(np.uint64)
    cuts = np.searchsorted(users, [20, 50])
    parts = [
        cs.summarize(y, p, u)
        for y, p, u in zip(np.split(labels, cuts), np.split(predictions, cuts), np.split(users, cuts), strict=True)
    ]
    whole = cs.metrics_of(cs.summarize(labels, predictions, users))
    merged = cs.metrics_of(cs.merge([cs.merge([cs.empty_summary(), parts[2]]), cs.merge(parts[:2])]))
    assert merged == pytest.approx(whole)


def test_memory_is_bounded_by_the_buckets():
    random = np.random.default_rng(8)
    summary = cs.summarize(np.zeros(1_000_000), random.random(1_000_000))
    assert len(summary.bucket_ids) <= 2 * cs.MAX_LOGIT * cs.BUCKETS_PER_LOGIT + 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.5])
def test_one_prediction_that_is_no_probability_makes_every_metric_undefined(bad):
    metrics = cs.metrics_of(cs.summarize(np.array([1.0, 0, 1, 0]), np.array([0.9, 0.1, bad, 0.3])))
    assert all(math.isnan(metrics[name]) for name in cs.PREDICTION_METRICS)
    assert (metrics["bad_predictions"], metrics["clicks"], metrics["example_count"]) == (1, 2, 4)


def test_probabilities_of_exactly_0_and_1_are_clipped_as_keras_does():
    metrics = cs.metrics_of(cs.summarize(np.array([1.0, 0.0]), np.array([0.0, 1.0])))
    assert metrics["logloss"] == pytest.approx(-math.log(1e-7), rel=1e-3)
    assert metrics["auc"] == 0.0


def test_bad_labels_are_counted_by_kind():
    metrics = cs.metrics_of(cs.summarize(np.array([1.0, 0.0, math.nan, 5.0, 0.5]), np.full(5, 0.5)))
    assert (metrics["missing_labels"], metrics["bad_labels"], metrics["example_count"]) == (1, 2, 5)


def test_one_class_only_is_undefined_and_not_a_crash():
    metrics = cs.metrics_of(cs.summarize(np.zeros(4), np.array([0.1, 0.2, 0.3, 0.4]), np.ones(4, np.uint64)))
    assert all(math.isnan(metrics[name]) for name in ("auc", "auc_lower_bound", "normalized_entropy", "gauc"))
    assert metrics["logloss"] > 0


def test_calibration_bins_are_equally_filled_and_cover_everything():
    labels, predictions = simulated(10_000, 9, offset=-6.0)
    bins = cs.calibration_bins(cs.summarize(labels, predictions))
    assert len(bins) == 10
    assert sum(each.examples for each in bins) == 10_000
    assert sum(each.clicks for each in bins) == labels.sum()
    assert all(800 < each.examples < 1200 for each in bins)
    assert (bins[0].lower, bins[-1].upper) == (0.0, 1.0)
    for each in bins:
        assert each.lower <= each.prediction_sum / each.examples <= each.upper
