"""Days judged by their rows once these are known: those whose files do not say them, and days of a query.

Only days of the window are compared: all of them are converted by then, so that every run of it judges alike.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace

from hivemill.components.hive_example_gen.cache.partition_record import PartitionRecord
from hivemill.components.hive_example_gen.catalog.partition_names import date_folder
from hivemill.components.hive_example_gen.options import SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning import completeness
from hivemill.components.hive_example_gen.planning.completeness import DaySize
from hivemill.components.hive_example_gen.planning.window import WindowPlan


def judged(
    plan: WindowPlan, records: Mapping[str, PartitionRecord], source: SourceOptions, window: WindowOptions
) -> WindowPlan:
    """The plan with the judgements by rows; where the window goes on without what is incomplete, without small days.

    Raises DataNotReadyError, as `WindowPlan.check`, for a day that is too small.
    """
    rows: dict[datetime.date, int] = {}
    for partition in plan.partitions:
        record = records[partition.fingerprint]
        rows[partition.date] = rows.get(partition.date, 0) + record.rows_read + record.num_bad_rows
    known = {judgement.day for judgement in plan.sizes if judgement.measure == "rows"}
    whole = [day for day in rows if day not in known and not _has_gaps(day, plan, source)]
    sizes = {day: DaySize(None, count) for day, count in rows.items()}
    found = completeness.judge(sizes, whole, window.completeness, lambda day: date_folder(source, day))
    small = {judgement.day for judgement in found if judgement.is_small}
    plan = replace(plan, sizes=(*plan.sizes, *found))
    if small and plan.leaves_out:
        splits = {name: tuple(p for p in split if p.date not in small) for name, split in plan.splits.items()}
        plan = replace(plan, splits=splits)
    plan.check()
    return plan


def _has_gaps(day: datetime.date, plan: WindowPlan, source: SourceOptions) -> bool:
    """A day without some of its hours is small for a reason that is told already."""
    folder = date_folder(source, day)
    return any(folder in name.split("/") for name in (*plan.missing, *plan.late, *plan.empty))
