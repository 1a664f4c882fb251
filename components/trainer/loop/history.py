"""What a training has done so far: written as history.json for the report, and kept in every checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from hivemill.components.trainer.options import PlateauOptions

Check = dict[str, float | int | None]


@dataclasses.dataclass(frozen=True)
class Plateau:
    """Where a training stands after its checks: a pure function of them, so that a resumed training decides alike."""

    best_check: int  # from 1; 0 before the first
    waited: int
    reductions: int
    is_reached: bool  # the last check is the one that ended the patience

    @classmethod
    def of(cls, checks: list[Check], options: PlateauOptions) -> Plateau:
        best_check, best_loss, waited, reductions, is_reached = 0, math.inf, 0, 0, False
        to_beat = math.inf
        for number, check in enumerate(checks, start=1):
            loss = math.inf if check["val_loss"] is None else check["val_loss"]
            is_reached = False
            if loss < best_loss:
                best_check, best_loss = number, loss
            if loss < to_beat:
                to_beat, waited = loss * (1 - options.min_gain), 0
                continue
            waited += 1
            if waited == options.patience:
                reductions, waited, is_reached = reductions + 1, 0, True
        return cls(best_check, waited, reductions, is_reached)


@dataclasses.dataclass
class TrainingHistory:
    """One entry for each check: step, epoch, loss, auc, val_loss, val_auc, learning_rate, examples_per_second.

    `loss` and `auc` are of the training batches since the check before. val_loss and val_auc are None where there is no
    validation split. `epoch` counts the passes over the training rows, in parts too.
    """

    checks: list[Check] = dataclasses.field(default_factory=list)

    def add(self, entry: Check) -> None:
        self.checks.append({key: _json_number(value) for key, value in entry.items()})

    def plateau(self, options: PlateauOptions | None) -> Plateau | None:
        """None where nothing is watched: without the option, or without a validation split."""
        if options is None or (self.checks and all(check.get("val_loss") is None for check in self.checks)):
            return None
        return Plateau.of(self.checks, options)

    def best_check(self, options: PlateauOptions | None) -> int:
        """The check with the lowest validation loss, from 1; the last one where nothing is watched."""
        plateau = self.plateau(options)
        return len(self.checks) if plateau is None else plateau.best_check

    def should_stop(self, options: PlateauOptions | None) -> bool:
        plateau = self.plateau(options)
        return plateau is not None and options is not None and plateau.reductions > options.reductions

    def to_json(self) -> str:
        return json.dumps(self.checks)

    @classmethod
    def from_json(cls, text: str) -> TrainingHistory:
        return cls(json.loads(text))

    def document(self, *, num_parameters: int, num_train_examples: int, best_check: int) -> dict[str, Any]:
        return {
            "version": 2,
            "checks": self.checks,
            "num_parameters": num_parameters,
            "num_train_examples": num_train_examples,
            "best_check": best_check,
        }


def _json_number(value: float | int | None) -> float | int | None:
    """None for NaN (an AUC of one class only): JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
