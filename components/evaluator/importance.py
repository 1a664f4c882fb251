"""Permutation importance: what the model loses when a column's values are shuffled among the rows.

(Breiman, Machine Learning 45, 2001; Fisher, Rudin, Dominici, JMLR 20, 2019.) The columns are those that the exported
model reads, so a column behind two features counts once, and a map's keys and values move together.

A serialised tf.Example is a protocol buffer message, and messages that follow one another merge, a later entry of a
map taking the place of an earlier one: the shuffled example is the bytes of its row, then those of the other row's
column. Nothing is parsed and written anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components.evaluator import click_summary, references

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
    names = model.signatures[_PREDICT_SIGNATURE].structured_input_signature[1]
    columns = [name for name in sorted(names) if not name.endswith(_ROW_LENGTHS_SUFFIX)]
    groups: dict[str, list[str]] = {}
    for name in columns:
        stems = [name.removesuffix(suffix) for suffix in _MAP_SUFFIXES if name.endswith(suffix)]
        is_map = bool(stems) and all(stems[0] + suffix in columns for suffix in _MAP_SUFFIXES)
        groups.setdefault(stems[0] if is_map else name, []).append(name)
    return [tuple(group) for group in groups.values()]


def importance(model: Any, rows: references.Rows, max_predictions: int) -> dict[str, Any] | None:
    """{rows, columns: [{columns, logloss_rise, lower, upper, auc_drop}]}, the most important first.

    None where it would cost more than `max_predictions`, or the model does not say what it reads.
    """
    columns = columns_of(model)[:MAX_COLUMNS]
    wanted = min(MAX_ROWS, len(rows[1]), max_predictions // (len(columns) + 1) if columns else 0)
    if wanted < min(MIN_ROWS, len(rows[1])) or not wanted or not max_predictions:
        return None
    chosen = np.linspace(0, len(rows[1]) - 1, wanted).astype(int)
    records, labels = rows[0][chosen], rows[1][chosen]
    parsed = [tf.train.Example.FromString(record) for record in records]
    whole = references.predict(model, records)
    order = np.random.default_rng(_SEED).permutation(len(records))
    found = [_of_columns(model, each, records, labels, whole, parsed, order) for each in columns]
    return {"rows": wanted, "columns": sorted(found, key=lambda one: -one["logloss_rise"])}


def _of_columns(
    model: Any,
    columns: Sequence[str],
    records: np.ndarray,
    labels: np.ndarray,
    whole: np.ndarray,
    parsed: Sequence[tf.train.Example],
    order: np.ndarray,
) -> dict[str, Any]:
    values = np.array([_only(example, columns) for example in parsed], object)
    shuffled = references.predict(model, records + values[order])
    rise = click_summary.row_logloss(labels, shuffled) - click_summary.row_logloss(labels, whole)
    margin = _Z * rise.std() / np.sqrt(len(rise))
    aucs = [click_summary.metrics_of(click_summary.summarize(labels, each))["auc"] for each in (whole, shuffled)]
    return {
        "columns": list(columns),
        "logloss_rise": float(rise.mean()),
        "lower": float(rise.mean() - margin),
        "upper": float(rise.mean() + margin),
        "auc_drop": float(aucs[0] - aucs[1]) if np.isfinite(aucs).all() else None,
    }


def _only(example: tf.train.Example, columns: Sequence[str]) -> bytes:
    """An example with these columns alone; one that the row lacks is there without a value, which means missing."""
    made = tf.train.Example()
    for column in columns:
        made.features.feature[column].CopyFrom(example.features.feature.get(column, tf.train.Feature()))
    return made.SerializeToString()
