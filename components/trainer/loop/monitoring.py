"""TensorBoard: loss, AUC, learning rate, embedding norms, examples per second by epoch; histograms where asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import tensorflow as tf


class TensorBoardLog:
    """Writes scalars under `folder`/train and `folder`/validation; without a folder (not the chief worker), nowhere.

    `histograms` is asked for its tensors, by tag, each time that training scalars are written. A context manager:
    leaving it flushes the files.
    """

    def __init__(self, folder: Path | None, histograms: Callable[[], Mapping[str, tf.Tensor]] | None = None):
        self._histograms = histograms if folder is not None else None
        self._train = _writer(folder, "train")
        self._validation = _writer(folder, "validation")

    def __enter__(self) -> TensorBoardLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._train.close()
        self._validation.close()

    def train(self, step: int, scalars: Mapping[str, float]) -> None:
        _write(self._train, step, scalars)
        with self._train.as_default(step=step):
            for name, values in (self._histograms() if self._histograms else {}).items():
                tf.summary.histogram(name, values)

    def validation(self, step: int, scalars: Mapping[str, float]) -> None:
        _write(self._validation, step, scalars)


def _writer(folder: Path | None, name: str) -> tf.summary.SummaryWriter:
    return tf.summary.create_noop_writer() if folder is None else tf.summary.create_file_writer(str(folder / name))


def _write(writer: tf.summary.SummaryWriter, step: int, scalars: Mapping[str, float]) -> None:
    with writer.as_default(step=step):
        for name, value in scalars.items():
            tf.summary.scalar(name, value)
