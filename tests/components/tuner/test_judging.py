"""Comparison and pruning against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hivemill.components.tuner.judging import Predictions, comparison, mean_of
from hivemill.components.tuner.pruning import is_hopeless


def predictions(probabilities, labels, weights=None):
    labels = np.array(labels, float)
    return Predictions(np.array(probabilities, float), labels, np.ones_like(labels) if weights is None else weights)


def test_logloss_and_auc_by_hand():
    one = predictions([0.5, 0.25, 0.75, 0.75], [0, 0, 1, 0])
    assert one.logloss() == pytest.approx(-(math.log(0.5) + 2 * math.log(0.75) + math.log(0.25)) / 4)
    assert one.auc() == pytest.approx((1 + 1 + 0.5) / 3)
    assert predictions([0.5, 0.5], [0, 0]).auc() is None


def test_a_weight_counts_a_row_so_often():
    weighted = predictions([0.2, 0.6, 0.5], [0, 1, 0], np.array([1.0, 2.0, 1.0]))
    repeated = predictions([0.2, 0.6, 0.6, 0.5], [0, 1, 1, 0])
    assert weighted.logloss() == pytest.approx(repeated.logloss())
    assert weighted.auc() == pytest.approx(repeated.auc())


def test_gain_and_its_error_are_of_the_differences_by_row():
    config, better = predictions([0.5, 0.5], [1, 1]), predictions([0.6, 0.8], [1, 1])
    found = comparison(better, config, num_challengers=1)
    first, second = math.log(0.6 / 0.5), math.log(0.8 / 0.5)
    assert found["gain"] == pytest.approx((first + second) / 2)
    assert found["standard_error"] == pytest.approx(math.sqrt(2) * (second - first) / 2 / 2)
    assert found["needed"] == pytest.approx(1.6449 * found["standard_error"], rel=1e-4)


def test_the_best_of_many_needs_more_than_the_only_one():
    random = np.random.default_rng(1)
    labels = (random.random(4000) < 0.3).astype(float)
    config = predictions(np.full(4000, 0.3), labels)
    noise = predictions(0.3 + random.normal(0, 0.02, 4000), labels)
    assert not comparison(noise, config, 11)["is_beyond_chance"]
    assert comparison(noise, config, 11)["needed"] > comparison(noise, config, 1)["needed"]
    knows = predictions(0.3 + 0.1 * (labels - 0.3), labels)
    assert comparison(knows, config, 11)["is_beyond_chance"]


def test_the_config_has_no_gain_over_itself():
    config = predictions([0.5, 0.4], [1, 0])
    assert not comparison(config, config, 1)["is_beyond_chance"]


def test_the_mean_is_of_probabilities():
    made = mean_of([predictions([0.2, 0.4], [0, 1]), predictions([0.4, 0.8], [0, 1])])
    assert made.probabilities == pytest.approx([0.3, 0.6])


def checks(*losses):
    return [{"epoch": number / 2, "val_loss": loss} for number, loss in enumerate(losses, start=1)]


def rivals(*several, ended=True):
    return [{"checks": checks(*losses), "ended": ended} for losses in several]


def test_pruned_is_what_is_above_the_median_of_as_many_epochs():
    others = rivals((0.6, 0.5), (0.6, 0.4), (0.6, 0.3))
    assert is_hopeless(checks(0.6, 0.41), others)
    assert not is_hopeless(checks(0.6, 0.4), others)
    assert not is_hopeless(checks(0.7), others)  # half an epoch says little
    assert not is_hopeless(checks(0.6, 0.41), others[:2])  # and so do two trials


def test_later_checks_of_others_do_not_count_and_trials_that_are_behind_neither():
    others = rivals((0.6, 0.5, 0.1), (0.6, 0.5, 0.1), (0.6, 0.5, 0.1))
    assert not is_hopeless(checks(0.6, 0.45), others)
    assert not is_hopeless(checks(0.6, 0.55), rivals((0.3,), (0.3,), (0.3,), ended=False))
    assert is_hopeless(checks(0.6, 0.55), rivals((0.3,), (0.3,), (0.3,)))  # ended there: that is their best
