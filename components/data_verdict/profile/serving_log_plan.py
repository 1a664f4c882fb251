"""Which partitions of the serving log are compared. Imports no TensorFlow: the run's fingerprint needs it too."""

from __future__ import annotations

import datetime

from hivemill.common.errors import DataNotReadyError
from hivemill.components.data_verdict.options import DataVerdictOptions
from hivemill.components.hive_example_gen.options import SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.window import WindowPlan, plan_window


def plan_of_serving(
    source: SourceOptions, options: DataVerdictOptions, date: datetime.date, partitions_path: str
) -> WindowPlan:
    """The newest `serving_days` days up to `date` are its split `eval`; days that are not there are left out.

    Raises DataNotReadyError where none of them is there.
    """
    window = WindowOptions(train_days=1, validation_days=0, eval_days=options.serving_days, incomplete="shrink")
    plan = plan_window(source, window, date, partitions_path)
    if not plan.splits["eval"]:
        raise DataNotReadyError(
            f"data_verdict.serving_log: {source.place} has no partition of the {options.serving_days} days to {date}",
            hint="Load them, raise data_verdict.serving_days, or remove data_verdict.serving_log.",
        )
    return plan
