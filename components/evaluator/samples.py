"""A bounded sample of a split's tf.Examples, spread over its files and their rows, the same in every run."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tfx.dsl.io import fileio

MAX_STRIDE = 20  # at most so many records are read for one that is taken: the cost stays bounded
_BATCH_ROWS = 4096


def sample_rows(split_uri: str, wanted: int, label_column: str) -> tuple[np.ndarray, np.ndarray]:
    """(serialised examples, bytes objects; labels float64), at most `wanted` rows whose label is 0 or 1.

    Every file gives about the same number of rows, every n-th of its rows. In files of more than MAX_STRIDE times
    that number the later rows are left out.
    """
    files = sorted(os.path.join(split_uri, name) for name in fileio.listdir(split_uri)) if wanted else []
    quota = math.ceil(wanted / max(len(files), 1))
    found = [record for file in files for record in _every_nth(file, quota)][:wanted]
    records = np.array(found, object)
    labels = _labels(records, label_column)
    good = (labels == 0) | (labels == 1)
    return records[good], labels[good]


def _every_nth(file: str, quota: int) -> Sequence[bytes]:
    compression = "GZIP" if file.endswith(".gz") else ""
    # In batches: record by record, a demo's training split takes 27 s instead of two.
    batches = tf.data.TFRecordDataset(file, compression).take(quota * MAX_STRIDE).batch(_BATCH_ROWS)
    records = [record for batch in batches.as_numpy_iterator() for record in batch]
    stride = max(1, len(records) // max(quota, 1))
    return records[::stride][:quota]


def _labels(records: np.ndarray, label_column: str) -> np.ndarray:
    if not len(records):
        return np.zeros(0)
    spec = {label_column: tf.io.FixedLenFeature([], tf.int64, default_value=-1)}
    return tf.io.parse_example(records.tolist(), spec)[label_column].numpy().astype(np.float64)
