"""Click rates as a part of the exported model: packed tensors -> numbers, by tables inside the SavedModel.

Shapes: B batch, S single-valued columns with rates, P pairs, U keys of all pairs, R = 2 * tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from hivemill.components.trainer.rates.fitting import RateTable
from hivemill.components.trainer.rates.rows import NUM_BUCKETS
from hivemill.components.transform import layout as layout_lib


class ClickRates(tf.Module):
    """The only code that looks rates up: for validation, evaluation and serving.

    A training row's rates differ from these by the clicks of its own block of rows (components/trainer/rates/fitting).
    """

    def __init__(self, tables: Sequence[RateTable], boundaries: Sequence[np.ndarray], num_ids: Mapping[str, int]):
        """`tables` as `fitting.fit` orders them: single-valued columns, multivalent fields, pairs.

        `num_ids` of each multivalent field; `boundaries` of each numeric field.
        """
        super().__init__(name="click_rates")
        self._singles = [table for table in tables if len(table.columns) == 1]
        self._bags = [table for table in tables if table.bag is not None]
        self._pairs = [table for table in tables if len(table.columns) == 2]
        self.width = 2 * len(tables)
        self._shifts = np.stack([table.scaling.shift for table in tables])
        self._scales = np.stack([table.scaling.scale for table in tables])
        self._num_buckets = [len(edges) + 1 for edges in boundaries]
        self._edges = np.full((len(boundaries), NUM_BUCKETS - 1), np.inf, np.float32)
        for row, edges in zip(self._edges, boundaries, strict=True):
            row[: len(edges)] = edges
        sizes = [table.num_keys for table in self._singles] + [num_ids[str(table.bag)] for table in self._bags]
        self._offsets = [0, *np.cumsum(sizes).tolist()]
        self._by_id = _constant(_dense([*self._singles, *self._bags], sizes), "by_id")
        self._pair_offsets = [0, *np.cumsum([table.num_keys for table in self._pairs], dtype=np.int64).tolist()]
        keys = [table.keys + offset for table, offset in zip(self._pairs, self._pair_offsets[:-1], strict=True)]
        self._pair_keys = _constant(np.concatenate([*keys, np.zeros(0, np.int64)]).astype(np.int64), "pair_keys")
        unknown = np.zeros((1, 2), np.float32)
        self._of_pairs = _constant(np.concatenate([*(t.numbers for t in self._pairs), unknown]), "of_pairs")

    def __call__(self, inputs: Mapping[str, Any]) -> tf.Tensor:
        """Packed tensors (multivalent ids ragged) -> float32 [B, R]."""
        columns = self._columns(inputs)
        parts = []
        if self._singles:
            ids = [columns[t.columns[0]] + start for t, start in zip(self._singles, self._offsets, strict=False)]
            parts.append(tf.gather(self._by_id, tf.stack(ids, axis=1)))
        for table, offset in zip(self._bags, self._offsets[len(self._singles) :], strict=False):
            bag = inputs[layout_lib.ids_key(str(table.bag))]
            parts.append(self._mean(bag, offset)[:, tf.newaxis])
        if self._pairs:
            parts.append(self._pair_numbers(columns))
        return tf.reshape((tf.concat(parts, axis=1) - self._shifts) / self._scales, [-1, self.width])

    def _columns(self, inputs: Mapping[str, Any]) -> list[tf.Tensor]:
        """int64 [B] each: the id fields, then the numeric fields by bucket."""
        columns = []
        if layout_lib.FIELD_IDS_KEY in inputs:
            columns += tf.unstack(inputs[layout_lib.FIELD_IDS_KEY], axis=1)
        if self._num_buckets:
            values = tf.transpose(inputs[layout_lib.FIELD_VALUES_KEY])
            found = tf.searchsorted(tf.constant(self._edges), values, side="right", out_type=tf.int64)
            columns += [tf.minimum(row, n - 1) for row, n in zip(tf.unstack(found), self._num_buckets, strict=True)]
        return columns

    def _mean(self, bag: tf.RaggedTensor, offset: int) -> tf.Tensor:
        sums = tf.math.unsorted_segment_sum(
            tf.gather(self._by_id, bag.values + offset), bag.value_rowids(), bag.nrows()
        )
        return sums / tf.cast(tf.maximum(bag.row_lengths(), 1), tf.float32)[:, tf.newaxis]

    def _pair_numbers(self, columns: Sequence[tf.Tensor]) -> tf.Tensor:
        wanted = tf.stack(
            [
                columns[table.columns[0]] * table.second_ids + columns[table.columns[1]] + offset
                for table, offset in zip(self._pairs, self._pair_offsets, strict=False)
            ],
            axis=1,
        )
        flat = tf.reshape(wanted, [-1])
        unknown = tf.size(self._pair_keys, tf.int64)
        places = tf.searchsorted(self._pair_keys, flat, out_type=tf.int64)
        there = tf.gather(self._pair_keys, tf.minimum(places, tf.maximum(unknown - 1, 0)))
        rows = tf.gather(self._of_pairs, tf.where(there == flat, places, unknown))
        return tf.reshape(rows, [-1, len(self._pairs), 2])


def _constant(values: np.ndarray, name: str) -> tf.Variable:
    """A variable: values of some size do not belong into a graph."""
    return tf.Variable(values, trainable=False, name=name)


def _dense(tables: Sequence[RateTable], sizes: Sequence[int]) -> np.ndarray:
    """The numbers of all tables by id, float32 [sum of sizes, 2]; 0 for ids without rows."""
    dense = np.zeros((sum(sizes), 2), np.float32)
    for table, offset in zip(tables, np.cumsum([0, *sizes])[:-1], strict=True):
        dense[offset + table.keys] = table.numbers
    return dense
