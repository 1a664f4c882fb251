"""`manifest.json`: the partitions, files, rows, bytes and fingerprints that a run read; the same on every runner."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hivemill.components.hive_example_gen.cache import quarantine
from hivemill.components.hive_example_gen.cache.partition_record import PartitionRecord
from hivemill.components.hive_example_gen.planning.window import PlannedPartition, WindowPlan

FILE_NAME = "manifest.json"
_VERSION = 1


def build_manifest(plan: WindowPlan, records: Mapping[str, PartitionRecord]) -> dict[str, Any]:
    """The manifest of a converted window; `records` by partition fingerprint."""
    return {
        "version": _VERSION,
        "date": plan.date.isoformat(),
        "table": Path(plan.table).name,
        "window": {split: [day.isoformat() for day in days] for split, days in plan.days.items()},
        "partitions": [_entry(partition, records[partition.fingerprint]) for partition in plan.partitions],
        "missing": list(plan.missing),
        "late": list(plan.late),
        "empty": list(plan.empty),
        "small": [judgement.document() for judgement in plan.small],
        "incomplete": "shrink" if plan.leaves_out else "fail",
        "notes": list(plan.notes),
        "num_rows": num_rows(plan, records),
        **quarantine.facts(plan, records),
        "fingerprint": plan.fingerprint,
    }


def num_rows(plan: WindowPlan, records: Mapping[str, PartitionRecord]) -> dict[str, int]:
    """Rows per split."""
    return {
        split: sum(records[partition.fingerprint].rows for partition in partitions)
        for split, partitions in plan.splits.items()
    }


def _entry(partition: PlannedPartition, record: PartitionRecord) -> dict[str, Any]:
    return {
        "split": partition.split,
        "partition": partition.name,
        "files": [
            {"path": file.path, "bytes": file.num_bytes, "modified_ns": file.modified_ns} for file in partition.files
        ],
        "rows": record.rows,
        **_query_facts(partition),
        **quarantine.partition_facts(partition, record),
        "bytes": partition.num_bytes,
        "fingerprint": partition.fingerprint,
    }


def _query_facts(partition: PlannedPartition) -> dict[str, Any]:
    """`asked`: for which run date the server was asked; "settled" for a day that was asked for the last time."""
    query = partition.query
    return {"query": query.sql, "server": query.server, "asked": query.refreshed.split()[0]} if query else {}
