"""The rows of a window that conversions left out, as `hivemill data quarantine` shows them.

They are found by the plan, not by a run's record: after a run that stopped because of them, there is no manifest.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
from typing import Any

from hivemill.components.hive_example_gen.cache import partition_record, quarantine
from hivemill.components.hive_example_gen.formats.bad_rows import in_words
from hivemill.pipeline.cli.output import table
from hivemill.pipeline.config.loader import LoadedConfig
from hivemill.pipeline.runs import plan

_SHOWN_LETTERS = 60


def find(loaded: LoadedConfig, date: datetime.date, limit: int) -> dict[str, Any]:
    """The partitions of the window for `date` with bad rows, and the first `limit` of each. Raises as `make_plan`."""
    kept_in = str(loaded.config.places().partitions)
    window = plan.make_plan(loaded, date).window
    found = partition_record.find_all(kept_in, [partition.fingerprint for partition in window.partitions])
    records = [(partition, found.get(partition.fingerprint)) for partition in window.partitions]
    partitions = [
        {
            "partition": partition.name,
            "split": partition.split,
            "rows_read": record.rows_read,
            "bad_rows": record.bad_rows,
            "row_notes": record.row_notes,
            "file": quarantine.place_of(kept_in, record),
            "first": [
                dataclasses.asdict(row)
                for row in itertools.islice(quarantine.read(kept_in, partition.fingerprint), limit)
            ],
        }
        for partition, record in records
        if record is not None and record.bad_rows
    ]
    converted = sum(record is not None for _, record in records)
    return {"date": date.isoformat(), "converted": converted, "planned": len(records), "partitions": partitions}


def render(document: dict[str, Any]) -> str:
    """The same for people."""
    lines = []
    if document["converted"] < document["planned"]:
        missing = document["planned"] - document["converted"]
        lines.append(f"{missing} of {document['planned']} partitions are not converted yet: nobody knows their rows.")
    for each in document["partitions"]:
        bad = sum(each["bad_rows"].values())
        lines += [
            "",
            f"{each['partition']}: {bad:,} of {bad + each['rows_read']:,} rows ({in_words(each['bad_rows'])})",
        ]
        rows = [
            (row["file"], row["row"], row["cause"], row["column"], row["message"], repr(row["raw"][:_SHOWN_LETTERS]))
            for row in each["first"]
        ]
        lines.append(table(("FILE", "ROW", "CAUSE", "COLUMN", "WHY", "BEGINS"), rows))
        if bad > len(rows):
            lines.append(f"and {bad - len(rows):,} more: {quarantine.shown_by(each['file'])}")
    return "\n".join(lines).strip() or "No row was left out."
