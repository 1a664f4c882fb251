"""A bounded sample of a split's tf.Examples, spread evenly over all of its rows, the same in every run."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf
from tfx.dsl.io import fileio

_BATCH_ROWS = 4096
_READ_BUFFER_BYTES = 1 << 20


def sample_rows(
    split_uri: str, wanted: int, label_column: str, num_rows: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(serialised examples, bytes objects; labels float64), at most `wanted` rows whose label is 0 or 1.

    The split is read once, by TensorFlow's own reader (2.3 µs of CPU a row of the demo), which hands on every n-th
    record. `num_rows` of the split; they are counted first where it is not known.
    """
    files = sorted(os.path.join(split_uri, name) for name in fileio.listdir(split_uri)) if wanted else []
    if not files:
        return np.zeros(0, object), np.zeros(0)
    # One dataset over all files: one for each takes 20 ms a file, 3 s for a demo's training split.
    compression = "GZIP" if files[0].endswith(".gz") else ""
    rows = tf.data.TFRecordDataset(files, compression, buffer_size=_READ_BUFFER_BYTES)
    if not num_rows:
        batches = rows.batch(_BATCH_ROWS)
        num_rows = int(batches.reduce(np.int64(0), lambda count, batch: count + tf.size(batch, tf.int64)).numpy())
    batches = rows.shard(max(1, num_rows // wanted), 0).batch(_BATCH_ROWS)
    found = np.array([record for batch in batches.as_numpy_iterator() for record in batch], object)
    if len(found) > wanted:
        found = found[np.linspace(0, len(found) - 1, wanted).astype(int)]
    labels = _labels(found, label_column)
    good = (labels == 0) | (labels == 1)
    return found[good], labels[good]


def _labels(records: np.ndarray, label_column: str) -> np.ndarray:
    if not len(records):
        return np.zeros(0)
    spec = {label_column: tf.io.FixedLenFeature([], tf.int64, default_value=-1)}
    return tf.io.parse_example(records.tolist(), spec)[label_column].numpy().astype(np.float64)
