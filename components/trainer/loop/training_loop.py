"""The course of a training: checks on the validation split, plateaus, checkpoints, progress; resumable after any step.

Between two checks lies half an epoch, but at most 400 steps, and never less training than twice the validation rows:
the checks then cost about a sixth of the training. A plateau restores the best weights (Plateau).
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from hivemill.common import progress
from hivemill.common.errors import ConfigError, DataVerdictError
from hivemill.components.trainer.input import InputSource, training_batches
from hivemill.components.trainer.loop.checkpoints import TrainingCheckpoints
from hivemill.components.trainer.loop.history import TrainingHistory
from hivemill.components.trainer.loop.monitoring import TensorBoardLog
from hivemill.components.trainer.loop.steps import TrainingSteps
from hivemill.components.trainer.options import TrainingOptions

Watch = Callable[[TrainingHistory], bool]
_STEPS_PER_CALL = 20  # between two looks at the loss: often enough for live progress, rare enough to cost nothing


_MIN_CHECK_STEPS, _MAX_CHECK_STEPS = 20, 400
_BATCH_SIZES = 128, 4096


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How many rows and steps. An epoch is the fewest full batches that see every row."""

    num_rows: int
    batch_size: int
    steps_per_epoch: int
    check_steps: int
    total_steps: int

    @classmethod
    def of(cls, options: TrainingOptions, num_rows: int, num_replicas: int, num_validation_rows: int = 0) -> Schedule:
        """Fewer rows than a batch make a smaller batch. Raises ConfigError where replicas cannot share a batch."""
        wanted = _automatic_batch_size(num_rows, num_replicas) if options.batch_size == "auto" else options.batch_size
        if wanted % num_replicas:
            raise ConfigError(
                f"training.batch_size is {wanted}, which {num_replicas} replicas cannot share equally",
                hint=f"use a multiple of {num_replicas}",
            )
        # Each replica needs at least one row of a batch, even where there are fewer rows than replicas.
        batch_size = max(num_replicas, min(wanted, num_rows - num_rows % num_replicas))
        steps_per_epoch = math.ceil(num_rows / batch_size)
        most = max(_MAX_CHECK_STEPS, 2 * num_validation_rows // batch_size)
        check_steps = max(_MIN_CHECK_STEPS, min(math.ceil(steps_per_epoch / 2), most))
        return cls(num_rows, batch_size, steps_per_epoch, check_steps, options.epochs * steps_per_epoch)

    @property
    def total_examples(self) -> int:
        return self.total_steps * self.batch_size


def _automatic_batch_size(num_rows: int, num_replicas: int) -> int:
    """The power of two nearest to num_rows / 64 on the log scale, within bounds, rounded up to full replicas."""
    smallest, largest = _BATCH_SIZES
    size = max(smallest, min(largest, 2 ** round(math.log2(max(num_rows, 1) / 64))))
    return math.ceil(size / num_replicas) * num_replicas


def train(
    steps: TrainingSteps,
    schedule: Schedule,
    options: TrainingOptions,
    source: InputSource,
    validation: tf.data.Dataset | None,
    checkpoints: TrainingCheckpoints,
    log: TensorBoardLog,
    watch: Watch = lambda history: False,
) -> TrainingHistory:
    """Trains to the end, from the newest checkpoint if there is one; leaves the model with the weights to export.

    These are those of the best check where the validation split is watched, else the last ones. `watch` is asked after
    each check whether to stop.
    """
    step, history = checkpoints.restore()
    batches = iter(_distributed_batches(steps, schedule, options, source, step))
    while step < schedule.total_steps and not history.should_stop(options.plateau) and not watch(history):
        end = min((len(history.checks) + 1) * schedule.check_steps, schedule.total_steps)
        speed = _train_until(end, step, steps, schedule, options, batches, history, checkpoints)
        step = end
        _check(step, speed, schedule, steps, options, validation, history, checkpoints, log)
    best_check = history.best_check(options.plateau)
    if best_check != len(history.checks):
        checkpoints.restore_best(best_check)
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
    history: TrainingHistory,
    checkpoints: TrainingCheckpoints,
) -> float:
    """Steps up to `end`, the next check; returns examples per second of wall time."""
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


def _check(
    step: int,
    speed: float,
    schedule: Schedule,
    steps: TrainingSteps,
    options: TrainingOptions,
    validation: tf.data.Dataset | None,
    history: TrainingHistory,
    checkpoints: TrainingCheckpoints,
    log: TensorBoardLog,
) -> None:
    steps.catch_up()  # for the validation, and for the weights that are kept and exported
    rate = float(steps.optimizer.learning_rate.numpy())
    trained = steps.metrics()
    log.train(step, {**trained, "learning_rate": rate, "examples_per_second": speed, **steps.embedding_norms()})
    epoch = round(step / schedule.steps_per_epoch, 4)
    entry = {"step": step, "epoch": epoch, **trained, "val_loss": None, "val_auc": None}
    if validation is not None:
        validated = steps.evaluate(validation)
        log.validation(step, validated)
        entry |= {f"val_{name}": value for name, value in validated.items()}
    history.add({**entry, "learning_rate": rate, "examples_per_second": round(speed, 1)})
    steps.reset_metrics()
    _keep_or_go_back(steps, options, history, checkpoints)
    checkpoints.save(step, history)
    checkpoints.drop_bests_before(history.best_check(options.plateau))


def _keep_or_go_back(
    steps: TrainingSteps, options: TrainingOptions, history: TrainingHistory, checkpoints: TrainingCheckpoints
) -> None:
    plateau = history.plateau(options.plateau)
    if plateau is None or options.plateau is None:
        return
    if plateau.best_check == len(history.checks):
        checkpoints.save_best(plateau.best_check)
    elif plateau.is_reached and plateau.best_check:
        checkpoints.restore_best(plateau.best_check)
        steps.optimizer.learning_rate.assign(options.learning_rate * options.plateau.factor**plateau.reductions)


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
