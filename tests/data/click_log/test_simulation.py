"""Simulated traffic: reproducible, candidates of one user, clicks as the true model says."""

import datetime

import numpy as np
import pytest

from hivemill.data.click_log.generator import click_log_options
from hivemill.data.click_log.shop import draw
from hivemill.data.click_log.simulation import SimulatedTraffic, _taken
from hivemill.data.click_log.truth import MAX_LEVEL, probabilities

DAY = datetime.date(2025, 9, 8)
OPTIONS = click_log_options(hours=False, num_users=500, num_items=200, signal=1.5)


@pytest.fixture(scope="module")
def traffic():
    return SimulatedTraffic(OPTIONS, num_candidates=5)


@pytest.fixture(scope="module")
def requests(traffic):
    return traffic.requests(DAY, 20, 2_000)


def test_the_same_options_give_the_same_requests(traffic, requests):
    again = SimulatedTraffic(OPTIONS, 5).requests(DAY, 20, 2_000)
    assert again.table.equals(requests.table) and (again.probability == requests.probability).all()
    assert (again.luck == requests.luck).all() and again.request_ids == requests.request_ids
    assert not traffic.requests(DAY, 21, 2_000).table.equals(requests.table)


def test_candidates_of_a_request_differ_in_the_item_only(requests):
    frame = requests.table.to_pandas()
    frame["request"] = np.repeat(np.arange(2_000), 5)
    for name in ("user_id", "position", "device", "age_band", "city", "request_time"):
        assert (frame.groupby("request")[name].nunique(dropna=False) == 1).all(), name
    for name in ("query", "recent_items", "context"):
        assert (frame[name].astype(str).groupby(frame["request"]).nunique() == 1).all(), name
    assert frame.groupby("request")["item_id"].nunique().mean() > 4.5
    assert (frame["user_id"].to_numpy()[::5] == requests.users).all()


def test_items_keep_their_own_category_and_price_and_their_place_tells_nothing(traffic, requests):
    impressions = draw(traffic._shop, DAY, 20, 0, 1, 10_000)
    known = {
        (int(i), None if np.isnan(p) else float(p)) for i, p in zip(impressions.item_id, impressions.price, strict=True)
    }
    rows = zip(requests.table["item_id"].to_pylist(), requests.table["price"].to_pylist(), strict=True)
    assert set(rows) == known
    means = requests.probability.mean(axis=0)
    assert np.abs(means - means.mean()).max() < 5 * requests.probability.std() / np.sqrt(2_000)


def test_ragged_lists_follow_their_rows(traffic):
    impressions = draw(traffic._shop, DAY, 3, 0, 1, 50)
    rows = np.array([4, 4, 0, 49, 7])
    taken = _taken(impressions.query, rows)
    lists = np.split(impressions.query.values, np.cumsum(np.maximum(impressions.query.lengths, 0))[:-1])
    assert (taken.lengths == impressions.query.lengths[rows]).all()
    assert taken.values.tolist() == [value for row in rows for value in lists[row].tolist()]


def test_a_request_of_one_candidate_is_an_impression_of_the_log(traffic):
    """The true probabilities are those that the generator draws clicks from."""
    single = SimulatedTraffic(OPTIONS, num_candidates=1)
    impressions = draw(single._shop, DAY, 13, 0, 1, 300)
    wanted = probabilities()[single._model.levels(impressions) + MAX_LEVEL]
    assert single.requests(DAY, 13, 300).probability[:, 0] == pytest.approx(wanted)


def test_clicks_are_as_often_as_the_true_model_says(traffic, requests):
    best = traffic.shown(requests, requests.probability.argmax(axis=1))
    worst = traffic.shown(requests, requests.probability.argmin(axis=1))
    for shown in (best, worst):
        assert abs(shown.clicks.mean() - shown.expected_ctr) < 4 * shown.ctr_deviation
    assert best.expected_ctr > 3 * worst.expected_ctr
    # The same luck: whoever clicks what they like less clicks what they like more.
    assert (best.clicks | ~worst.clicks).all()


def test_deviation_of_the_ctr_by_hand(traffic):
    requests = traffic.requests(DAY, 20, 2)
    shown = traffic.shown(requests, [3, 1])
    p = [requests.probability[0, 3], requests.probability[1, 1]]
    assert shown.expected_ctr == pytest.approx(sum(p) / 2)
    assert shown.ctr_deviation == pytest.approx((p[0] * (1 - p[0]) + p[1] * (1 - p[1])) ** 0.5 / 2)


def test_rows_are_what_a_client_sends(requests):
    rows = requests.rows()
    assert len(rows) == 2_000 and len(rows[0]) == 5
    sent = rows[0][2]
    assert sent["item_id"] == requests.table["item_id"][2].as_py()
    assert not {"click", "request_time", "context"} & set(sent)
    assert len(sent["context_keys"]) == len(sent["context_values"])


def test_what_was_shown_has_the_request_id_that_the_client_logs(traffic):
    requests = traffic.requests(DAY, 20, 2)
    shown = traffic.shown(requests, [3, 1])
    assert shown.table["request_id"].to_pylist() == ["20250908-20-0/3", "20250908-20-1/1"]
    assert shown.table["item_id"].to_pylist() == [requests.table["item_id"][place].as_py() for place in (3, 6)]
