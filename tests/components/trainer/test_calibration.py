"""Scaling of the logits on the validation days: what it finds, and where it leaves the model alone."""

from __future__ import annotations

import numpy as np
import pytest

from hivemill.components.trainer.calibration import Calibration, fit


def rows(num: int, scale: float, offset: float, seed: int = 1):
    """Logits of a model whose clicks come from scale * logit + offset."""
    random = np.random.default_rng(seed)
    logits = random.normal(-1.5, 1.5, num)
    labels = (random.random(num) < 1 / (1 + np.exp(-(scale * logits + offset)))).astype(float)
    return logits, labels, np.ones(num)


@pytest.mark.parametrize(("scale", "offset"), [(0.6, 0.0), (1.0, 0.5), (1.4, -0.3)])
def test_the_scaling_behind_the_clicks_is_found(scale, offset):
    found = fit(*rows(40_000, scale, offset))
    assert found.is_used and found.rows == 40_000 and found.gain > 2 * found.gain_error > 0
    assert found.scale == pytest.approx(scale, abs=0.05) and found.offset == pytest.approx(offset, abs=0.08)


def test_a_calibrated_model_is_left_alone():
    used = [fit(*rows(20_000, 1.0, 0.0, seed)).is_used for seed in range(20)]
    assert sum(used) <= 1


def test_few_clicks_no_rows_and_infinite_logits_fit_nothing():
    logits, labels, weights = rows(40_000, 0.5, 1.0)
    assert fit(logits[:300], labels[:300], weights[:300]) == Calibration(rows=300)
    assert fit(logits, labels * 0, weights) == Calibration(rows=40_000)
    logits[7] = np.inf
    assert not fit(logits, labels, weights).is_used


def test_one_logit_for_all_rows_moves_by_the_offset_or_not_at_all():
    labels = (np.arange(10_000) % 4 == 0).astype(float)
    found = fit(np.zeros(10_000), labels, np.ones(10_000))
    assert found.is_used and 1 / (1 + np.exp(-found.offset)) == pytest.approx(0.25, abs=0.001)


def test_a_ranking_that_is_upside_down_is_not_turned():
    assert not fit(*rows(40_000, -1.0, 0.0)).is_used


def test_weights_count():
    logits, labels, _ = rows(40_000, 1.0, 0.0)
    found = fit(logits, labels, np.where(labels == 1, 3.0, 1.0))
    assert found.is_used and found.offset == pytest.approx(np.log(3), abs=0.08)
