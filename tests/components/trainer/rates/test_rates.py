"""Rates from rows to the model's input: nothing leaks, and serving looks up what training counted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from hivemill.components.trainer.rates import pairs, smoothing
from hivemill.components.trainer.rates.counting import NUM_BLOCKS, blocks_of
from hivemill.components.trainer.rates.files import write_training_rates
from hivemill.components.trainer.rates.fitting import fit
from hivemill.components.trainer.rates.layer import ClickRates
from hivemill.components.trainer.rates.rows import Bag, CountedRows, places_in_time

NUM_ROWS = 4_000


def _rows(seed: int = 0, labels: np.ndarray | None = None) -> CountedRows:
    """Two id columns, a number and a bag; the click depends on the pair of ids, the number and the bag."""
    random = np.random.default_rng(seed)
    user, item = random.integers(0, 40, NUM_ROWS), random.integers(0, 25, NUM_ROWS)
    number = random.normal(size=NUM_ROWS).astype(np.float32)
    lengths = random.integers(0, 4, NUM_ROWS)
    tags = random.integers(0, 12, lengths.sum()).astype(np.int32)
    splits = np.concatenate([[0], np.cumsum(lengths)])
    tag_sum = np.add.reduceat(np.append(np.sin(tags), 0), splits[:-1]) * (lengths > 0)
    logit = np.sin(user * 31 + item * 17) * 1.5 + np.cos(user) + number + tag_sum
    clicks = (random.random(NUM_ROWS) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    edges = np.array([-1, 0, 1], np.float32)
    return CountedRows(
        columns=[
            user.astype(np.int32),
            item.astype(np.int32),
            np.searchsorted(edges, number, "right").astype(np.int32),
        ],
        num_ids=[40, 25, 4],
        boundaries=[edges],
        bags={"tags": Bag(tags, splits)},
        bag_num_ids={"tags": 12},
        clicks=clicks if labels is None else labels,
        weights=np.ones(NUM_ROWS, np.float32),
        num_older=0,
    )


def _inputs(rows: CountedRows, chosen: np.ndarray) -> dict:
    bag = rows.bags["tags"]
    values = [bag.ids[bag.splits[r] : bag.splits[r + 1]].astype(np.int64) for r in chosen]
    middle = np.array([-2, -0.5, 0.5, 2], np.float32)[rows.columns[2][chosen]]
    return {
        "field_ids": tf.constant(np.stack([rows.columns[0][chosen], rows.columns[1][chosen]], 1).astype(np.int64)),
        "field_values": tf.constant(middle[:, np.newaxis]),
        "ids_of_tags": tf.ragged.constant([v.tolist() for v in values], dtype=tf.int64, row_splits_dtype=tf.int64),
    }


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return fit(_rows(), 60, False, tmp_path_factory.mktemp("rates"))


def test_every_kind_of_field_and_the_pair_have_rates(fitted):
    found = {(table.columns, table.bag) for table in fitted.tables}
    assert {((0,), None), ((2,), None), ((), "tags"), ((0, 1), None)} <= found
    assert fitted.training_numbers.shape == (NUM_ROWS, 2 * len(fitted.tables))


def test_serving_gives_what_training_counted_but_for_the_own_block(fitted):
    """Numbers of a training row and of the same row in serving differ by a tenth of the counts only."""
    layer = ClickRates(fitted.tables, fitted.boundaries, {"tags": 12})
    chosen = np.arange(0, NUM_ROWS, 10)
    served = layer(_inputs(_rows(), chosen)).numpy()
    trained = np.asarray(fitted.training_numbers)[chosen].astype(np.float32)
    assert served.shape == trained.shape
    for column in range(served.shape[1]):
        assert np.corrcoef(served[:, column], trained[:, column])[0, 1] > (0.6 if column % 2 == 0 else 0.7)


def test_serving_by_hand(fitted):
    layer = ClickRates(fitted.tables, fitted.boundaries, {"tags": 12})
    rows = _rows()
    place = next(n for n, table in enumerate(fitted.tables) if table.columns == (0, 1))
    table = fitted.tables[place]
    of_pair = (rows.columns[0] == 3) & (rows.columns[1] == 4)
    shown, clicked = of_pair.sum(), rows.clicks[of_pair].sum()
    prior, strength = fitted.prior, table.smoothing.strength
    rate = (clicked + strength * prior) / (shown + strength)
    log_odds = np.log(rate / (1 - rate)) - np.log(prior / (1 - prior))
    expected = (np.array([log_odds, np.log1p(shown)]) - table.scaling.shift) / table.scaling.scale
    inputs = {**_inputs(rows, np.array([0])), "field_ids": tf.constant([[3, 4]], tf.int64)}
    assert layer(inputs).numpy()[0, 2 * place : 2 * place + 2] == pytest.approx(expected, rel=1e-4)


def test_pairs_that_training_never_saw_have_the_priors_rate(tmp_path):
    rows = _rows()
    rows.columns[0][rows.columns[1] == 7] = 5
    found = fit(rows, 60, False, tmp_path)
    place = next(n for n, table in enumerate(found.tables) if table.columns == (0, 1))
    inputs = {**_inputs(rows, np.array([0])), "field_ids": tf.constant([[6, 7]], tf.int64)}
    scaling = found.tables[place].scaling
    served = ClickRates(found.tables, found.boundaries, {"tags": 12})(inputs).numpy()[0, 2 * place : 2 * place + 2]
    assert served == pytest.approx((np.zeros(2) - scaling.shift) / scaling.scale, rel=1e-5)


def test_a_label_moves_no_number_of_its_own_block(tmp_path):
    rows = _rows()
    flipped = dataclasses.replace(rows, clicks=rows.clicks.copy())
    block = blocks_of(NUM_ROWS) == 4
    flipped.clicks[np.flatnonzero(block)[17]] = 1 - flipped.clicks[np.flatnonzero(block)[17]]
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    before, after = fit(rows, 60, False, tmp_path / "a"), fit(flipped, 60, False, tmp_path / "b")
    assert [t.columns for t in before.tables] == [t.columns for t in after.tables]
    difference = np.asarray(before.training_numbers, np.float32) - np.asarray(after.training_numbers, np.float32)
    assert np.all(difference[block] == 0) and np.any(difference[~block] != 0)


def test_strict_rates_know_nothing_of_the_future(tmp_path):
    rows = _rows()
    changed = dataclasses.replace(rows, clicks=rows.clicks.copy())
    future = blocks_of(NUM_ROWS) == NUM_BLOCKS - 1
    row = int(np.flatnonzero(future)[5])
    changed.clicks[row] = 1 - changed.clicks[row]
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    before, after = fit(rows, 60, True, tmp_path / "a"), fit(changed, 60, True, tmp_path / "b")
    assert len(before.tables) == len(after.tables) > 2
    assert np.array_equal(before.training_numbers, after.training_numbers)


@pytest.mark.parametrize("strict", [False, True])
def test_shuffled_labels_leave_nothing_to_learn(tmp_path, strict):
    """No rate of labels that are pure luck predicts them, so none is used."""
    labels = np.random.default_rng(5).permutation(_rows().clicks)
    found = fit(_rows(labels=labels), 60, strict, tmp_path)
    assert len(found.tables) <= 1  # two standard errors: one of ten may pass by luck


@pytest.mark.parametrize("strict", [False, True])
def test_a_row_learns_nothing_of_its_own_label(tmp_path, strict, monkeypatch):
    """Rates of labels that are pure luck, used all the same, do not rank the rows that they were counted on."""
    monkeypatch.setattr(smoothing, "_NEEDED_GAIN", -np.inf)
    labels = np.random.default_rng(5).permutation(_rows().clicks)
    found = fit(_rows(labels=labels), 60, strict, tmp_path)
    assert len(found.tables) >= 5
    for column in np.asarray(found.training_numbers, np.float64).T[::2]:
        clicked, other = column[labels == 1], column[labels == 0]
        ranks = np.argsort(np.argsort(np.concatenate([clicked, other])))
        auc = (ranks[: len(clicked)].mean() - (len(clicked) - 1) / 2) / len(other)
        assert auc == pytest.approx(0.5, abs=0.04)


def test_the_most_telling_pairs_are_chosen():
    rows = _rows()
    chosen = pairs.choose_pairs(rows, 1, False)
    assert chosen == [(0, 1)]
    assert pairs.choose_pairs(rows, 0, False) == []


def test_a_pair_that_repeats_one_of_its_fields_is_left_out():
    rows = _rows()
    copy = dataclasses.replace(rows, columns=[*rows.columns, rows.columns[0] * 2], num_ids=[*rows.num_ids, 80])
    assert (0, 3) not in pairs.choose_pairs(copy, 60, False)


def test_rows_stand_in_the_files_where_transform_dealt_them(tmp_path):
    places = places_in_time([8_192 + 10, 8_192, 5])
    assert np.bincount(places).tolist() == [8_202, 8_192, 5]
    assert places[:8_192].tolist() == [0] * 8_192 and places[-10:].tolist() == [0] * 10

    class Layer:
        width = 1

    numbers = np.arange(12, dtype=np.float16)[:, np.newaxis]
    (tmp_path / "f").mkdir()

    class Source:
        files = ("a", "b")

    written = write_training_rates(Source(), [7, 5], numbers, Layer(), Path(tmp_path / "f"))
    assert [np.fromfile(f, np.float16).tolist() for f in written.files] == [list(range(7)), list(range(7, 12))]
