"""The shop behind the generated log: who its users and items are, and which of them meet in an impression.

Everything is a function of (seed, day, hour, chunk) or of (seed, id), so that any part of the log can be made alone, in
any order, on any machine. Only uniform numbers are drawn, because those do not depend on the mathematics library.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np

from hivemill.data.click_log import vocabulary as words

NUM_CATEGORIES = len(words.CATEGORIES)
BRAND_SHARES = (40, 25, 18, 11, 6)
COLD_USER_SHARE = 0.05
COLD_ITEM_SHARE = 0.04
COLD_AGE_DAYS = 4
"""A new user or item is seen on its first day and on so many days after it, less one."""
FAVOURITE_SHARE = 0.35
"""Impressions that the recommender fills from the user's favourite category."""
NUM_POSITIONS = 12
MAX_QUERY = 4
MAX_RECENT = 8
CONTEXT_KEYS = tuple(words.CONTEXT)
CONTEXT_VALUES = tuple(value for values in words.CONTEXT.values() for value in values)
HOUR_MILLISECONDS = 3_600_000


@dataclass
class Ragged:
    """Values of many rows in one array. `lengths` has -1 for a row without a list (NULL), 0 for an empty list."""

    lengths: np.ndarray
    values: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """The row that each value belongs to."""
        return np.repeat(np.arange(len(self.lengths)), np.maximum(self.lengths, 0))


@dataclass
class Impressions:
    """A chunk of the log before the clicks.
    Categorical columns are codes into data.click_log.vocabulary, -1 is missing."""

    date: datetime.date
    hour: int
    request_milliseconds: np.ndarray
    user_id: np.ndarray
    age_band: np.ndarray
    gender: np.ndarray
    city: np.ndarray
    member_level: np.ndarray
    item_id: np.ndarray
    category: np.ndarray
    brand: np.ndarray
    price: np.ndarray
    position: np.ndarray
    device: np.ndarray
    query: Ragged
    recent_items: Ragged
    context_keys: np.ndarray
    context: Ragged
    luck: np.ndarray
    """Uniform in [0, 1): the impression is clicked where this is below the true probability."""

    def __len__(self) -> int:
        return len(self.user_id)


def generator(*key: int) -> np.random.Generator:
    """A random stream of its own for each key (non-negative integers)."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


class Popularity:
    """Long-tailed choice among `size` ranks: rank r has weight 1 / (r + shift), Zipf's law with a blunted head."""

    def __init__(self, size: int, shift: float):
        self.cumulative = _cumulative(1.0 / (np.arange(size) + shift))

    def pick(self, uniform: np.ndarray) -> np.ndarray:
        return _pick(self.cumulative, uniform)


class Scatter:
    """One-to-one between popularity ranks and ids 1 to size, so that ids tell nothing."""

    def __init__(self, size: int, seed: int):
        factor = max(1, int(size * 0.6180339887))
        while gcd(factor, size) != 1:
            factor += 1
        self.size, self.factor, self.offset = size, factor, seed % size
        self.inverse = pow(factor, -1, size) if size > 1 else 0

    def ids(self, ranks: np.ndarray) -> np.ndarray:
        return 1 + (ranks * self.factor + self.offset) % self.size

    def ranks(self, ids: np.ndarray) -> np.ndarray:
        """Ranks of ids 1 to size; -1 for others."""
        ranks = (ids - 1 - self.offset) % self.size * self.inverse % self.size
        return np.where(ids <= self.size, ranks, -1)


class Shop:
    """Users and items of one seed."""

    def __init__(self, seed: int, num_users: int, num_items: int):
        self.seed, self.num_users, self.num_items = seed, num_users, num_items
        self.user_scatter, self.item_scatter = Scatter(num_users, seed), Scatter(num_items, seed)
        self.users = Popularity(num_users, shift=60)
        weights = 1.0 / (np.arange(num_items) + 20.0)
        categories = self.categories_of(self.item_scatter.ids(np.arange(num_items)))
        # Ranks sorted by category: one cumulative sum then serves a choice among all items or within a category.
        self.shelf = np.argsort(categories, kind="stable")
        self.shelf_cumulative = _cumulative(weights[self.shelf])
        self.shelf_starts = np.searchsorted(categories[self.shelf], np.arange(NUM_CATEGORIES + 1))

    def categories_of(self, item_ids: np.ndarray) -> np.ndarray:
        return _choose(words.CATEGORIES.values(), self.hashed(item_ids, "category"))

    def hashed(self, ids: np.ndarray, purpose: str, salt: int = 0) -> np.ndarray:
        """Uniform in [0, 1), a function of (seed, purpose, salt, id): splitmix64, which needs no state."""
        key = np.uint64(
            int.from_bytes(purpose.encode()[:8].ljust(8, b"\0"), "little") ^ (self.seed * 0x9E3779B1 % 2**64)
        )
        bits = _mix(np.asarray(ids).astype(np.uint64) + _mix(np.array([key ^ np.uint64(salt)])))
        return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def pick_items(self, uniform: np.ndarray, categories: np.ndarray) -> np.ndarray:
        """Item ids by popularity, within `categories` where that is not -1."""
        bounds = np.concatenate(([0.0], self.shelf_cumulative))[self.shelf_starts]
        low = np.where(categories < 0, 0.0, bounds[categories])
        high = np.where(categories < 0, 1.0, bounds[categories + 1])
        # A category without items (tiny shops) falls back on its neighbour on the shelf.
        place = _pick(self.shelf_cumulative, low + uniform * (high - low))
        return self.item_scatter.ids(self.shelf[place])

    def new_ids(self, uniform: np.ndarray, date: datetime.date, size: int) -> np.ndarray:
        """Ids, beyond 1 to `size`, of users or items that came on `date` or shortly before it."""
        per_day = max(1, size // 200)
        day = date.toordinal() - np.floor(uniform * COLD_AGE_DAYS).astype(np.int64)
        return size + day * per_day + 1 + np.floor(uniform * COLD_AGE_DAYS % 1.0 * per_day).astype(np.int64)


def hour_rows(date: datetime.date, rows_per_day: int) -> list[int]:
    """Impressions in each of the 24 hours of `date`: busier at weekends and in the evening."""
    weekday = date.weekday()
    shares = words.HOUR_SHARES_WEEKEND if weekday >= 5 else words.HOUR_SHARES_WEEKDAY
    total = round(rows_per_day * words.WEEKDAY_VOLUMES[weekday])
    ends = [total * sum(shares[: hour + 1]) // sum(shares) for hour in range(24)]
    return [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def draw(shop: Shop, date: datetime.date, hour: int, chunk: int, num_chunks: int, num_rows: int) -> Impressions:
    """Chunk number `chunk` of an hour, `num_rows` impressions in time order."""
    random = generator(shop.seed, date.toordinal(), hour, chunk).random
    users = _draw_users(shop, date, random(num_rows), random(num_rows), random(num_rows))
    favourite = users.pop("favourite")
    items = _draw_items(shop, date, favourite, random((4, num_rows)))
    milliseconds = np.sort(np.floor((chunk + random(num_rows)) / num_chunks * HOUR_MILLISECONDS).astype(np.int64))
    position = 1 + np.floor(random(num_rows) * NUM_POSITIONS).astype(np.int64)
    device = _missing(_choose(words.DEVICES.values(), random(num_rows)), random(num_rows) < 0.01)
    query = _draw_query(items["category"], random(num_rows), random((3, num_rows, MAX_QUERY)))
    is_known = users["user_id"] <= shop.num_users
    recent_items = _draw_recent(shop, favourite, is_known, random(num_rows), random((2, num_rows, MAX_RECENT)))
    context_keys, context = _draw_context(random((2, num_rows, len(CONTEXT_KEYS))), random(num_rows))
    start = (date.toordinal() - datetime.date(1970, 1, 1).toordinal()) * 24 + hour
    return Impressions(
        date=date, hour=hour, request_milliseconds=start * HOUR_MILLISECONDS + milliseconds, **users, **items,
        position=position, device=device, query=query, recent_items=recent_items,
        context_keys=context_keys, context=context, luck=random(num_rows),
    )  # fmt: skip


def _draw_users(
    shop: Shop, date: datetime.date, which: np.ndarray, is_new: np.ndarray, new: np.ndarray
) -> dict[str, Any]:
    known = shop.user_scatter.ids(shop.users.pick(which))
    ids = np.where(is_new < COLD_USER_SHARE, shop.new_ids(new, date, shop.num_users), known)
    age_band = _choose(words.AGE_BANDS.values(), shop.hashed(ids, "age"))
    gender = _choose(words.GENDERS.values(), shop.hashed(ids, "gender"))
    city = _choose(words.CITIES.values(), shop.hashed(ids, "city"))
    member_level = _choose(words.MEMBER_LEVELS.values(), shop.hashed(ids, "member"))
    return {
        "user_id": ids,
        "age_band": _missing(age_band, shop.hashed(ids, "no age") < 0.08),
        "gender": _missing(gender, shop.hashed(ids, "nogender") < 0.12),
        "city": _missing(city, shop.hashed(ids, "no city") < 0.03),
        "member_level": member_level,
        "favourite": _choose(words.CATEGORIES.values(), shop.hashed(ids, "favours")),
    }


def _draw_items(shop: Shop, date: datetime.date, favourite: np.ndarray, uniform: np.ndarray) -> dict[str, Any]:
    wanted = np.where(uniform[1] < FAVOURITE_SHARE, favourite, -1)
    known = shop.pick_items(uniform[0], wanted)
    ids = np.where(
        uniform[2] < COLD_ITEM_SHARE, shop.new_ids(uniform[2] / COLD_ITEM_SHARE % 1, date, shop.num_items), known
    )
    category = shop.categories_of(ids)
    brand = category * words.BRANDS_PER_CATEGORY + _choose(BRAND_SHARES, shop.hashed(ids, "brand"))
    luxury = shop.hashed(ids, "price")
    on_sale = shop.hashed(ids, "sale", date.toordinal()) < 0.1
    factor = (0.35 + 0.7 * luxury + 1.6 * luxury * luxury * luxury * luxury) * np.where(on_sale, 0.8, 1.0)
    cents = np.floor(np.asarray(words.MEAN_PRICES)[category] * factor * 100)
    return {
        "item_id": ids,
        "category": category,
        "brand": _missing(brand, shop.hashed(ids, "no brand") < 0.04),
        "price": np.where(uniform[3] < 0.04, np.nan, cents / 100),
    }


def _draw_query(category: np.ndarray, how_long: np.ndarray, uniform: np.ndarray) -> Ragged:
    """Half of the impressions have no query; 2 % have an empty one; most words are about the item's category."""
    lengths = _choose((50, 2, 22, 16, 7, 3), how_long) - 1
    about = np.where(uniform[0] < 0.6, category[:, None], np.floor(uniform[1] * NUM_CATEGORIES).astype(np.int64))
    tokens = about * words.TOKENS_PER_CATEGORY + np.floor(uniform[2] * words.TOKENS_PER_CATEGORY).astype(np.int64)
    return Ragged(lengths, tokens[np.arange(MAX_QUERY) < lengths[:, None]])


def _draw_recent(
    shop: Shop, favourite: np.ndarray, is_known: np.ndarray, how_long: np.ndarray, uniform: np.ndarray
) -> Ragged:
    """New users have no history; a known one's has 0 to 8 items, more than half of the favourite category."""
    lengths = np.where(is_known, np.floor(how_long * (MAX_RECENT + 1)).astype(np.int64), -1)
    present = np.arange(MAX_RECENT) < lengths[:, None]
    wanted = np.where(uniform[0] < 0.6, favourite[:, None], -1)[present]
    return Ragged(lengths, shop.pick_items(uniform[1][present], wanted))


def _draw_context(uniform: np.ndarray, is_null: np.ndarray) -> tuple[np.ndarray, Ragged]:
    """Keys and values of the map: the page always, the network mostly, a campaign in three rows of ten; 1 % NULL."""
    present = uniform[0] < np.array([1.0, 0.9, 0.3])
    present[is_null < 0.01] = False
    sizes = [len(values) for values in words.CONTEXT.values()]
    starts = np.cumsum([0, *sizes[:-1]])
    chosen = [_choose(values.values(), uniform[1][:, key]) for key, values in enumerate(words.CONTEXT.values())]
    values = np.stack(chosen, axis=1) + starts
    lengths = np.where(is_null < 0.01, -1, present.sum(axis=1))
    return np.nonzero(present)[1], Ragged(lengths, values[present])


def _choose(weights: Iterable[float], uniform: np.ndarray) -> np.ndarray:
    return _pick(_cumulative(np.asarray(list(weights), dtype=np.float64)), uniform)


def _cumulative(weights: np.ndarray) -> np.ndarray:
    cumulative = np.cumsum(weights)
    return cumulative / cumulative[-1]


def _pick(cumulative: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    return np.minimum(np.searchsorted(cumulative, uniform, side="right"), len(cumulative) - 1)


def _missing(codes: np.ndarray, missing: np.ndarray) -> np.ndarray:
    return np.where(missing, -1, codes)


def _mix(bits: np.ndarray) -> np.ndarray:
    """The output function of splitmix64 (Steele, Lea, Flood 2014), after one step of its counter."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
