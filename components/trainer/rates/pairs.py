"""Which pairs of single-valued columns get a rate of their own."""

from __future__ import annotations

import itertools

import numpy as np

from hivemill.components.trainer.rates.counting import Occurrences, blocks_of, factorise, priors_by_block
from hivemill.components.trainer.rates.rows import CountedRows
from hivemill.components.trainer.rates.smoothing import numbers

_REPEATS = 1.02  # a pair with at most so many times the keys of one of its columns says nothing new
_ALMOST_UNIQUE = 0.98  # keys by rows from which on a pair names rows, not habits
_SAMPLE_ROWS = 50_000
_SAMPLE_STRENGTH = 10.0


def keys_of(rows: CountedRows, columns: tuple[int, ...], chosen: slice = slice(None)) -> np.ndarray:
    """One key per row: the id, or for a pair first id * ids of the second column + second id. Integers [N]."""
    first = rows.columns[columns[0]][chosen]
    if len(columns) == 1:
        return first
    return first.astype(np.int64) * rows.num_ids[columns[1]] + rows.columns[columns[1]][chosen]


def choose_pairs(rows: CountedRows, max_pairs: int, strict: bool) -> list[tuple[int, int]]:
    """At most `max_pairs`: those that correlate most with what the single rates leave unexplained on a sample."""
    if max_pairs == 0:
        return []
    distinct = [int(np.count_nonzero(np.bincount(column, minlength=1))) for column in rows.columns]
    candidates = [
        pair for pair in itertools.combinations(range(len(distinct)), 2) if min(distinct[c] for c in pair) > 1
    ]
    if len(candidates) > max_pairs:
        scores = _scores(rows, candidates, strict)
        order = np.argsort(-scores, kind="stable")
        candidates = [candidates[place] for place in order if scores[place] > 0]
    kept = itertools.islice((pair for pair in candidates if _tells_more(rows, pair, distinct)), max_pairs)
    return sorted(kept)


def _tells_more(rows: CountedRows, pair: tuple[int, int], distinct: list[int]) -> bool:
    num_keys = len(factorise(keys_of(rows, pair), rows.num_ids[pair[0]] * rows.num_ids[pair[1]])[1])
    return num_keys > _REPEATS * max(distinct[c] for c in pair) and num_keys < _ALMOST_UNIQUE * rows.num_rows


def _scores(rows: CountedRows, candidates: list[tuple[int, int]], strict: bool) -> np.ndarray:
    """|correlation| of each pair's log-odds with the residuals of a logistic regression on all single log-odds."""
    sample = slice(None, None, max(1, rows.num_rows // _SAMPLE_ROWS))
    num_sampled = len(rows.clicks[sample])
    blocks = blocks_of(num_sampled)

    def log_odds(columns: tuple[int, ...]) -> np.ndarray:
        num_keys = int(np.prod([rows.num_ids[c] for c in columns], dtype=np.int64))
        codes, distinct = factorise(keys_of(rows, columns, sample), num_keys)
        occurrences = Occurrences(codes, len(distinct), blocks, rows.weights[sample], rows.clicks[sample])
        prior, found = priors_by_block(occurrences, strict), np.zeros(num_sampled, np.float32)
        for places, counts in occurrences.parts():
            by_cell = numbers(*counts.seen_by_blocks(strict), prior, _SAMPLE_STRENGTH)[..., 0]
            found[places] = by_cell.reshape(-1)[counts.cells]
        return found

    singles = np.stack([log_odds((c,)) for c in range(len(rows.columns))], axis=1)
    residuals = _residuals(singles, rows.clicks[sample], rows.weights[sample])
    return np.array([_correlation(log_odds(pair), residuals) for pair in candidates])


def _residuals(singles: np.ndarray, clicks: np.ndarray, weights: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression  # imported where it is fitted: 1 s

    labels = np.divide(clicks, weights, out=np.zeros_like(clicks), where=weights > 0) > 0.5
    if labels.all() or not labels.any():
        return np.zeros(len(labels))
    model = LogisticRegression(C=1.0, max_iter=200).fit(singles, labels, weights)
    return labels - model.predict_proba(singles)[:, 1]


def _correlation(values: np.ndarray, residuals: np.ndarray) -> float:
    deviation = values.std() * residuals.std()
    return abs(float(np.mean((values - values.mean()) * residuals) / deviation)) if deviation > 0 else 0.0
