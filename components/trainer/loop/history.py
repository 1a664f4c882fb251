"""What a training has done so far: written as history.json for the report, and kept in every checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from hivemill.components.trainer.options import EarlyStoppingOptions


@dataclasses.dataclass
class History:
    """One entry per finished epoch: epoch (from 1), loss, auc, val_loss, val_auc, learning_rate, examples_per_second.

    val_loss and val_auc are None where there is no validation split.
    """

    epochs: list[dict[str, float | int | None]] = dataclasses.field(default_factory=list)

    def add(self, entry: dict[str, float | int | None]) -> None:
        self.epochs.append({key: _json_number(value) for key, value in entry.items()})

    def best_epoch(self, options: EarlyStoppingOptions | None) -> int:
        """The best epoch on the validation split; the last one where nothing is validated. 0 before the first."""
        return self._best(options)[0] if self._validated(options) else len(self.epochs)

    def should_stop(self, options: EarlyStoppingOptions | None) -> bool:
        """True when more than `patience` epochs have passed without an improvement."""
        if not self._validated(options):
            return False
        assert options is not None
        return len(self.epochs) - self._best(options)[0] > options.patience

    def _validated(self, options: EarlyStoppingOptions | None) -> bool:
        return options is not None and any(entry.get(f"val_{options.metric}") is not None for entry in self.epochs)

    def _best(self, options: EarlyStoppingOptions | None) -> tuple[int, float]:
        assert options is not None
        sign = 1 if options.metric == "auc" else -1
        best_epoch, best_value = 0, -math.inf
        for number, entry in enumerate(self.epochs, start=1):
            value = entry.get(f"val_{options.metric}")
            if value is not None and sign * value > best_value + (options.min_change if best_epoch else 0):
                best_epoch, best_value = number, sign * value
        return best_epoch, best_value

    def to_json(self) -> str:
        return json.dumps(self.epochs)

    @classmethod
    def from_json(cls, text: str) -> History:
        return cls(json.loads(text))

    def document(self, *, num_parameters: int, num_train_examples: int, best_epoch: int) -> dict[str, Any]:
        return {
            "version": 1,
            "epochs": self.epochs,
            "num_parameters": num_parameters,
            "num_train_examples": num_train_examples,
            "best_epoch": best_epoch,
        }


def _json_number(value: float | int | None) -> float | int | None:
    """None for NaN (an AUC of one class only): JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
