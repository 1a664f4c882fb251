"""LightGBM on the tensors of the model's own transform: what a network leaves on the table.

Fields of few ids are native categories. An id field of many is three numbers, as LightGBM's documentation advises
against native categories there: the id (vocabularies are ordered by frequency), the smoothed log-odds of a click, and
the log count, for training rows counted out of fold, in contiguous blocks of the sample (Micci-Barreca, 2001).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from hivemill.components.evaluator.references.transformed import Tensors

MAX_CATEGORIES = 10
_BLOCKS = 10
_SMOOTHING = 10.0  # impressions at the mean click rate that every id begins with
_MAX_ROUNDS, _PATIENCE = 400, 25
_MIN_STOPPING_CLICKS = 20  # in the rows that say when to stop
_OPTIONS: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "num_threads": 1,  # at these sizes two threads take five times the CPU: they wait for each other by spinning
    "seed": 7,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


@dataclasses.dataclass(frozen=True)
class Sample:
    """Transformed rows in the order of the log, and their labels, float64[N], 0 or 1."""

    tensors: Tensors
    labels: np.ndarray


def fit_and_predict(train: Sample, watched: Sample | None, evaluation: Sample) -> np.ndarray:
    """float64[N] probabilities for the rows of `evaluation`.

    `watched` says when to stop; the last fifth of `train` does where there is none, or where it has too few clicks.
    """
    import lightgbm  # not every run needs it

    columns = _Columns(train)
    matrix = columns.of_training_rows()
    if watched is not None and min(watched.labels.sum(), (1 - watched.labels).sum()) >= _MIN_STOPPING_CLICKS:
        rows = slice(None)
        stop_rows, stop_labels = columns.of(watched), watched.labels
    else:
        cut = len(matrix) * 4 // 5
        rows = slice(cut)
        stop_rows, stop_labels = matrix[cut:], train.labels[cut:]
    fitted = lightgbm.Dataset(matrix[rows], train.labels[rows], categorical_feature=columns.categorical)
    booster = lightgbm.train(
        _OPTIONS,
        fitted,
        _MAX_ROUNDS,
        valid_sets=[lightgbm.Dataset(stop_rows, stop_labels, reference=fitted)],
        callbacks=[lightgbm.early_stopping(_PATIENCE, verbose=False)],
    )
    return np.asarray(booster.predict(columns.of(evaluation)), np.float64)


@dataclasses.dataclass(frozen=True)
class _Field:
    """Pairs (row, id) of a field; one pair a row unless the field is multivalent."""

    rows: np.ndarray
    ids: np.ndarray
    is_single: bool


class _Columns:
    """The design matrix: what each field becomes is decided by the training sample."""

    def __init__(self, train: Sample):
        self._train = train
        self._encoders = {
            name: _Encoder(field, train.labels) for name, field in _fields(train.tensors) if len(field.ids)
        }
        self.categorical: list[int] = []
        place = len(_numbers(train.tensors))
        for encoder in self._encoders.values():
            if encoder.is_category:
                self.categorical.append(place)
            place += encoder.width

    def of_training_rows(self) -> np.ndarray:
        return self._matrix(self._train, out_of_fold=True)

    def of(self, sample: Sample) -> np.ndarray:
        return self._matrix(sample, out_of_fold=False)

    def _matrix(self, sample: Sample, out_of_fold: bool) -> np.ndarray:
        """float64[N, columns]"""
        num_rows, fields = len(sample.labels), dict(_fields(sample.tensors))
        columns = _numbers(sample.tensors)
        for name, encoder in self._encoders.items():
            columns += encoder.columns(fields[name], num_rows, out_of_fold)
        return np.column_stack(columns) if columns else np.zeros((num_rows, 1))


class _Encoder:
    """One id field as columns."""

    def __init__(self, field: _Field, labels: np.ndarray):
        self._ids, code_P = np.unique(field.ids, return_inverse=True)
        self.is_category = field.is_single and len(self._ids) <= MAX_CATEGORIES
        self.width = 1 if self.is_category else 3
        if not self.is_category:
            self._count(field, code_P, labels)

    def _count(self, field: _Field, code_P: np.ndarray, labels: np.ndarray) -> None:
        self._code_P, num = code_P, len(self._ids)
        self._block_P = field.rows * _BLOCKS // len(labels)
        self._prior = float(labels.mean())
        cells = self._block_P * num + code_P
        self._shown = np.bincount(cells, minlength=_BLOCKS * num).reshape(_BLOCKS, num)
        self._clicked = np.bincount(cells, labels[field.rows], minlength=_BLOCKS * num).reshape(_BLOCKS, num)

    def columns(self, field: _Field, num_rows: int, out_of_fold: bool) -> list[np.ndarray]:
        if self.is_category:
            codes = np.full(num_rows, np.nan)
            place_P, is_known_P = self._places(field.ids)
            codes[field.rows[is_known_P]] = place_P[is_known_P]
            return [codes]
        shown_P, clicked_P = self._counts_elsewhere() if out_of_fold else self._counts(field.ids)
        odds = (clicked_P + _SMOOTHING * self._prior) / (shown_P - clicked_P + _SMOOTHING * (1 - self._prior))
        first = field.ids if field.is_single else np.ones(len(field.ids))  # of a list: how many values it has
        sums = [np.bincount(field.rows, each, minlength=num_rows) for each in (first, np.log(odds), np.log1p(shown_P))]
        values = np.maximum(np.bincount(field.rows, minlength=num_rows), 1)
        return [sums[0], sums[1] / values, sums[2] / values]

    def _counts_elsewhere(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each training pair's id, in the other blocks."""
        where = (self._block_P, self._code_P)
        return (
            self._shown.sum(axis=0)[self._code_P] - self._shown[where],
            self._clicked.sum(axis=0)[self._code_P] - self._clicked[where],
        )

    def _counts(self, ids_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        place_P, is_known_P = self._places(ids_P)
        return (
            np.where(is_known_P, self._shown.sum(axis=0)[place_P], 0),
            np.where(is_known_P, self._clicked.sum(axis=0)[place_P], 0.0),
        )

    def _places(self, ids_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        place_P = np.minimum(np.searchsorted(self._ids, ids_P), len(self._ids) - 1)
        return place_P, self._ids[place_P] == ids_P


def _numbers(tensors: Tensors) -> list[np.ndarray]:
    dense = [value for _, value in sorted(tensors.items()) if not isinstance(value, tuple) and value.dtype.kind == "f"]
    return [column for value in dense for column in value.T]


def _fields(tensors: Tensors) -> Iterator[tuple[str, _Field]]:
    """Every id field. The weights of a map's items are left out: each item counts once."""
    for name, value in sorted(tensors.items()):
        if isinstance(value, tuple):
            if value[1].dtype.kind == "i":
                yield name, _Field(value[0], value[1], is_single=False)
        elif value.dtype.kind != "f":
            for place, ids in enumerate(value.T):
                yield f"{name}[{place}]", _Field(np.arange(len(value)), ids, is_single=True)
