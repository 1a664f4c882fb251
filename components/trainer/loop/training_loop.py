"""The course of a training: epochs, validation, early stopping, checkpoints, progress; resumable after any step."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from hivemill.common import progress
from hivemill.common.errors import ConfigError, DataVerdictError
from hivemill.components.trainer.input import InputSource, training_batches
from hivemill.components.trainer.loop.checkpoints import TrainingCheckpoints
from hivemill.components.trainer.loop.history import History
from hivemill.components.trainer.loop.monitoring import TensorBoardLog
from hivemill.components.trainer.loop.steps import TrainingSteps
from hivemill.components.trainer.options import TrainingOptions

_STEPS_PER_CALL = 20  # between two looks at the loss: often enough for live progress, rare enough to cost nothing


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How many rows, steps and epochs. An epoch is the fewest full batches that see every row."""

    num_rows: int
    batch_size: int
    steps_per_epoch: int
    epochs: int

    @classmethod
    def of(cls, options: TrainingOptions, num_rows: int, num_replicas: int) -> Schedule:
        """Fewer rows than a batch make a smaller batch. Raises ConfigError where replicas cannot share a batch."""
        if options.batch_size % num_replicas:
            raise ConfigError(
                f"training.batch_size is {options.batch_size}, which {num_replicas} replicas cannot share equally",
                hint=f"use a multiple of {num_replicas}",
            )
        # Each replica needs at least one row of a batch, even where there are fewer rows than replicas.
        batch_size = max(num_replicas, min(options.batch_size, num_rows - num_rows % num_replicas))
        return cls(num_rows, batch_size, math.ceil(num_rows / batch_size), options.epochs)

    @property
    def total_examples(self) -> int:
        return self.epochs * self.steps_per_epoch * self.batch_size


def train(
    steps: TrainingSteps,
    schedule: Schedule,
    options: TrainingOptions,
    source: InputSource,
    validation: tf.data.Dataset | None,
    checkpoints: TrainingCheckpoints,
    log: TensorBoardLog,
) -> History:
    """Trains to the end, from the newest checkpoint if there is one; leaves the model with the weights to export.

    These are the best epoch's where early stopping is on, else the last ones.
    """
    step, history = checkpoints.restore()
    batches = iter(_distributed_batches(steps, schedule, options, source, step))
    while len(history.epochs) < schedule.epochs and not history.should_stop(options.early_stopping):
        end = (len(history.epochs) + 1) * schedule.steps_per_epoch
        speed = _train_until(end, step, steps, schedule, options, batches, history, checkpoints)
        step = end
        _finish_epoch(step, speed, steps, options, validation, history, checkpoints, log)
    best_epoch = history.best_epoch(options.early_stopping)
    if best_epoch != len(history.epochs):
        checkpoints.restore_best(best_epoch)
    return history


def _distributed_batches(
    steps: TrainingSteps, schedule: Schedule, options: TrainingOptions, source: InputSource, first_batch: int
) -> Any:
    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return training_batches(
            source,
            num_rows=schedule.num_rows,
            batch_size=schedule.batch_size,
            replica_batch_size=context.get_per_replica_batch_size(schedule.batch_size),
            shuffle_rows=options.shuffle_rows,
            seed=options.seed,
            first_batch=first_batch,
            worker=context.input_pipeline_id,
            num_workers=context.num_input_pipelines,
        )

    return steps.strategy.distribute_datasets_from_function(of_worker)


def _train_until(
    end: int,
    step: int,
    steps: TrainingSteps,
    schedule: Schedule,
    options: TrainingOptions,
    batches: Iterator[Any],
    history: History,
    checkpoints: TrainingCheckpoints,
) -> float:
    """Steps up to `end`, the end of an epoch; returns examples per second of wall time."""
    first_step, started = step, time.monotonic()
    while step < end:
        next_checkpoint = (step // options.checkpoint_every_steps + 1) * options.checkpoint_every_steps
        count = min(_STEPS_PER_CALL, end - step, next_checkpoint - step)
        steps.train(batches, count)
        step += count
        _check_loss(steps, step, options)
        progress.report(step * schedule.batch_size, schedule.total_examples, "examples")
        if step == next_checkpoint and step < end:
            checkpoints.save(step, history)
    return (end - first_step) * schedule.batch_size / max(time.monotonic() - started, 1e-9)


def _finish_epoch(
    step: int,
    speed: float,
    steps: TrainingSteps,
    options: TrainingOptions,
    validation: tf.data.Dataset | None,
    history: History,
    checkpoints: TrainingCheckpoints,
    log: TensorBoardLog,
) -> None:
    rate = float(steps.optimizer.learning_rate.numpy())
    trained = steps.metrics()
    log.train(step, {**trained, "learning_rate": rate, "examples_per_second": speed, **steps.embedding_norms()})
    entry = {"epoch": len(history.epochs) + 1, **trained, "val_loss": None, "val_auc": None}
    if validation is not None:
        validated = steps.evaluate(validation)
        log.validation(step, validated)
        entry |= {f"val_{name}": value for name, value in validated.items()}
    history.add({**entry, "learning_rate": rate, "examples_per_second": round(speed, 1)})
    steps.reset_metrics()
    if options.early_stopping is not None and history.best_epoch(options.early_stopping) == len(history.epochs):
        checkpoints.save_best(len(history.epochs))
    checkpoints.save(step, history)


def _check_loss(steps: TrainingSteps, step: int, options: TrainingOptions) -> None:
    """Stops at once: a model of NaNs must never reach the export. The cause is told from what the batches held."""
    if math.isfinite(steps.metrics()["loss"]):
        return
    if float(steps.num_bad_inputs.result()) > 0:
        raise DataVerdictError(
            f"the loss is not a number by step {step}: rows of the training split have a label, weight or numeric "
            "field that is missing or not finite",
            hint="every row needs a label (and a weight, where label.weight is set); check for NULL, NaN and infinity",
        )
    raise ConfigError(
        f"the loss is not a number by step {step}, though all inputs are finite: the training diverged",
        hint=f"lower training.learning_rate (now {options.learning_rate:g})",
    )
