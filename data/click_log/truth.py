"""The true click model of the generated log, and the best AUC and logloss that any model can reach on it.

logit = bias + sum of one weight per value + sum over pairs of fields of the dot product of their vectors,

a factorisation machine (Rendle 2010) of dimension 4 over columns that are all in the log, lists pooled by their mean. A
missing value adds nothing. The logit is rounded to steps of 1/64, so that counts per step hold everything that AUC and
logloss need: they are exact, can be added up over hours and days, and take no memory to speak of.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hivemill.data.click_log import vocabulary as words
from hivemill.data.click_log.shop import NUM_POSITIONS, Impressions, Ragged, Shop, draw, generator, hour_rows

DIMENSION = 4
STEPS = 64
"""Steps per unit of the logit."""
MAX_LEVEL = 12 * STEPS
CALIBRATION_ROWS = 40_000
HEAD_ITEMS = 150
"""The most popular items have an effect of their own, which fades with the rank at this scale."""
ITEM_EFFECT = 0.15
USER_EFFECT = 0.04
PRICE_EFFECT = -0.35
HOUR_EFFECTS = (12, 10, 4, -4, -10, -14, -16, -12, -8, -6, -4, -2, 6, 2, -4, -6, -4, 0, 4, 8, 14, 18, 18, 16)
"""In hundredths of the logit."""
WEEKDAY_EFFECTS = (-4, -4, -2, -2, 2, 5, 5)
EFFECTS = {
    "age_band": (0.34, 0.32), "gender": (0.24, 0.32), "city": (0.14, 0.0), "member_level": (0.40, 0.0),
    "category": (0.42, 0.36), "brand": (0.14, 0.0), "device": (0.34, 0.0), "context": (0.80, 0.0),
    "query": (0.10, 0.15), "recent_items": (0.0, 0.15),
}  # fmt: skip
"""For each field: the standard deviation of its weights, and of each coordinate of its vectors."""


@dataclass
class Field:
    """Weights [values + 1] and vectors [values + 1, DIMENSION] of a field; the last row, zeros, is that of code -1."""

    weights: np.ndarray
    vectors: np.ndarray


class TrueModel:
    """The click model of one seed; `click_rate` sets the bias, `signal` multiplies everything else."""

    def __init__(self, shop: Shop, click_rate: float, signal: float = 1.0):
        self.shop, self.signal = shop, signal
        self.fields = {name: _draw_field(shop.seed, number, name) for number, name in enumerate(EFFECTS)}
        self._liken_interests()
        self.position_weights = -0.60 * (np.log(np.arange(1, NUM_POSITIONS + 1)) - 1.67)
        self.bias = self._calibrate(click_rate)

    def _liken_interests(self) -> None:
        """Search words and recent items pull towards their own category: that is what makes them worth having."""
        shares = _shares(words.CATEGORIES.values())
        category = self.fields["category"].vectors[:-1]
        direction = category / math.sqrt(float((shares[:, None] * category * category).sum() / DIMENSION))
        token = self.fields["query"].vectors[:-1]
        token[:] = 0.5 * token + 0.85 * EFFECTS["query"][1] * np.repeat(direction, words.TOKENS_PER_CATEGORY, axis=0)
        self.fields["recent_items"].vectors[:-1] = EFFECTS["recent_items"][1] * direction

    def levels(self, impressions: Impressions) -> np.ndarray:
        """The true logit of each impression in steps of 1/64, as integers within +-MAX_LEVEL."""
        logits = self.bias + self.signal * self._effects(impressions)
        return np.clip(np.rint(logits * STEPS), -MAX_LEVEL, MAX_LEVEL).astype(np.int64)

    def _effects(self, rows: Impressions) -> np.ndarray:
        """The true logit [rows] but for bias and signal: weights, and 1/2 (|sum of vectors|^2 - sum of |vector|^2)."""
        total = HOUR_EFFECTS[rows.hour] / 100 + WEEKDAY_EFFECTS[rows.date.weekday()] / 100 + self._numbers(rows)
        pooled = np.zeros((DIMENSION, len(rows)))
        squares = np.zeros(len(rows))
        for name, field_ in self.fields.items():
            weights, vector = _look_up(field_, self._codes(rows, name))
            total = total + weights
            for k in range(DIMENSION):
                pooled[k] += vector[k]
                squares += vector[k] * vector[k]
        for k in range(DIMENSION):
            total = total + 0.5 * pooled[k] * pooled[k]
        return total - 0.5 * squares

    def _numbers(self, rows: Impressions) -> np.ndarray:
        ranks = self.shop.item_scatter.ranks(rows.item_id)
        popularity = np.where(ranks < 0, 0.0, 1.0 / (1.0 + ranks / HEAD_ITEMS))
        return (
            self.position_weights[np.minimum(rows.position, NUM_POSITIONS) - 1]
            + PRICE_EFFECT * _standard_price(rows.price)
            + ITEM_EFFECT * popularity * _hashed_normals(self.shop, rows.item_id, "item")
            + USER_EFFECT * _hashed_normals(self.shop, rows.user_id, "user")
        )

    def _codes(self, rows: Impressions, name: str) -> np.ndarray | Ragged:
        if name != "recent_items":
            return getattr(rows, name)
        return Ragged(rows.recent_items.lengths, self.shop.categories_of(rows.recent_items.values))

    def _calibrate(self, click_rate: float) -> float:
        """The bias with which a typical day has the wanted click rate, by bisection."""
        day = datetime.date(2026, 1, 7)
        parts = [draw(self.shop, day, hour, 0, 1, rows) for hour, rows in enumerate(hour_rows(day, CALIBRATION_ROWS))]
        effects = self.signal * np.concatenate([self._effects(part) for part in parts])
        low, high = -20.0, 20.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if _sigmoid(effects + middle).mean() < click_rate else (low, middle)
        return round(low, 4)


@dataclass
class TruthCounts:
    """Impressions and clicks per level of the true logit: all that the best reachable metrics depend on."""

    rows: np.ndarray = field(default_factory=lambda: np.zeros(2 * MAX_LEVEL + 1, dtype=np.int64))
    clicks: np.ndarray = field(default_factory=lambda: np.zeros(2 * MAX_LEVEL + 1, dtype=np.int64))

    def add(self, levels: np.ndarray, clicked: np.ndarray) -> None:
        self.rows += np.bincount(levels + MAX_LEVEL, minlength=len(self.rows))
        self.clicks += np.bincount(levels[clicked] + MAX_LEVEL, minlength=len(self.rows))

    def __add__(self, other: TruthCounts) -> TruthCounts:
        return TruthCounts(self.rows + other.rows, self.clicks + other.clicks)

    def summary(self) -> dict[str, int | float | None]:
        """rows, clicks; `best_*`: of the true probability on the drawn clicks; `expected_*`: on average over all draws.

        AUC is None where there is no click or nothing but clicks, logloss where there are no rows.
        """
        wanted = self.rows * probabilities()
        return {
            "rows": int(self.rows.sum()),
            "clicks": int(self.clicks.sum()),
            "best_auc": _auc(self.clicks, self.rows - self.clicks),
            "best_logloss": _logloss(self.rows, self.clicks),
            "expected_auc": _auc(wanted, self.rows - wanted),
            "expected_logloss": _logloss(self.rows, wanted),
        }

    def to_json(self) -> list[list[int]]:
        """[level, rows, clicks] of every level that has rows."""
        used = np.nonzero(self.rows)[0]
        return np.stack([used - MAX_LEVEL, self.rows[used], self.clicks[used]], axis=1).tolist()

    @classmethod
    def from_json(cls, document: list[list[int]]) -> TruthCounts:
        counts = cls()
        for level, rows, clicks in document:
            counts.rows[level + MAX_LEVEL], counts.clicks[level + MAX_LEVEL] = rows, clicks
        return counts


def probabilities() -> np.ndarray:
    """The click probability of each level, -MAX_LEVEL to MAX_LEVEL."""
    return _sigmoid(np.arange(-MAX_LEVEL, MAX_LEVEL + 1) / STEPS)


def _auc(positives: np.ndarray, negatives: np.ndarray) -> float | None:
    """Chance that a positive lies above a negative, ties half; levels in rising order."""
    pairs = float(positives.sum()) * float(negatives.sum())
    if pairs == 0:
        return None
    below = np.cumsum(negatives) - negatives
    return round(float((positives * (below + 0.5 * negatives)).sum()) / pairs, 9)


def _logloss(rows: np.ndarray, clicks: np.ndarray) -> float | None:
    if rows.sum() == 0:
        return None
    logits = np.arange(-MAX_LEVEL, MAX_LEVEL + 1) / STEPS
    return round(float((rows * np.log1p(np.exp(logits)) - clicks * logits).sum() / rows.sum()), 9)


def _draw_field(seed: int, number: int, name: str) -> Field:
    shares = _field_shares(name)
    weight_size, vector_size = EFFECTS[name]
    normals = _normals(generator(seed, 1000 + number), len(shares) * (1 + DIMENSION)).reshape(
        1 + DIMENSION, len(shares)
    )
    mean = (normals * shares).sum(axis=1, keepdims=True)
    deviation = np.sqrt((normals * normals * shares).sum(axis=1, keepdims=True) - mean * mean)
    standard = np.append((normals - mean) / deviation, np.zeros((1 + DIMENSION, 1)), axis=1)
    return Field(standard[0] * weight_size, np.ascontiguousarray(standard[1:].T) * vector_size)


def _field_shares(name: str) -> np.ndarray:
    if name == "brand":
        return np.full(len(words.BRANDS), 1 / len(words.BRANDS))
    if name == "query":
        return np.full(len(words.QUERY_TOKENS), 1 / len(words.QUERY_TOKENS))
    if name == "context":
        return _shares([weight for values in words.CONTEXT.values() for weight in values.values()])
    tables: dict[str, Mapping[Any, float]] = {
        "age_band": words.AGE_BANDS, "gender": words.GENDERS, "city": words.CITIES, "member_level": words.MEMBER_LEVELS,
        "category": words.CATEGORIES, "device": words.DEVICES, "recent_items": words.CATEGORIES,
    }  # fmt: skip
    return _shares(tables[name].values())


def _look_up(field_: Field, codes: np.ndarray | Ragged) -> tuple[np.ndarray, np.ndarray]:
    """Weights [rows] and vectors [DIMENSION, rows]; the mean over a list."""
    if not isinstance(codes, Ragged):
        return field_.weights[codes], field_.vectors[codes].T
    rows, num_rows = codes.rows, len(codes.lengths)
    share = 1.0 / np.maximum(codes.lengths, 1)
    weights = np.bincount(rows, field_.weights[codes.values], num_rows) * share
    vectors = [np.bincount(rows, field_.vectors[codes.values, k], num_rows) * share for k in range(DIMENSION)]
    return weights, np.stack(vectors)


def _standard_price(price: np.ndarray) -> np.ndarray:
    """ln of the price, shifted and scaled to about [-2, 2]; 0 for a missing price."""
    return np.where(np.isnan(price), 0.0, np.clip((np.log(np.where(np.isnan(price), 50.0, price)) - 4.0) / 1.2, -3, 3))


def _shares(weights: Iterable[float]) -> np.ndarray:
    array = np.asarray(list(weights), dtype=np.float64)
    return array / array.sum()


def _normals(random: np.random.Generator, size: int) -> np.ndarray:
    """Near enough to normal: sums of 12 uniform numbers, the same on every machine."""
    return random.random((12, size)).sum(axis=0) - 6.0


def _hashed_normals(shop: Shop, ids: np.ndarray, purpose: str) -> np.ndarray:
    """A fixed number for each id, mean 0 and variance 1: the sum of 3 uniform numbers, scaled."""
    total = shop.hashed(ids, purpose, 1) + shop.hashed(ids, purpose, 2) + shop.hashed(ids, purpose, 3)
    return (total - 1.5) * 2.0


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logits))
