"""Clicks and impressions by value, in all and by block of rows: what a rate of a row may and may not have seen.

Shapes: N rows or occurrences of values, U distinct keys, F blocks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

NUM_BLOCKS = 10
_KEYS_PER_PART = 200_000  # 10 blocks, and some ten arrays of float64: 160 MB
_DENSE_KEYS = 1 << 22  # up to here keys are found by a table of all possible ones, beyond by sorting


def blocks_of(num_rows: int) -> np.ndarray:
    """The block of each row: contiguous, equally large parts in the order of the rows. uint8 [num_rows]."""
    return (np.arange(num_rows, dtype=np.int64) * NUM_BLOCKS // max(num_rows, 1)).astype(np.uint8)


def factorise(keys: np.ndarray, num_keys: int) -> tuple[np.ndarray, np.ndarray]:
    """(codes int32 [N], distinct keys int64 [U], ascending) with distinct[codes] == keys; keys from 0 to num_keys."""
    if num_keys > max(_DENSE_KEYS, 4 * len(keys)):
        distinct, codes = np.unique(keys, return_inverse=True)
        return codes.astype(np.int32), distinct
    is_there = np.zeros(num_keys, bool)
    is_there[keys] = True
    place = np.cumsum(is_there, dtype=np.int32) - 1
    return place[keys], np.flatnonzero(is_there)


@dataclasses.dataclass(frozen=True)
class Occurrences:
    """Each occurrence of a key: a value of a column, a pair of values, or one of a multivalent field's values."""

    codes: np.ndarray  # int32 [N]
    num_keys: int
    blocks: np.ndarray  # uint8 [N]
    weights: np.ndarray  # float32 [N]
    clicks: np.ndarray  # float32 [N]: weighted

    def totals(self) -> tuple[np.ndarray, np.ndarray]:
        """(impressions, clicks) by key, float64 [U]."""
        return np.bincount(self.codes, self.weights, self.num_keys), np.bincount(self.codes, self.clicks, self.num_keys)

    def parts(self) -> Iterator[tuple[np.ndarray, Counts]]:
        """(places of occurrences, their counts) for so many keys at a time that memory stays bounded.

        In the counts, the codes of a part begin at 0: `codes[places] - first`, which is what the second of them needs.
        """
        for first in range(0, self.num_keys, _KEYS_PER_PART):
            last = min(first + _KEYS_PER_PART, self.num_keys)
            everything = first == 0 and last == self.num_keys
            places = slice(None) if everything else np.flatnonzero((self.codes >= first) & (self.codes < last))
            yield places, Counts.of(self, places, first, last)


@dataclasses.dataclass(frozen=True)
class Counts:
    """Sums of weights (impressions) and of weighted clicks by block and key, float64 [F, U]."""

    impressions: np.ndarray
    clicks: np.ndarray
    cells: np.ndarray  # int64 [N]: where each occurrence is counted, block * U + key

    @classmethod
    def of(cls, all_of: Occurrences, places: Any, first: int, last: int) -> Counts:
        num_keys = last - first
        cells = all_of.blocks[places].astype(np.int64) * num_keys + (all_of.codes[places] - first)
        sums = [np.bincount(cells, values[places], NUM_BLOCKS * num_keys) for values in (all_of.weights, all_of.clicks)]
        return cls(*(each.reshape(NUM_BLOCKS, num_keys) for each in sums), cells)

    def seen_by_blocks(self, strict: bool) -> tuple[np.ndarray, np.ndarray]:
        """(impressions, clicks) [F, U] that a row of each block may use: of the other blocks, or of earlier ones."""
        return seen(self.impressions, strict), seen(self.clicks, strict)


def seen(sums: np.ndarray, strict: bool) -> np.ndarray:
    """Of sums by block [F, ...] those that a row of each block may know."""
    if strict:
        return np.cumsum(sums, axis=0) - sums
    return sums.sum(0, keepdims=True) - sums


def priors_by_block(all_of: Occurrences, strict: bool) -> np.ndarray:
    """The click rate that a row of each block may know, [F, 1]; one half where it knows none."""
    impressions = np.bincount(all_of.blocks, all_of.weights, NUM_BLOCKS)[:, np.newaxis]
    clicks = np.bincount(all_of.blocks, all_of.clicks, NUM_BLOCKS)[:, np.newaxis]
    return bounded_share(seen(clicks, strict), seen(impressions, strict))


def bounded_share(clicks: np.ndarray, impressions: np.ndarray) -> np.ndarray:
    """Clicks by impressions, kept off 0 and 1 by half a click."""
    return (clicks + 0.5) / (impressions + 1)
