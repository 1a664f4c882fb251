"""Which partitions of the serving log are compared. Imports no TensorFlow: the run's fingerprint needs it too."""

from __future__ import annotations

import datetime

from components.data_verdict.options import DataVerdictOptions
from components.hive_example_gen.options import SourceOptions, WindowOptions
from components.hive_example_gen.window import WindowPlan, plan_window


def plan_of_serving(
    source: SourceOptions, options: DataVerdictOptions, date: datetime.date, partitions_path: str
) -> WindowPlan:
    """The newest `serving_days` days up to `date` are its split `eval`; days that are not there are left out."""
    window = WindowOptions(train_days=1, validation_days=0, eval_days=options.serving_days, incomplete="shrink")
    return plan_window(source, window, date, partitions_path)
