"""Raw columns arrive dense, sparse or ragged, as the schema decided; here they become one of two uniform shapes."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def as_single(column: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """First value of each row and whether there is one: ([batch], bool [batch]). Rows without a value get 0 or ""."""
    if isinstance(column, tf.SparseTensor):
        column = tf.RaggedTensor.from_sparse(column)
    if isinstance(column, tf.RaggedTensor):
        first = column[:, :1]
        present = column.row_lengths() > 0
        return tf.reshape(first.to_tensor(shape=[None, 1]), [-1]), present
    values = column if column.shape.rank == 1 else column[:, 0]
    return values, tf.ones_like(values, dtype=tf.bool)


def as_ragged(column: Any) -> tf.RaggedTensor:
    """All values of each row: [batch, any]. Inputs of rank 1 count as one value per row."""
    if isinstance(column, tf.SparseTensor):
        return tf.RaggedTensor.from_sparse(column)
    if isinstance(column, tf.RaggedTensor):
        return column
    return tf.RaggedTensor.from_tensor(column if column.shape.rank == 2 else column[:, tf.newaxis])


def as_tokens(values: tf.Tensor) -> tf.Tensor:
    """Strings as they are; numbers in decimal (an integer column and its text give the same token)."""
    return values if values.dtype == tf.string else tf.strings.as_string(values)
