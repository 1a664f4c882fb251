"""Permutation importance: what the model loses when a column's values are shuffled among the rows.

(Breiman, Machine Learning 45, 2001; Fisher, Rudin, Dominici, JMLR 20, 2019.) The columns are those that the exported
model reads, so a column behind two features counts once, and a map's keys and values move together.

A serialised tf.Example is a protocol buffer message, and messages that follow one another merge. So a row is taken
apart once, into one small tf.Example for each column that the model reads; a shuffled row is the pieces put together
again, those of the column from another row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from hivemill.components.evaluator.metrics import click_summary
from hivemill.components.evaluator.references import transformed
from hivemill.components.trainer.signature_names import column_name

MIN_ROWS, MAX_ROWS = 1_000, 10_000
MAX_COLUMNS = 100
_SEED = 7
_PREDICT_SIGNATURE, _ROW_LENGTHS_SUFFIX = "predict", "_row_lengths"
_MAP_SUFFIXES = ("_keys", "_values")
_Z = 1.96  # 95 %


def columns_of(model: Any) -> list[tuple[str, ...]]:
    """The raw columns that the model reads, those of a map together; empty without a `predict` signature."""
    if _PREDICT_SIGNATURE not in model.signatures:
        return []
    names = map(column_name, model.signatures[_PREDICT_SIGNATURE].structured_input_signature[1])
    columns = [name for name in sorted(names) if not name.endswith(_ROW_LENGTHS_SUFFIX)]
    groups: dict[str, list[str]] = {}
    for name in columns:
        stems = [name.removesuffix(suffix) for suffix in _MAP_SUFFIXES if name.endswith(suffix)]
        is_map = bool(stems) and all(stems[0] + suffix in columns for suffix in _MAP_SUFFIXES)
        groups.setdefault(stems[0] if is_map else name, []).append(name)
    return [tuple(group) for group in groups.values()]


def importance(model: Any, rows: transformed.Rows, max_predictions: int) -> dict[str, Any] | None:
    """{rows, columns: [{columns, logloss_rise, lower, upper, auc_drop}]}, the most important first.

    None where it would cost more than `max_predictions`, or the model does not say what it reads.
    """
    columns = columns_of(model)[:MAX_COLUMNS]
    wanted = min(MAX_ROWS, len(rows[1]), max_predictions // (len(columns) + 1) if columns else 0)
    if wanted < min(MIN_ROWS, len(rows[1])) or not wanted or not max_predictions:
        return None
    chosen = np.linspace(0, len(rows[1]) - 1, wanted).astype(int)
    records, labels = rows[0][chosen], rows[1][chosen]
    pieces = _pieces(records, columns)
    order = np.random.default_rng(_SEED).permutation(len(records))
    whole = transformed.predict(model, _joined(pieces))
    found = []
    for place, names in enumerate(columns):
        shuffled = transformed.predict(model, _joined([*pieces[:place], pieces[place][order], *pieces[place + 1 :]]))
        found.append({"columns": list(names), **_loss(labels, whole, shuffled)})
    return {"rows": wanted, "columns": sorted(found, key=lambda one: -one["logloss_rise"])}


def _loss(labels: np.ndarray, whole: np.ndarray, shuffled: np.ndarray) -> dict[str, float | None]:
    rise = click_summary.row_logloss(labels, shuffled) - click_summary.row_logloss(labels, whole)
    margin = _Z * rise.std() / np.sqrt(len(rise))
    aucs = [click_summary.metrics_of(click_summary.summarize(labels, each))["auc"] for each in (whole, shuffled)]
    return {
        "logloss_rise": float(rise.mean()),
        "lower": float(rise.mean() - margin),
        "upper": float(rise.mean() + margin),
        "auc_drop": float(aucs[0] - aucs[1]) if np.isfinite(aucs).all() else None,
    }


def _pieces(records: np.ndarray, columns: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """By group of columns bytes[N]: each row with these columns alone; a column that the row lacks is not there."""
    found = [np.empty(len(records), object) for _ in columns]
    for row, record in enumerate(records):
        features = tf.train.Example.FromString(record).features.feature
        for place, group in enumerate(columns):
            made = tf.train.Example()
            for column in group:
                if column in features:
                    made.features.feature[column].CopyFrom(features[column])
            found[place][row] = made.SerializeToString()
    return found


def _joined(pieces: Sequence[np.ndarray]) -> np.ndarray:
    joined = np.empty(len(pieces[0]), object)
    joined[:] = [b"".join(parts) for parts in zip(*pieces, strict=True)]
    return joined
