"""Options of `hivemill tune` (`tuning:` in hivemill.yaml). Imports no TensorFlow."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from hivemill.common.options import Options

_SPACE: dict[str, tuple[Any, ...]] = {
    "training.learning_rate": (3e-4, 5e-4, 1e-3, 2e-3, 3e-3),
    "model.embedding_size": (4, 8, 16, 32),
    "model.hidden_units": ([128, 64], [256, 128], [512, 256], [256, 128, 64]),
    "model.dropout": (0.0, 0.1, 0.2, 0.3, 0.4),
    "model.embedding_l2": (0.0, 1e-5, 1e-4, 1e-3, 1e-2),
    "model.kernel_l2": (0.0, 1e-6, 1e-5, 1e-4),
}


class TuningOptions(Options):
    """What `hivemill tune` searches, and for how long. Changes no run."""

    trials: PositiveInt = Field(
        12, description="Trainings at most. The first has the config as it is. A higher number continues the search."
    )
    minutes: PositiveFloat | None = Field(
        None, description="Time for all trials together; the trial of the config as it is always ends. null: no limit."
    )
    workers: PositiveInt = Field(
        1, description="Trials at the same time, each in a process with its share of the cores."
    )
    mean_of: Annotated[int, Field(ge=2, le=16)] = Field(
        4, description="So many of the best trials are also judged as one model, by the mean of their probabilities."
    )
    seed: NonNegativeInt = Field(17, description="The same seed draws the same trials.")
    space: dict[str, tuple[Any, ...]] = Field(
        _SPACE,
        description="The values to try for each key of `model`, `training` or `rates`; the config's own is always "
        "among them.",
        min_length=1,
    )
