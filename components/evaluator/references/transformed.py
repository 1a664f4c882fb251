"""What the exported model makes of serialised examples: probabilities, and the tensors of its transform."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

PROBABILITY_KEY, TRANSFORM_SIGNATURE = "click_probability", "transformed_features"
_BATCH_ROWS = 2048

Rows = tuple[np.ndarray, np.ndarray]  # serialised examples, labels
Pairs = tuple[np.ndarray, np.ndarray]  # row, value: a multivalent field
Tensors = dict[str, "np.ndarray | Pairs"]  # dense ones are [rows, columns]


def predict(model: Any, records: np.ndarray) -> np.ndarray:
    """float64[N] click probabilities of the SavedModel's serving_default."""
    serve = model.signatures["serving_default"]
    parts = [serve(tf.constant(batch))[PROBABILITY_KEY].numpy().reshape(-1) for batch in _batches(records)]
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)


def transformed(model: Any, records: np.ndarray) -> Tensors:
    """The signature's tensors over all rows."""
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


def _batches(records: np.ndarray) -> list[list[bytes]]:
    return [records[start : start + _BATCH_ROWS].tolist() for start in range(0, len(records), _BATCH_ROWS)]
