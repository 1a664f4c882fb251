"""What the manifest says of deduplication, sampling and label join."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hivemill.components.hive_example_gen.cache.partition_record import PartitionRecord
from hivemill.components.hive_example_gen.formats.bad_rows import added
from hivemill.components.hive_example_gen.options import SamplingOptions
from hivemill.components.hive_example_gen.planning.window import WindowPlan
from hivemill.components.hive_example_gen.rows.label_join.coverage import clicks_of_window


def facts(plan: WindowPlan, records: Mapping[str, PartitionRecord], partitions_path: str) -> dict[str, Any]:
    """`row_steps` by split, `sampling`, `label_join`; only those that there are."""
    return {**_steps(plan, records), **_sampling(plan), **_label_join(plan, partitions_path)}


def _steps(plan: WindowPlan, records: Mapping[str, PartitionRecord]) -> dict[str, Any]:
    found = {
        split: added(records[partition.fingerprint].step_counts for partition in partitions)
        for split, partitions in plan.splits.items()
    }
    return {"row_steps": found} if any(found.values()) else {}


def sampling_of(plan: WindowPlan) -> SamplingOptions | None:
    """The sample that the splits to train on are; None where they are all rows."""
    return next((partition.rules.sampling for partition in plan.partitions if partition.rules.sampling), None)


def _sampling(plan: WindowPlan) -> dict[str, Any]:
    """The share that the exported model corrects its probabilities by."""
    options = sampling_of(plan)
    if options is None:
        return {}
    splits = [split for split, parts in plan.splits.items() if parts and parts[0].rules.sampling]
    return {"sampling": {**options.model_dump(mode="json"), "splits": splits}}


def _label_join(plan: WindowPlan, partitions_path: str) -> dict[str, Any]:
    options = plan.label.join if plan.label else None
    if options is None:
        return {}
    joined = [(each.date, each.fingerprint, each.rules.join.clicks) for each in plan.partitions if each.rules.join]
    clicks = clicks_of_window(options, joined, partitions_path)
    rule = {"keys": list(options.keys), "within": options.within, "take": options.take}
    return {"label_join": {**rule, "clicks": clicks}}
