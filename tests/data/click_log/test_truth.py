"""The best reachable metrics: against plain definitions, the drawn clicks, and the columns of the log."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pytest

from hivemill.data.click_log import vocabulary as words
from hivemill.data.click_log.generator import click_log_options, generate
from hivemill.data.click_log.shop import CONTEXT_VALUES, Shop, draw
from hivemill.data.click_log.truth import MAX_LEVEL, STEPS, TrueModel, TruthCounts, probabilities


def plain_auc(probability: list[float], clicked: list[bool]) -> float:
    """The definition: over all pairs of a click and a non-click, how often the click has the higher probability."""
    wins = [
        1.0 if p > q else 0.5 if p == q else 0.0
        for p, is_click in zip(probability, clicked, strict=True)
        if is_click
        for q, other in zip(probability, clicked, strict=True)
        if not other
    ]
    return sum(wins) / len(wins)


def plain_logloss(probability: list[float], clicked: list[bool]) -> float:
    losses = [-math.log(p if is_click else 1 - p) for p, is_click in zip(probability, clicked, strict=True)]
    return sum(losses) / len(losses)


def test_metrics_by_hand():
    """Levels 0, 0, 64, -64 (probabilities 1/2, 1/2, 0.731, 0.269), clicks at the first and third."""
    counts = TruthCounts()
    counts.add(np.array([0, 0, STEPS, -STEPS]), np.array([True, False, True, False]))
    summary = counts.summary()
    assert (summary["rows"], summary["clicks"]) == (4, 2)
    assert summary["best_auc"] == 3.5 / 4
    assert summary["best_logloss"] == pytest.approx((2 * math.log(2) + 2 * math.log1p(math.exp(-1))) / 4, abs=1e-9)


def test_metrics_agree_with_their_definitions():
    random = np.random.default_rng(3)
    levels = random.integers(-200, 200, 300)
    clicked = random.random(300) < probabilities()[levels + MAX_LEVEL]
    counts = TruthCounts()
    counts.add(levels[:120], clicked[:120])
    counts += TruthCounts.from_json(_counts(levels[120:], clicked[120:]).to_json())
    probability = (1 / (1 + np.exp(-levels / STEPS))).tolist()
    assert counts.summary()["best_auc"] == pytest.approx(plain_auc(probability, clicked.tolist()), abs=1e-9)
    assert counts.summary()["best_logloss"] == pytest.approx(plain_logloss(probability, clicked.tolist()), abs=1e-9)


def _counts(levels: np.ndarray, clicked: np.ndarray) -> TruthCounts:
    counts = TruthCounts()
    counts.add(levels, clicked)
    return counts


def test_expected_metrics_are_the_mean_over_many_draws():
    levels = np.repeat(np.arange(-150, 50), 20)
    random = np.random.default_rng(5)
    draws = [
        _counts(levels, random.random(len(levels)) < probabilities()[levels + MAX_LEVEL]).summary() for _ in range(300)
    ]
    for metric in ("auc", "logloss"):
        values = np.array([summary[f"best_{metric}"] for summary in draws])
        assert draws[0][f"expected_{metric}"] == pytest.approx(values.mean(), abs=4 * values.std() / math.sqrt(300))


def test_one_class_has_no_auc_and_no_rows_no_logloss():
    assert _counts(np.array([0]), np.array([True])).summary()["best_auc"] is None
    assert TruthCounts().summary()["best_logloss"] is None


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_default_log_is_as_hard_as_it_should_be(seed):
    """CTR of 5 to 10 %, a best AUC of 0.75 to 0.80, for any seed."""
    shop = Shop(seed, 20_000, 2_000)
    model = TrueModel(shop, click_rate=0.09)
    counts = TruthCounts()
    for hour in range(24):
        rows = draw(shop, datetime.date(2026, 11, 12), hour, 0, 1, 1000)
        levels = model.levels(rows)
        counts.add(levels, rows.luck < probabilities()[levels + MAX_LEVEL])
    summary = counts.summary()
    assert 0.08 < summary["clicks"] / summary["rows"] < 0.10
    assert 0.75 < summary["expected_auc"] < 0.80
    assert summary["best_auc"] == pytest.approx(summary["expected_auc"], abs=0.02)


def test_the_probability_depends_on_columns_of_the_log_alone():
    """Two impressions that look the same in the log have the same true logit, whatever the shop knows besides."""
    shop = Shop(1, 300, 200)
    model = TrueModel(shop, click_rate=0.09)
    rows = draw(shop, datetime.date(2026, 11, 12), 9, 0, 1, 500)
    levels = model.levels(rows)
    rows.luck = rows.luck[::-1].copy()
    rows.request_milliseconds = rows.request_milliseconds + 1
    assert (model.levels(rows) == levels).all()
    for name in ("age_band", "category", "device", "price", "position", "query", "context", "recent_items", "user_id"):
        other = draw(shop, datetime.date(2026, 11, 12), 9, 0, 1, 500)
        values = getattr(other, name)
        if hasattr(values, "values"):
            values.values[:] = np.roll(values.values, 7)
        else:
            setattr(other, name, np.roll(values, 7))
        assert (model.levels(other) != levels).any(), name


def test_no_signal_means_no_better_than_chance():
    shop = Shop(1, 300, 200)
    model = TrueModel(shop, click_rate=0.09, signal=0.0)
    rows = draw(shop, datetime.date(2026, 11, 12), 9, 0, 1, 500)
    assert set(probabilities()[model.levels(rows) + MAX_LEVEL].round(3)) == {0.09}


def test_truth_of_a_log_counts_its_rows(tmp_path):
    options = click_log_options(days=2, rows_per_day=500, num_users=300, num_items=200, hours=False)
    truth = generate(options, tmp_path)
    assert truth["version"] == 1 and truth["options"] == options.model_dump(mode="json")
    assert list(truth["days"]) == ["2026-11-09", "2026-11-10"]
    for name in ("rows", "clicks"):
        assert truth["all"][name] == sum(day[name] for day in truth["days"].values())


def test_every_value_of_the_log_has_its_effect():
    """A vocabulary and the model's tables must not drift apart: each value has a weight, and code -1 has zero."""
    fields = TrueModel(Shop(1, 300, 200), click_rate=0.09).fields
    sizes = {"context": len(CONTEXT_VALUES), "category": len(words.CATEGORIES), "query": len(words.QUERY_TOKENS)}
    assert {name: len(fields[name].weights) - 1 for name in sizes} == sizes
    assert len(words.BRANDS) == len(set(words.BRANDS)) == words.BRANDS_PER_CATEGORY * len(words.CATEGORIES)
    assert len(words.QUERY_TOKENS) == words.TOKENS_PER_CATEGORY * len(words.CATEGORIES)
    assert all(field.weights[-1] == 0 and (field.vectors[-1] == 0).all() for field in fields.values())
