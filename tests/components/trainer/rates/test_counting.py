"""Counts, smoothing and numbers of rates, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hivemill.components.trainer.rates import counting, smoothing
from hivemill.components.trainer.rates.counting import Occurrences, blocks_of, factorise, priors_by_block
from hivemill.components.trainer.rates.smoothing import Scaling, choose, numbers


def _occurrences(codes, clicks, num_keys=None):
    codes = np.array(codes, np.int32)
    blocks = blocks_of(len(codes))
    weights = np.ones(len(codes), np.float32)
    return Occurrences(codes, num_keys or int(codes.max()) + 1, blocks, weights, np.array(clicks, np.float32))


def test_blocks_are_contiguous_and_equally_large():
    assert np.bincount(blocks_of(25)).tolist() == [3, 2, 3, 2, 3, 2, 3, 2, 3, 2]
    assert np.all(np.diff(blocks_of(1000).astype(int)) >= 0)
    assert len(blocks_of(0)) == 0


@pytest.mark.parametrize("num_keys", [10, 10**9])
def test_factorise_finds_the_distinct_keys(num_keys):
    codes, distinct = factorise(np.array([7, 3, 7, 9]), num_keys)
    assert (codes.tolist(), distinct.tolist()) == ([1, 0, 1, 2], [3, 7, 9])


@pytest.mark.parametrize("keys_per_part", [1, 100])
def test_a_row_sees_other_blocks_or_earlier_ones(monkeypatch, keys_per_part):
    monkeypatch.setattr(counting, "_KEYS_PER_PART", keys_per_part)
    # Ten rows are ten blocks. Key 0 is clicked in blocks 0 and 1 of 0, 1, 5; key 1 nowhere.
    occurrences = _occurrences([0, 0, 1, 1, 1, 0, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    clicks = np.zeros((10, 2))
    earlier = np.zeros((10, 2))
    for first, (_, counts) in enumerate(occurrences.parts()):
        width = counts.clicks.shape[1]
        clicks[:, first : first + width] = counts.seen_by_blocks(strict=False)[1]
        earlier[:, first : first + width] = counts.seen_by_blocks(strict=True)[0]
    assert clicks[[0, 1, 5, 9], 0].tolist() == [1, 1, 2, 2]
    assert earlier[[0, 1, 2, 9], 0].tolist() == [0, 1, 2, 3]
    assert priors_by_block(occurrences, strict=False)[0, 0] == pytest.approx(1.5 / 10)
    assert priors_by_block(occurrences, strict=True)[0, 0] == 0.5


def test_numbers_by_hand():
    # (2 + 3 * 0.2) / (4 + 3) = 0.371428...; a key without impressions has the prior's rate.
    found = numbers(np.array([4.0, 0.0]), np.array([2.0, 0.0]), 0.2, 3.0)
    rate = 2.6 / 7
    assert found[0] == pytest.approx([math.log(rate / (1 - rate)) - math.log(0.25), math.log(5)], rel=1e-6)
    assert found[1].tolist() == [0, 0]


def test_scaling_is_a_power_of_two_and_centres_the_counts():
    scaling = Scaling.of(np.array([[-2.0, 1.0], [2.0, 5.0], [-2.0, 1.0], [2.0, 5.0]], np.float32))
    assert (scaling.scale.tolist(), scaling.shift.tolist()) == ([2, 2], [0, 3])
    assert scaling.of_numbers(np.array([[4.0, 3.0]], np.float32)).tolist() == [[2, 0]]
    assert Scaling.of(np.zeros((3, 2), np.float32)).scale.tolist() == list(smoothing._LEAST_SCALES)


def test_smoothing_follows_how_much_the_keys_differ():
    random = np.random.default_rng(0)
    keys = random.integers(0, 200, 20_000)
    alike = choose(_occurrences(keys, random.random(20_000) < 0.2), strict=False)
    rates = random.beta(0.3, 1.2, 200)
    different = choose(_occurrences(keys, random.random(20_000) < rates[keys]), strict=False)
    assert alike.strength > 30 and not alike.is_useful
    assert different.strength <= 3 and different.is_useful and different.gain > 0.1


def test_the_gain_does_not_depend_on_how_keys_are_cut_into_parts(monkeypatch):
    random = np.random.default_rng(1)
    keys = random.integers(0, 50, 2_000)
    occurrences = _occurrences(keys, random.random(2_000) < keys / 100)
    whole = choose(occurrences, strict=False)
    monkeypatch.setattr(counting, "_KEYS_PER_PART", 7)
    parts = choose(occurrences, strict=False)
    assert (parts.strength, parts.gain) == (whole.strength, pytest.approx(whole.gain))
    assert parts.standard_error == pytest.approx(whole.standard_error)
