"""The training input: batches of packed tensors straight from Transform's GZIP TFRecord files.

In memory at any time: `_OPEN_FILES` read buffers, the shuffle buffer (`training.shuffle_rows` serialised examples) and
`_PREFETCHED_BATCHES` parsed batches; it does not grow with the number of rows (benchmarks/trainer.py measures it).

The stream of rows is a pure function of (files, seed): epoch e is the files in an order drawn from (seed, e), then rows
shuffled with a seed drawn from (seed, e). Epochs follow one another without a gap, so every batch is full, and a
training that was killed after n batches reads on from row n * batch_size of the same stream.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from hivemill.common.errors import DataNotReadyError
from hivemill.components.trainer.model.deepfm import RATES_KEY
from hivemill.components.transform import layout as layout_lib

_OPEN_FILES = 4
_READ_BUFFER_BYTES = 1 << 20
_PREFETCHED_BATCHES = 2
_COUNT_BATCH = 8192
_BYTES_PER_RATE = 2

Batch = tuple[Mapping[str, Any], tf.Tensor, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class RateFiles:
    """Click rates of the rows of each file, in the order of its rows: float16 [rows, width], without a header."""

    files: tuple[str, ...]
    width: int


@dataclasses.dataclass(frozen=True)
class InputSource:
    """Files of one split, what stands in them, and the click rates of their rows, if the model has any."""

    files: tuple[str, ...]
    layout: layout_lib.FieldLayout
    rates: RateFiles | None = None

    @classmethod
    def of(cls, patterns: Sequence[str], layout: layout_lib.FieldLayout) -> InputSource:
        """Expands TFX's file patterns; the order does not depend on the filesystem."""
        return cls(tuple(sorted(tf.io.gfile.glob(list(patterns)))) if patterns else (), layout)

    def feature_spec(self) -> dict[str, Any]:
        layout = self.layout
        spec: dict[str, Any] = {layout_lib.LABEL_KEY: tf.io.FixedLenFeature([], tf.float32)}
        if layout.has_weight:
            spec[layout_lib.WEIGHT_KEY] = tf.io.FixedLenFeature([], tf.float32)
        if layout.id_fields:
            spec[layout_lib.FIELD_IDS_KEY] = tf.io.FixedLenFeature([len(layout.id_fields)], tf.int64)
        if layout.value_fields:
            spec[layout_lib.FIELD_VALUES_KEY] = tf.io.FixedLenFeature([len(layout.value_fields)], tf.float32)
        for field in layout.multivalent_fields:
            spec[layout_lib.ids_key(field)] = tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)
            if field in layout.weighted_fields:
                spec[layout_lib.weights_key(field)] = tf.io.RaggedFeature(tf.float32, row_splits_dtype=tf.int64)
        return spec

    def rows_of(self, number: tf.Tensor) -> tf.data.Dataset:
        """What `parse` takes, row by row, of the file with this number."""
        name = tf.gather(tf.constant(self.files), number)
        records = tf.data.TFRecordDataset(name, "GZIP", _READ_BUFFER_BYTES)
        if self.rates is None:
            return records
        place = tf.gather(tf.constant(self.rates.files), number)
        rates = tf.data.FixedLengthRecordDataset(
            place, _BYTES_PER_RATE * self.rates.width, buffer_size=_READ_BUFFER_BYTES
        )
        return tf.data.Dataset.zip((records, rates))

    def parse_nothing(self) -> Batch:
        """A batch without rows: what a model is built with."""
        empty = tf.constant([], tf.string)
        return self.parse(empty) if self.rates is None else self.parse(empty, empty)

    def parse(self, serialized: tf.Tensor, rates: tf.Tensor | None = None) -> Batch:
        """Serialised examples [B], bytes of their rates [B] -> (model inputs, labels [B, 1], weights [B, 1])."""
        tensors = tf.io.parse_example(serialized, self.feature_spec())
        if self.rates is not None:
            numbers = tf.io.decode_raw(rates, tf.float16)
            tensors[RATES_KEY] = tf.cast(tf.reshape(numbers, [-1, self.rates.width]), tf.float32)
        label = tensors.pop(layout_lib.LABEL_KEY)[:, tf.newaxis]
        weight = tensors.pop(layout_lib.WEIGHT_KEY)[:, tf.newaxis] if self.layout.has_weight else tf.ones_like(label)
        return tensors, label, weight


def count_rows(source: InputSource, split: str) -> list[int]:
    """Rows of each file. Reads the files once, without parsing. Raises DataNotReadyError where there is no row."""
    rows = [_rows_of_file(name) for name in source.files]
    if sum(rows) == 0:
        raise DataNotReadyError(
            f"the transformed split {split!r} has no rows", hint="check the window with `hivemill plan`"
        )
    return rows


def _rows_of_file(name: str) -> int:
    counts = (
        tf.data.TFRecordDataset(name, "GZIP", _READ_BUFFER_BYTES)
        .batch(_COUNT_BATCH)
        .map(lambda batch: tf.size(batch, tf.int64))
    )
    return int(counts.reduce(tf.constant(0, tf.int64), lambda total, size: total + size).numpy())


def training_batches(
    source: InputSource,
    *,
    num_rows: int,
    batch_size: int,
    replica_batch_size: int,
    shuffle_rows: int,
    seed: int,
    first_batch: int = 0,
    worker: int = 0,
    num_workers: int = 1,
) -> tf.data.Dataset:
    """An endless stream of full batches, starting with batch number `first_batch`.

    A worker takes every num_workers-th row, in batches for its replicas; batch_size counts over all replicas.
    """
    first_epoch, rows_to_skip = divmod(first_batch * batch_size, num_rows)
    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    rows = epochs.flat_map(lambda epoch: _epoch_rows(source, epoch, seed, shuffle_rows)).skip(rows_to_skip)
    if num_workers > 1:
        rows = rows.shard(num_workers, worker)
    batches = rows.batch(replica_batch_size, drop_remainder=True).map(source.parse)
    return batches.with_options(_options()).prefetch(_PREFETCHED_BATCHES)


def evaluation_batches(source: InputSource, batch_size: int) -> tf.data.Dataset:
    """Every row once, in the order of the files; the last batch may be smaller."""
    rows = tf.data.Dataset.range(len(source.files)).flat_map(source.rows_of)
    return rows.batch(batch_size).map(source.parse).with_options(_options()).prefetch(_PREFETCHED_BATCHES)


def _epoch_rows(source: InputSource, epoch: tf.Tensor, seed: int, shuffle_rows: int) -> tf.data.Dataset:
    seeds = tf.stack([tf.constant(seed, tf.int64), epoch])
    order = tf.argsort(tf.random.stateless_uniform([len(source.files)], seeds))
    rows = tf.data.Dataset.from_tensor_slices(order).interleave(
        source.rows_of,
        cycle_length=min(_OPEN_FILES, len(source.files)),
        block_length=64,
    )
    row_seed = tf.random.stateless_uniform([], seeds, maxval=tf.int64.max, dtype=tf.int64, minval=1)
    return rows.shuffle(shuffle_rows, seed=row_seed, reshuffle_each_iteration=False)


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False  # nothing to tune: there is one map, and it runs ahead of the training step
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options
