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

from hivemill.components.trainer.loop.history import TrainingHistory
from hivemill.components.trainer.loop.steps import TrainingSteps


class TrainingCheckpoints:
    """The newest state under `folder`, and the weights of the best check so far.

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

    def restore(self) -> tuple[int, TrainingHistory]:
        """(steps done, history); (0, empty) where there is no checkpoint. All variables must have been built."""
        latest = tf.train.latest_checkpoint(str(self._folder / "state"))
        if latest is not None:
            self._state.restore(latest).assert_consumed()
        return int(self._step.numpy()), TrainingHistory.from_json(self._history.numpy().decode())

    def save(self, step: int, history: TrainingHistory) -> None:
        self._step.assign(step)
        self._history.assign(history.to_json())
        self._manager.save(checkpoint_number=step)
        self._saved()

    def save_best(self, check: int) -> None:
        """Keeps the weights of the best check. Call before `save`: a state must not point at weights not yet there.

        Those of the check before stay until then, since the newest state may be of a step that points at them.
        """
        self._weights.write(self._best(self._place, check))

    def drop_bests_before(self, check: int) -> None:
        """After `save`: no state points at older ones."""
        for file in (self._place / "best").glob("check-*"):
            if int(file.name.removeprefix("check-").partition(".")[0]) < check:
                file.unlink(missing_ok=True)

    def restore_best(self, check: int) -> None:
        self._weights.read(self._best(self._folder, check)).assert_consumed()

    @staticmethod
    def _best(folder: Path, check: int) -> str:
        return str(folder / "best" / f"check-{check}")
