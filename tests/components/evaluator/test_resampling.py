"""The bootstrap against what it stands for: the spread of a metric over data sets drawn anew."""

import numpy as np
import pytest

from hivemill.components.evaluator.metrics import bootstrap
from hivemill.components.evaluator.metrics import click_summary as cs


def drawn(seed, num_users=600, rows_per_user=8, slope=1.2, user_effect=0.0):
    random = np.random.default_rng(seed)
    users = np.repeat(random.integers(1, 2**63, num_users).astype(np.uint64), rows_per_user)
    effect = np.repeat(random.normal(0, user_effect, num_users), rows_per_user)
    logits = random.normal(-2, 1, len(users))
    clicks = random.random(len(users)) < 1 / (1 + np.exp(-(slope * (logits + 2) - 2 + effect)))
    return clicks.astype(float), 1 / (1 + np.exp(-logits)), users


def table(labels, predictions, users=None):
    return bootstrap.replicates(cs.summarize(labels, predictions, users).groups)


def test_the_first_column_is_the_metric_itself():
    labels, predictions, users = drawn(1)
    metrics, found = cs.metrics_of(cs.summarize(labels, predictions, users)), table(labels, predictions, users)[:, 0]
    for name, value in zip(bootstrap.METRICS, found, strict=True):
        tolerance = 5e-3 if name in ("auc", "auc_precision_recall") else 1e-9  # the two that need buckets
        assert value == pytest.approx(metrics[name], abs=tolerance), name


@pytest.mark.parametrize("user_effect", [0.0, 1.5])
def test_the_spread_is_that_of_data_sets_drawn_anew(user_effect):
    """With an effect of the user, rows of a user are alike, and a bootstrap over rows would be too sure."""
    worlds = [drawn(seed, user_effect=user_effect) for seed in range(120)]
    values = np.array([table(*world)[:, 0] for world in worlds])
    spreads = np.array([table(*world)[:, 1:].std(axis=1) for world in worlds[:20]]).mean(axis=0)
    for name, seen, said in zip(bootstrap.METRICS, values.std(axis=0), spreads, strict=True):
        assert said == pytest.approx(seen, rel=0.25), name


def test_an_interval_holds_the_truth_nineteen_times_of_twenty():
    truth = np.mean([table(*drawn(seed))[0, 0] for seed in range(300, 400)])
    inside = 0
    for seed in range(100):
        lower, upper = bootstrap.interval(table(*drawn(seed))[0, 1:])
        inside += lower <= truth <= upper
    assert 88 <= inside <= 100


def test_merging_parts_gives_the_same_replicates():
    labels, predictions, users = drawn(2)
    half = users % np.uint64(2) == 0
    parts = [cs.summarize(labels[rows], predictions[rows], users[rows]) for rows in (half, ~half)]
    whole = table(labels, predictions, users)
    np.testing.assert_allclose(bootstrap.replicates(cs.merge(parts).groups), whole, rtol=1e-9)
    np.testing.assert_allclose(bootstrap.replicates(cs.merge(parts[::-1]).groups), whole, rtol=1e-9)


def test_two_models_on_the_same_rows_are_compared_pair_by_pair():
    labels, predictions, users = drawn(3)
    nearly = np.clip(predictions * 1.001, 0, 1)
    apart = table(labels, predictions, users)[2, 1:].std()
    paired = (table(labels, nearly, users) - table(labels, predictions, users))[2, 1:].std()
    assert paired < apart / 50


def test_unknown_users_and_no_users_are_drawn_by_row():
    groups = bootstrap.group_of(np.array([0, 0, 5 << 20, 5 << 20], np.uint64), 4)
    assert groups.tolist() == [0, 1, 5, 5]
    assert len(set(bootstrap.group_of(None, 3000))) == bootstrap.GROUPS


def test_too_few_users_give_no_interval():
    labels, predictions, _ = drawn(4)
    few = np.arange(len(labels)).astype(np.uint64) % np.uint64(3) + np.uint64(1 << 20)
    assert np.isnan(table(labels, predictions, few << np.uint64(20))).all()
    assert bootstrap.interval(np.full(200, np.nan)) is None
    assert bootstrap.interval(np.zeros(0)) is None
