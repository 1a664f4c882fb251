"""The eval split in batches: read by tf.data, decoded by Arrow, predicted by the exported signatures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from hivemill.common import progress
from hivemill.components.evaluator import extractors
from hivemill.components.evaluator.example_sample import EvenSample, read_records, split_files
from hivemill.components.evaluator.metrics import click_metrics
from hivemill.components.evaluator.references.transformed import PROBABILITY_KEY

BATCH_ROWS = 8_192


@dataclasses.dataclass(frozen=True)
class EvalRows:
    frames: list[pd.DataFrame]  # of each batch: what the metrics need, about 30 bytes a row (extractors.frame_of)
    sample: EvenSample


def predict_rows(
    models: Mapping[str, Any],
    folder: str,
    label_column: str,
    user_column: str | None,
    slice_columns: Sequence[str],
    sampled_rows: int,
) -> EvalRows:
    """Predictions of every model for every row, and an even sample of the rows with the candidate's predictions.

    `models` are SavedModels by name; `folder` that of the split's files.
    """
    decoder = ExamplesToRecordBatchDecoder()
    frames, sample, done = [], EvenSample(sampled_rows), 0
    for serialized in read_records(split_files(folder)).batch(BATCH_ROWS).prefetch(2):
        records = serialized.numpy()
        frame = extractors.frame_of(decoder.DecodeBatch(records), label_column, user_column, slice_columns)
        for name, model in models.items():
            frame[(extractors.PREDICTION, name)] = _predictions(model, serialized)
        labels = frame[extractors.LABEL].to_numpy()
        sample.add(records, labels, frame[(extractors.PREDICTION, click_metrics.CANDIDATE)].to_numpy())
        frames.append(frame)
        done += len(frame)
        progress.report(done)
    return EvalRows(frames, sample)


def _predictions(model: Any, serialized: tf.Tensor) -> np.ndarray:
    """float32[N]"""
    probabilities = model.signatures[click_metrics.SIGNATURE](serialized)[PROBABILITY_KEY]
    return probabilities.numpy().astype(np.float32, copy=False).reshape(-1)
