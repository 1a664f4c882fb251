"""Raw columns arrive dense, sparse or ragged, as the schema decided; here they become one of two uniform shapes.

TFT traces the whole graph several times per run, and a traced op costs a millisecond: a third of the Transform node's
time on a day's log. So these functions take the fewest ops that do, and no checks that the parser of tf.Example makes
needless: its sparse tensors are in row order, without a gap within a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def as_single(column: Any, default: Any) -> tf.Tensor:
    """First value of each row, [batch]; `default`, of the column's type, in rows without one."""
    if isinstance(column, tf.RaggedTensor):
        column = column.to_sparse()
    if isinstance(column, tf.SparseTensor):
        return _first_values(column, default)
    return tf.reshape(column[:, 0], [-1]) if column.shape.rank == 2 else column


def _first_values(column: tf.SparseTensor, default: Any) -> tf.Tensor:
    first = tf.sparse.slice(column, [0, 0], [tf.int64.max, 1])
    # The slice of a batch without any value has no column at all; here it has one, and the default stands in it.
    first = tf.SparseTensor(first.indices, first.values, tf.stack([column.dense_shape[0], 1]))
    dense = tf.sparse.to_dense(first, tf.constant(default, column.dtype), validate_indices=False)
    return tf.reshape(dense, [-1])


def as_ragged(column: Any) -> tf.RaggedTensor:
    """All values of each row: [batch, any]. Inputs of rank 1 count as one value per row."""
    if isinstance(column, tf.SparseTensor):
        return tf.RaggedTensor.from_value_rowids(
            column.values, column.indices[:, 0], nrows=column.dense_shape[0], validate=False
        )
    if isinstance(column, tf.RaggedTensor):
        return column
    return tf.RaggedTensor.from_tensor(column if column.shape.rank == 2 else column[:, tf.newaxis])


def as_tokens(column: Any) -> Any:
    """Strings as they are; numbers in decimal (an integer column and its text give the same token)."""
    return column if column.dtype == tf.string else with_values(tf.strings.as_string, column)


def with_values(convert: Callable[[tf.Tensor], tf.Tensor], column: Any) -> Any:
    """`convert` applied to the values of a column of any kind, which keeps its shape."""
    if isinstance(column, tf.SparseTensor):
        return tf.SparseTensor(column.indices, convert(column.values), column.dense_shape)
    return column.with_values(convert(column.values)) if isinstance(column, tf.RaggedTensor) else convert(column)
