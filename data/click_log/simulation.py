"""A recommender's traffic with a known true model: requests with candidates, and the clicks on what was shown.

    requests = traffic.requests(date, hour=20, num_requests=100)
    chosen = […]                                      # of each request, the candidate that a model likes best
    shown = traffic.shown(requests, chosen)
    shown.expected_ctr, shown.clicks.mean()           # what the true model says, and what the users did

A request is one slot of a page: a user, a device, a search, a position, and `num_candidates` items that could be shown
there. Users, items, contexts and the true model are those of the generated log (data/click_log/generator.py), so what
is shown
can go on from one. Everything is a function of the options, the date and the hour. Knows no server and no client:
whoever simulates scores `Requests.rows` as it likes.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from hivemill.data.click_log.generator import ClickLogOptions, to_arrow
from hivemill.data.click_log.shop import Impressions, Ragged, Shop, draw, generator
from hivemill.data.click_log.truth import MAX_LEVEL, TrueModel, probabilities

LUCK_STREAM = 7
_OF_THE_REQUEST = (
    "user_id",
    "age_band",
    "gender",
    "city",
    "member_level",
    "position",
    "device",
    "request_milliseconds",
)
_NOT_SENT = ("click", "request_time")


@dataclasses.dataclass(frozen=True)
class Requests:
    """Requests of one hour.

    Attributes:
        table: the candidates of all requests, columns of the log without `click` [requests * candidates].
        probability: the true click probability of each candidate if it is shown [requests, candidates].
        luck: uniform in [0, 1) [requests]; a shown candidate is clicked where this is below its probability. One number
            a request, so that what two models show the same user is clicked by the same user.
        request_ids, users: [requests].
    """

    table: pa.Table
    probability: np.ndarray
    luck: np.ndarray
    request_ids: tuple[str, ...]
    users: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    def rows(self) -> list[list[dict[str, Any]]]:
        """Of each request its candidates as a client sends them: raw columns, maps as parallel lists."""
        flat = [_sent(row) for row in self.table.to_pylist()]
        size = self.probability.shape[1]
        return [flat[start : start + size] for start in range(0, len(flat), size)]


@dataclasses.dataclass(frozen=True)
class Shown:
    """What the users saw and did. Shapes [requests]; `table` are the impressions' features with `request_id`."""

    table: pa.Table
    probability: np.ndarray
    clicks: np.ndarray

    @property
    def expected_ctr(self) -> float:
        return float(self.probability.mean())

    @property
    def ctr_deviation(self) -> float:
        """Standard deviation of the observed CTR around the expected one, given what was shown: exact."""
        return float(np.sqrt((self.probability * (1 - self.probability)).sum()) / len(self.probability))


class SimulatedTraffic:
    """Requests of the shop of a generated log; `options` are those that the log was made with."""

    def __init__(self, options: ClickLogOptions, num_candidates: int = 6):
        self.options, self.num_candidates = options, num_candidates
        shop = Shop(options.seed, options.num_users, options.num_items)
        self._shop, self._model = shop, TrueModel(shop, options.click_rate, options.signal)

    def requests(self, date: datetime.date, hour: int, num_requests: int) -> Requests:
        """The items of so many impressions of the hour are the candidates of one request: its first impression."""
        size = self.num_candidates
        impressions = draw(self._shop, date, hour, 0, 1, num_requests * size)
        first = np.repeat(np.arange(num_requests) * size, size)
        candidates = dataclasses.replace(
            impressions,
            **{name: getattr(impressions, name)[first] for name in _OF_THE_REQUEST},
            query=_taken(impressions.query, first),
            recent_items=_taken(impressions.recent_items, first),
            **_context_of(impressions, first),
        )
        candidates, luck = self._shuffled(candidates, date, hour, num_requests)
        levels = self._model.levels(candidates)
        table = to_arrow(candidates, np.zeros(len(candidates), bool), self.options.hours).drop_columns("click")
        return Requests(
            table=table,
            probability=probabilities()[levels + MAX_LEVEL].reshape(num_requests, size),
            luck=luck,
            request_ids=tuple(f"{date:%Y%m%d}-{hour:02}-{number}" for number in range(num_requests)),
            users=candidates.user_id.reshape(num_requests, size)[:, 0],
        )

    def _shuffled(
        self, candidates: Impressions, date: datetime.date, hour: int, num_requests: int
    ) -> tuple[Impressions, np.ndarray]:
        """The first item fits the search better than the others: its place must not tell."""
        random = generator(self.options.seed, date.toordinal(), hour, LUCK_STREAM)
        order = np.argsort(random.random((num_requests, self.num_candidates)), axis=1)
        place = (order + np.arange(num_requests)[:, None] * self.num_candidates).ravel()
        items = {name: getattr(candidates, name)[place] for name in ("item_id", "category", "brand", "price")}
        return dataclasses.replace(candidates, **items), random.random(num_requests)

    def shown(self, requests: Requests, chosen: np.ndarray) -> Shown:
        """What comes of showing candidate number `chosen` [requests] of each request."""
        chosen = np.asarray(chosen)
        row = np.arange(len(requests))
        probability = requests.probability[row, chosen]
        table = requests.table.take(pa.array(row * self.num_candidates + chosen))
        ids = [f"{name}/{number}" for name, number in zip(requests.request_ids, chosen.tolist(), strict=True)]
        return Shown(table.append_column("request_id", pa.array(ids)), probability, requests.luck < probability)


def _sent(row: dict[str, Any]) -> dict[str, Any]:
    sent = {name: value for name, value in row.items() if value is not None and name not in (*_NOT_SENT, "context")}
    pairs = row["context"] or []
    return {**sent, "context_keys": [key for key, _ in pairs], "context_values": [value for _, value in pairs]}


def _taken(ragged: Ragged, rows: np.ndarray) -> Ragged:
    """The lists of `rows`."""
    lengths = np.maximum(ragged.lengths, 0)
    return Ragged(ragged.lengths[rows], ragged.values[_value_places(lengths, rows)])


def _context_of(impressions: Impressions, rows: np.ndarray) -> dict[str, Any]:
    places = _value_places(np.maximum(impressions.context.lengths, 0), rows)
    return {
        "context": _taken(impressions.context, rows),
        "context_keys": impressions.context_keys[places],
    }


def _value_places(lengths: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Where the values of the lists of `rows` lie in the one array of all values."""
    starts = np.cumsum(lengths) - lengths
    taken = lengths[rows]
    ends = np.cumsum(taken)
    return np.repeat(starts[rows] - (ends - taken), taken) + np.arange(ends[-1] if len(ends) else 0)
