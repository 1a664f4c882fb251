"""The default gates where nothing predicts the clicks (Open Bandit's, and drawn ones): no model is ever blessed."""

import csv
from pathlib import Path

import numpy as np
import pytest

from hivemill.components.evaluator.gates import SliceMetrics, is_blessed, judge
from hivemill.components.evaluator.metrics.click_summary import metrics_of, summarize
from hivemill.components.evaluator.options import GateOptions

OPEN_BANDIT = Path(__file__).resolve().parents[4] / "shared" / "data" / "obd"


def blessed(labels: np.ndarray, predictions: np.ndarray) -> bool:
    metrics = {
        name: None if np.isnan(value) else value for name, value in metrics_of(summarize(labels, predictions)).items()
    }
    return is_blessed(judge(GateOptions(), [SliceMetrics({}, metrics)]))


def guesses(labels: np.ndarray, random: np.random.Generator, count: int):
    """Well calibrated predictors without knowledge: the click rate itself, and noise of every width around it."""
    rate = labels.mean()
    yield np.full(len(labels), rate)
    for width in np.geomspace(1e-3, 1.5, count):
        logits = np.log(rate / (1 - rate)) + random.normal(0, width, len(labels)) - width**2 / 2
        yield 1 / (1 + np.exp(-logits))


def open_bandit_clicks(policy: str) -> np.ndarray:
    with open(OPEN_BANDIT / policy / "men" / "men.csv", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["timestamp"])
    return np.array([int(row["click"]) for row in rows], float)


@pytest.mark.skipif(not OPEN_BANDIT.is_dir(), reason="../shared/data/obd is not here")
@pytest.mark.parametrize("policies", [("bts",), ("random",), ("bts", "random")])
@pytest.mark.parametrize("share", [1.0, 1 / 7])
def test_no_model_is_blessed_on_open_bandit(policies, share):
    labels = np.concatenate([open_bandit_clicks(policy) for policy in policies])
    labels = labels[-int(len(labels) * share) :]
    assert 0.002 < labels.mean() < 0.01
    random = np.random.default_rng(1)
    assert [blessed(labels, predictions) for predictions in guesses(labels, random, 200)].count(True) == 0


def test_no_model_is_blessed_on_large_noise():
    """200,000 rows with 1,000 clicks: enough for the bound on clicks, so the bounds on quality must refuse alone."""
    random = np.random.default_rng(2)
    labels = (random.random(200_000) < 0.005).astype(float)
    assert labels.sum() > 500
    assert [blessed(labels, predictions) for predictions in guesses(labels, random, 60)].count(True) == 0


def test_a_model_with_knowledge_is_blessed_on_the_same_kind_of_table():
    """Otherwise the tests above could pass because the gates refuse everything."""
    random = np.random.default_rng(3)
    logits = random.normal(-5.5, 0.7, 200_000)
    predictions = 1 / (1 + np.exp(-logits))
    labels = (random.random(200_000) < predictions).astype(float)
    assert labels.mean() < 0.01
    assert blessed(labels, predictions)
