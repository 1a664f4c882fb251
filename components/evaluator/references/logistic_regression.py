"""A logistic regression on the tensors of the model's own transform: ids as ones in hashed columns."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import scipy.sparse

from hivemill.components.evaluator.metrics import click_summary
from hivemill.components.evaluator.references.transformed import Tensors

_HASHED_COLUMNS = 1 << 18
_PENALTIES = (0.03, 0.3)  # inverse strengths of L2; the better of them on a part of the training sample is taken
_HELD_OUT = 5  # every fifth row


def fit_and_predict(train: Tensors, labels: np.ndarray, evaluation: Tensors) -> np.ndarray:
    """float64[N] probabilities for the rows of `evaluation`."""
    from sklearn.linear_model import LogisticRegression  # 1 s, and not every run needs it

    scale = _scale(train)
    design = _design(train, scale)
    seen = np.unique(design.indices)  # the solver's steps are as long as the columns are many; the others stay zero
    design = design[:, seen]
    held = np.arange(len(labels)) % _HELD_OUT == 0

    def loss(fitted: LogisticRegression) -> float:
        predictions = fitted.predict_proba(design[held])[:, 1]
        return click_summary.metrics_of(click_summary.summarize(labels[held], predictions))["logloss"]

    tried = [LogisticRegression(C=penalty, max_iter=60, warm_start=True) for penalty in _PENALTIES]
    best = min((one.fit(design[~held], labels[~held]) for one in tried), key=loss)
    best.fit(design, labels)  # on all rows, from where it stands
    return best.predict_proba(_design(evaluation, scale)[:, seen])[:, 1]


def _scale(outputs: Tensors) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    numbers = {name: v for name, v in outputs.items() if not isinstance(v, tuple) and v.dtype.kind == "f"}
    return {name: (np.nanmean(v, axis=0), np.nanstd(v, axis=0) + 1e-6) for name, v in numbers.items()}


def _design(outputs: Tensors, scale: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> scipy.sparse.csr_matrix:
    """A row per example: ids as ones in hashed columns, numbers standardised by the training sample."""
    ids: list[tuple[np.ndarray, np.ndarray]] = []
    numbers = []
    num_rows = 0
    for name, value in sorted(outputs.items()):
        seed = zlib.crc32(name.encode())
        if isinstance(value, tuple):
            if value[1].dtype.kind == "i":
                ids.append((value[0], _hashed(value[1], seed)))
            continue  # the weights of a map's items: the regression counts each item once
        num_rows = len(value)
        if value.dtype.kind == "f":
            mean, deviation = scale[name]
            numbers.append(np.nan_to_num((value - mean) / deviation))
        else:
            for column, of_column in enumerate(value.T):
                ids.append((np.arange(len(value)), _hashed(of_column, seed + column)))
    nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64))
    rows, columns = map(np.concatenate, zip(nothing, *ids, strict=True))
    hashed = scipy.sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), (num_rows, _HASHED_COLUMNS))
    return scipy.sparse.hstack([hashed, *map(scipy.sparse.csr_matrix, numbers)], format="csr")


def _hashed(ids: np.ndarray, seed: int) -> np.ndarray:
    """Fibonacci hashing of (column, id)."""
    mixed = (ids.astype(np.uint64) + np.uint64(seed) * np.uint64(0x9E3779B1)) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(64 - 18)).astype(np.int64)
