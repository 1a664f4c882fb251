"""The columns of the generated click log: the one place that schema/, the writers and the configuration agree on."""

from __future__ import annotations

COLUMNS: dict[str, str] = {
    "request_time": "timestamp",
    "user_id": "bigint",
    "age_band": "string",
    "gender": "string",
    "city": "string",
    "member_level": "int",
    "item_id": "bigint",
    "category": "string",
    "brand": "string",
    "price": "double",
    "position": "int",
    "device": "string",
    "query": "array<string>",
    "recent_items": "array<bigint>",
    "context": "map<string,string>",
    "click": "int",
}
"""Name: Hive type, in the order of the file. `request_time` is in UTC, with milliseconds."""

PARTITION_COLUMNS: dict[str, str] = {"dt": "string", "hour": "string"}
"""`dt` is YYYY-MM-DD, `hour` 00 to 23, both UTC. Without hourly partitions `hour` is the last column of the files."""


def columns_of(hours: bool) -> dict[str, str]:
    """The columns of the files: `hour` is one of them where it is no partition."""
    return COLUMNS if hours else {**COLUMNS, "hour": "string"}
