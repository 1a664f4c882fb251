"""A summary of TFRecords that have none: of a partition that was converted before, or of examples from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from hivemill.components.hive_example_gen.summary.builder import Summariser
from hivemill.components.hive_example_gen.summary.request import SummaryRequest

BATCH_ROWS = 16_384
_READ_BUFFER_BYTES = 1 << 20


def summarise(files: Sequence[str], request: SummaryRequest, scratch: Path) -> Summariser:
    """Reads all examples of GZIP TFRecord files once, in bounded memory. Raises OSError, ConfigError."""
    summariser = Summariser(request, scratch)
    decoder = ExamplesToRecordBatchDecoder()
    records = tf.data.TFRecordDataset(list(files), "GZIP", _READ_BUFFER_BYTES).batch(BATCH_ROWS).prefetch(1)
    for batch in records.as_numpy_iterator():
        records = batch.tolist()
        summariser.add(decoder.DecodeBatch(records), records)
    return summariser
