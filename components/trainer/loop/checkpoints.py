"""Checkpoints that a killed training goes on from: model, optimizer, running metrics, history, and the step itself.

Keras's BackupAndRestore restores the model and the epoch, but not the position in the data, the epoch's metrics or the
state of early stopping (docs/decisions), so a training that was killed would differ from one that was not.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from hivemill.components.trainer.loop.history import History
from hivemill.components.trainer.loop.steps import TrainingSteps


class TrainingCheckpoints:
    """The newest state under `folder`, and the weights of the best epoch so far.

    With several workers the first one writes what counts; the others must take part, and write to a place of their own
    that nobody reads.
    """

    def __init__(
        self,
        folder: Path,
        steps: TrainingSteps,
        is_chief: bool = True,
        saved: Callable[[], None] = lambda: None,
    ):
        """`saved` is called after each `save` of the one that counts."""
        self._folder = folder
        self._saved = saved if is_chief else lambda: None
        self._place = folder if is_chief else folder / f"worker-{os.getpid()}-{uuid.uuid4().hex}"
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._history = tf.Variable("[]", dtype=tf.string, trainable=False)
        state = tf.train.Checkpoint(
            model=steps.model,
            optimizer=steps.optimizer,
            loss=steps.loss,
            auc=steps.auc,
            step=self._step,
            history=self._history,
        )
        self._state = state
        self._weights = tf.train.Checkpoint(model=steps.model)
        self._manager = tf.train.CheckpointManager(state, str(self._place / "state"), max_to_keep=1)

    def restore(self) -> tuple[int, History]:
        """(steps done, history); (0, empty) where there is no checkpoint. All variables must have been built."""
        latest = tf.train.latest_checkpoint(str(self._folder / "state"))
        if latest is not None:
            self._state.restore(latest).assert_consumed()
        return int(self._step.numpy()), History.from_json(self._history.numpy().decode())

    def save(self, step: int, history: History) -> None:
        self._step.assign(step)
        self._history.assign(history.to_json())
        self._manager.save(checkpoint_number=step)
        self._saved()

    def save_best(self, epoch: int) -> None:
        """Keeps the weights of the best epoch. Call before `save`: a state must not point at weights not yet there."""
        self._weights.write(str(self._place / "best" / f"epoch-{epoch}"))

    def restore_best(self, epoch: int) -> None:
        self._weights.read(str(self._folder / "best" / f"epoch-{epoch}")).assert_consumed()
