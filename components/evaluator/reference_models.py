"""Two trivial models beside the candidate: the training split's click rate, and a logistic regression.

A DeepFM that does not beat them has a defect, whatever its AUC. The regression sees what the candidate sees: the
tensors of its own `transformed_features` signature, one column per id. Both are judged on a sample of the eval split
on which the candidate is judged too, row by row, so that the difference has an interval.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse
import tensorflow as tf

from hivemill.components.evaluator.gate_entries import figure
from hivemill.components.evaluator.metrics import bootstrap, click_summary, comparison

GLOBAL_CTR, LOGISTIC_REGRESSION = "global_ctr", "logistic_regression"
PROBABILITY_KEY, TRANSFORM_SIGNATURE = "click_probability", "transformed_features"
_BATCH_ROWS = 2048
_HASHED_COLUMNS = 1 << 18
_PENALTIES = (0.03, 0.3)  # inverse strengths of L2; the better of them on a part of the training sample is taken
_HELD_OUT = 5  # every fifth row

Rows = tuple[np.ndarray, np.ndarray]  # serialised examples, labels


def predict(model: Any, records: np.ndarray) -> np.ndarray:
    """float64[N] click probabilities of the SavedModel's serving_default."""
    serve = model.signatures["serving_default"]
    parts = [serve(tf.constant(batch))[PROBABILITY_KEY].numpy().reshape(-1) for batch in _batches(records)]
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)


def compare(
    model: Any,
    train: Rows,
    evaluation: Rows,
    predictions: np.ndarray,
    with_regression: bool,
    kept_negatives: float = 1.0,
) -> dict[str, Any]:
    """The `references` section of verdict.json: {rows, train_rows, candidate, models: [{name, …, difference}]}.

    `predictions` are the candidate's for `evaluation`; `difference` is the candidate less the reference. Both splits
    need both classes. `train` has `kept_negatives` of its negatives: what is learnt from it is corrected as the
    candidate is (components/trainer/signatures.py).
    """
    records, labels = evaluation
    candidate = _judged(labels, predictions)
    of_references = {GLOBAL_CTR: np.full(len(labels), train[1].mean())}
    if with_regression and TRANSFORM_SIGNATURE in model.signatures:
        of_references[LOGISTIC_REGRESSION] = _regression(model, train, records)
    return {
        "rows": len(labels),
        "train_rows": len(train[1]),
        "candidate": candidate[0],
        "models": [
            _reference(name, _judged(labels, _corrected(each, kept_negatives)), candidate)
            for name, each in of_references.items()
        ],
    }


def _corrected(p: np.ndarray, kept_negatives: float) -> np.ndarray:
    return p / (p + (1 - p) / kept_negatives)


def findings(references: Mapping[str, Any] | None, first_rank: int) -> list[dict[str, Any]]:
    """An amber finding for each reference that is better than the candidate by more than luck."""
    worse = [
        one
        for one in (references or {}).get("models", ())
        if one["difference"].get("normalized_entropy", {}).get("meaning") == "loss"
    ]
    return [_finding(one, references, first_rank + place) for place, one in enumerate(worse)]


def _finding(one: Mapping[str, Any], references: Mapping[str, Any], rank: int) -> dict[str, Any]:
    seen, mine = one["metrics"]["normalized_entropy"], references["candidate"]["normalized_entropy"]
    words = {GLOBAL_CTR: "always the click rate", LOGISTIC_REGRESSION: "a logistic regression on the same features"}
    message = (
        f"{words[one['name']]} does better than the model: normalised entropy {figure(seen)} against {figure(mine)}, "
        f"on {references['rows']:,} rows"
    )
    return {
        "severity": "amber",
        "kind": "normalized_entropy",
        "slice": {},
        "value": mine,
        "message": message,
        "cause": "worse_than_reference",
        "rank": rank,
    }


def _judged(labels: np.ndarray, predictions: np.ndarray) -> tuple[dict[str, float | None], np.ndarray]:
    summary = click_summary.summarize(labels, predictions)
    values = click_summary.metrics_of(summary)
    named = {name: value if np.isfinite(value) else None for name, value in values.items()}
    return {name: named[name] for name in bootstrap.METRICS}, bootstrap.replicates(summary.groups)


def _reference(name: str, judged: tuple, candidate: tuple) -> dict[str, Any]:
    return {
        "name": name,
        "metrics": judged[0],
        "intervals": comparison.intervals(*judged),
        "difference": comparison.differences(*candidate, *judged),
    }


def _regression(model: Any, train: Rows, records: np.ndarray) -> np.ndarray:
    """float64[N] probabilities for `records` of the regression fitted on `train`."""
    from sklearn.linear_model import LogisticRegression  # 1 s, and not every run needs it

    train_outputs = _transformed(model, train[0])
    scale = _scale(train_outputs)
    design, labels = _design(train_outputs, scale), train[1]
    seen = np.unique(design.indices)  # the solver's steps are as long as the columns are many; the others stay zero
    design = design[:, seen]
    held = np.arange(len(labels)) % _HELD_OUT == 0

    def loss(fitted: LogisticRegression) -> float:
        predictions = fitted.predict_proba(design[held])[:, 1]
        return click_summary.metrics_of(click_summary.summarize(labels[held], predictions))["logloss"]

    tried = [LogisticRegression(C=penalty, max_iter=60, warm_start=True) for penalty in _PENALTIES]
    best = min((one.fit(design[~held], labels[~held]) for one in tried), key=loss)
    best.fit(design, labels)  # on all rows, from where it stands
    return best.predict_proba(_design(_transformed(model, records), scale)[:, seen])[:, 1]


def _transformed(model: Any, records: np.ndarray) -> dict[str, Any]:
    """The signature's tensors over all rows: dense as arrays, sparse as (row, value) pairs."""
    transform = model.signatures[TRANSFORM_SIGNATURE]
    parts: dict[str, list[Any]] = {}
    first_row = 0
    for batch in _batches(records):
        for name, value in transform(tf.constant(batch)).items():
            if isinstance(value, tf.SparseTensor):
                found = (value.indices.numpy()[:, 0] + first_row, value.values.numpy())
            else:
                found = value.numpy().reshape(len(batch), -1)
            parts.setdefault(name, []).append(found)
        first_row += len(batch)
    return {name: _joined(values) for name, values in parts.items()}


def _joined(values: list[Any]) -> Any:
    if isinstance(values[0], tuple):
        return tuple(np.concatenate(column) for column in zip(*values, strict=True))
    return np.concatenate(values)


def _scale(outputs: Mapping[str, Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    numbers = {name: v for name, v in outputs.items() if not isinstance(v, tuple) and v.dtype.kind == "f"}
    return {name: (np.nanmean(v, axis=0), np.nanstd(v, axis=0) + 1e-6) for name, v in numbers.items()}


def _design(outputs: Mapping[str, Any], scale: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> scipy.sparse.csr_matrix:
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


def _batches(records: np.ndarray) -> list[list[bytes]]:
    return [records[start : start + _BATCH_ROWS].tolist() for start in range(0, len(records), _BATCH_ROWS)]
