"""LightGBM as a reference: what it can learn, and what it must not."""

from __future__ import annotations

import numpy as np
import pytest

from hivemill.components.evaluator.metrics import click_summary
from hivemill.components.evaluator.references import boosted_trees
from hivemill.components.evaluator.references.boosted_trees import Sample

IDS = 2_000


def sample(rows: int, seed: int, multivalent: bool = False, shuffled: bool = False) -> Sample:
    """The click depends on a number, on a field of 2,000 ids, and on the items of a list; the constant says nothing."""
    random = np.random.default_rng(seed)
    effect = np.random.default_rng(0).normal(0, 1.5, IDS)
    ids, number = random.integers(0, IDS, rows), random.normal(size=rows)
    logit = number + effect[ids] - 1
    tensors = {"field_values": number[:, None].astype(np.float32), "field_ids": np.stack([ids, ids * 0], axis=1)}
    if multivalent:
        items = random.integers(0, 300, 3 * rows)
        tensors["tags"] = (np.repeat(np.arange(rows), 3), items)
        logit = logit + effect[items].reshape(rows, 3).mean(axis=1)
    labels = (random.random(rows) < 1 / (1 + np.exp(-logit))).astype(float)
    return Sample(tensors, random.permutation(labels) if shuffled else labels)


def auc(evaluation: Sample, predictions: np.ndarray) -> float:
    return click_summary.metrics_of(click_summary.summarize(evaluation.labels, predictions))["auc"]


@pytest.mark.parametrize("multivalent", [False, True])
def test_it_learns_numbers_ids_and_lists(multivalent):
    train, evaluation = (sample(20_000, seed, multivalent) for seed in (1, 2))
    predictions = boosted_trees.fit_and_predict(train, None, evaluation)
    assert auc(evaluation, predictions) > 0.78
    calibration = predictions.mean() / evaluation.labels.mean()
    assert calibration == pytest.approx(1, abs=0.06)


def test_the_same_rows_give_the_same_model_and_a_watched_split_stops_it():
    train, watched, evaluation = (sample(5_000, seed) for seed in (1, 2, 3))
    first = boosted_trees.fit_and_predict(train, watched, evaluation)
    np.testing.assert_array_equal(first, boosted_trees.fit_and_predict(train, watched, evaluation))
    nobody_clicks = Sample(watched.tensors, watched.labels * 0)
    without = boosted_trees.fit_and_predict(train, None, evaluation)
    np.testing.assert_array_equal(boosted_trees.fit_and_predict(train, nobody_clicks, evaluation), without)


def test_labels_that_mean_nothing_teach_nothing():
    """An id's own label must not reach its row: rates that counted it would fit the noise."""
    train, evaluation = sample(20_000, 1, multivalent=True, shuffled=True), sample(20_000, 2, multivalent=True)
    predictions = boosted_trees.fit_and_predict(train, None, evaluation)
    spread = np.log(predictions / (1 - predictions)).std()
    assert auc(evaluation, predictions) == pytest.approx(0.5, abs=0.03) and spread < 0.2


def test_a_training_rows_rate_does_not_move_with_its_own_label():
    train = sample(4_000, 1)
    moved = Sample(train.tensors, train.labels.copy())
    moved.labels[0] = 1 - moved.labels[0]
    before, after = (boosted_trees._Columns(each).of_training_rows() for each in (train, moved))
    prior = [np.log(each.labels.mean() / (1 - each.labels.mean())) for each in (train, moved)]
    assert abs(before[0, 2] - after[0, 2]) <= 2 * abs(prior[0] - prior[1]), "only the mean click rate moved"


def test_ids_that_training_lacks_and_rows_without_values_are_predicted():
    train = sample(3_000, 1, multivalent=True)
    tensors = {
        "field_values": np.full((2, 1), np.nan, np.float32),
        "field_ids": np.array([[IDS + 5, 9], [0, 0]]),
        "tags": (np.zeros(0, np.int64), np.zeros(0, np.int64)),
    }
    predictions = boosted_trees.fit_and_predict(train, None, Sample(tensors, np.zeros(2)))
    assert ((predictions > 0) & (predictions < 1)).all()
