"""Early pruning by the median rule (Golovin et al. 2017, Google Vizier, section 3.1)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

_MIN_RIVALS = 3
_MIN_EPOCHS = 1.0


def is_hopeless(checks: Sequence[dict[str, Any]], rivals: Sequence[dict[str, Any]]) -> bool:
    """Whether the best logloss so far is above the median of what other trials had reached after as many epochs.

    Args:
        checks: those of the trial, as in history.json.
        rivals: {checks, ended} of the other trials. One that has not come as far does not count.
    """
    if not checks or checks[-1]["epoch"] < _MIN_EPOCHS:
        return False
    epoch = checks[-1]["epoch"]
    far = [one["checks"] for one in rivals if one["checks"] and (one["ended"] or one["checks"][-1]["epoch"] >= epoch)]
    theirs = [best for best in (_best(each, epoch) for each in far) if best is not None]
    mine = _best(checks, epoch)
    return mine is not None and len(theirs) >= _MIN_RIVALS and mine > statistics.median(theirs)


def _best(checks: Sequence[dict[str, Any]], epoch: float) -> float | None:
    losses = [one["val_loss"] for one in checks if one["epoch"] <= epoch and one["val_loss"] is not None]
    return min(losses, default=None)
