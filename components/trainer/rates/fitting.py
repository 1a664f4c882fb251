"""Click rates of a training split: which ones, their tables for serving, and the numbers of the training rows.

A *combination* is a field by itself or a pair of single-valued fields. Memory: about 16 bytes a counted row and column,
and 30 bytes a counted row for the combination at hand; the rows' numbers go to disk.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hivemill.components.trainer.rates import pairs
from hivemill.components.trainer.rates.counting import Occurrences, blocks_of, bounded_share, factorise, priors_by_block
from hivemill.components.trainer.rates.rows import CountedRows
from hivemill.components.trainer.rates.smoothing import Scaling, Smoothing, choose, numbers

_MAX_TABLE_KEYS = 4_000_000  # of all pairs together: 64 MB in the SavedModel; the rarest are left out beyond


@dataclasses.dataclass(frozen=True)
class RateTable:
    """What serving looks up for one combination: keys int64 [U], ascending; their numbers float32 [U, 2], unscaled."""

    columns: tuple[int, ...]  # one or two single-valued columns; () for a multivalent field
    bag: str | None
    num_keys: int  # how many keys there can be: ids, or products of ids
    second_ids: int  # of a pair: key = first id * second_ids + second id; else 1
    keys: np.ndarray
    numbers: np.ndarray
    impressions: np.ndarray
    smoothing: Smoothing
    scaling: Scaling


@dataclasses.dataclass(frozen=True)
class FittedRates:
    """The tables, and the numbers of the counted rows: float16 [N, R] on disk, R = 2 * len(tables)."""

    tables: list[RateTable]
    training_numbers: np.ndarray
    boundaries: list[np.ndarray]
    prior: float


def fit(rows: CountedRows, max_pairs: int, strict: bool, scratch: Path) -> FittedRates:
    """Chooses the combinations that tell of clicks on rows whose block was not counted, and counts them."""
    blocks = blocks_of(rows.num_rows)
    tables: list[RateTable] = []
    columns: list[Path] = []
    for combination in _combinations(rows, max_pairs, strict):
        occurrences, distinct = combination.occurrences(rows, blocks)
        smoothing = choose(occurrences, strict)
        if not smoothing.is_useful:
            continue
        of_rows = combination.of_rows(rows, _unseen_numbers(occurrences, smoothing, strict))
        scaling = Scaling.of(of_rows)
        columns.append(scratch / f"{len(tables)}.npy")
        np.save(columns[-1], scaling.of_numbers(of_rows).T.astype(np.float16))
        tables.append(_table(combination, occurrences, distinct, smoothing, scaling))
    training_numbers = _stacked(columns, rows.num_rows, scratch / "numbers.npy")
    prior = float(bounded_share(rows.clicks.sum(dtype=np.float64), rows.weights.sum(dtype=np.float64)))
    return FittedRates(_without_rarest(tables), training_numbers, rows.boundaries, prior)


@dataclasses.dataclass(frozen=True)
class _Combination:
    columns: tuple[int, ...]
    bag: str | None
    num_keys: int
    second_ids: int = 1

    def occurrences(self, rows: CountedRows, blocks: np.ndarray) -> tuple[Occurrences, np.ndarray]:
        """Each occurrence of a key, and the distinct keys."""
        if self.bag is None:
            codes, distinct = factorise(pairs.keys_of(rows, self.columns), self.num_keys)
            return Occurrences(codes, len(distinct), blocks, rows.weights, rows.clicks), distinct
        bag = rows.bags[self.bag]
        row_of_value = np.repeat(np.arange(rows.num_rows), np.diff(bag.splits))
        codes, distinct = factorise(bag.ids, self.num_keys)
        of_values = (each[row_of_value] for each in (blocks, rows.weights, rows.clicks))
        return Occurrences(codes, len(distinct), *of_values), distinct

    def of_rows(self, rows: CountedRows, of_occurrences: np.ndarray) -> np.ndarray:
        """[N, 2]: the numbers of a row, for a multivalent field the mean over its values; 0 without values."""
        if self.bag is None:
            return of_occurrences
        lengths = np.diff(rows.bags[self.bag].splits)
        row_of_value = np.repeat(np.arange(rows.num_rows), lengths)
        sums = [np.bincount(row_of_value, column, rows.num_rows) for column in of_occurrences.T]
        return (np.stack(sums, axis=1) / np.maximum(lengths, 1)[:, np.newaxis]).astype(np.float32)


def _combinations(rows: CountedRows, max_pairs: int, strict: bool) -> Iterator[_Combination]:
    for column, num_ids in enumerate(rows.num_ids):
        yield _Combination((column,), None, num_ids)
    for field, num_ids in rows.bag_num_ids.items():
        if len(rows.bags[field].ids):
            yield _Combination((), field, num_ids)
    for pair in pairs.choose_pairs(rows, max_pairs, strict):
        yield _Combination(pair, None, rows.num_ids[pair[0]] * rows.num_ids[pair[1]], rows.num_ids[pair[1]])


def _unseen_numbers(occurrences: Occurrences, smoothing: Smoothing, strict: bool) -> np.ndarray:
    """[occurrences, 2]: what each one may know, which is never anything of its own block."""
    prior = priors_by_block(occurrences, strict)
    found = np.zeros((len(occurrences.codes), 2), np.float32)
    for places, counts in occurrences.parts():
        by_cell = numbers(*counts.seen_by_blocks(strict), prior, smoothing.strength)
        found[places] = by_cell.reshape(-1, 2)[counts.cells]
    return found


def _table(
    combination: _Combination, occurrences: Occurrences, distinct: np.ndarray, smoothing: Smoothing, scaling: Scaling
) -> RateTable:
    impressions, clicks = occurrences.totals()
    prior = float(bounded_share(occurrences.clicks.sum(dtype=np.float64), occurrences.weights.sum(dtype=np.float64)))
    raw = numbers(impressions, clicks, prior, smoothing.strength)
    return RateTable(
        **vars(combination), keys=distinct, numbers=raw, impressions=impressions, smoothing=smoothing, scaling=scaling
    )


def _without_rarest(tables: Sequence[RateTable]) -> list[RateTable]:
    """Of pairs, the keys with the fewest impressions go until all fit; a key that went counts as never seen."""
    least = 0.0
    of_pairs = [table.impressions for table in tables if len(table.columns) == 2]
    if sum(map(len, of_pairs)) > _MAX_TABLE_KEYS:
        least = float(np.partition(np.concatenate(of_pairs), -_MAX_TABLE_KEYS)[-_MAX_TABLE_KEYS])
    return [_pruned(table, least) if len(table.columns) == 2 else table for table in tables]


def _pruned(table: RateTable, least: float) -> RateTable:
    kept = table.impressions > least if least else np.ones(len(table.keys), bool)
    parts = {name: getattr(table, name)[kept] for name in ("keys", "numbers", "impressions")}
    return dataclasses.replace(table, **parts)


def _stacked(columns: Sequence[Path], num_rows: int, path: Path) -> Any:
    """The numbers of all combinations as rows of one memory map, [N, R]; the files of the columns are removed."""
    if not columns:
        return np.zeros((num_rows, 0), np.float16)
    stacked = np.lib.format.open_memmap(path, "w+", np.float16, (num_rows, 2 * len(columns)))
    maps = [np.load(column, mmap_mode="r") for column in columns]
    for start, end in itertools.pairwise([*range(0, num_rows, 65_536), num_rows]):
        stacked[start:end] = np.concatenate([each[:, start:end] for each in maps]).T
    for column in columns:
        column.unlink()
    return stacked
