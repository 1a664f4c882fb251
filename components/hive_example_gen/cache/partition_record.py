"""The converted partitions that are kept: `<partitions path>/<fingerprint>/partition.json` and its shards.

An entry is complete or absent; one that was damaged afterwards counts as absent. How that comes: cache/base.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from hivemill.components.hive_example_gen.cache.base import Kind
from hivemill.components.hive_example_gen.cache.entries import store_at

RECORD_NAME = "partition.json"
_VERSION = 1


@dataclass(frozen=True)
class Shard:
    name: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class PartitionRecord:
    """`partition.json`: what a conversion wrote.

    Attributes:
        partition: the partition's folder below the table.
        rows: rows converted.
        rows_read: good rows of the files, before any step took some of them out.
        features: flattened name -> [dtype, multivalent], as written.
        meanings: flattened name -> kind of the column's own type; absent in older records.
        absent_columns: declared columns that no file of the partition has.
        bad_rows: rows left out, by cause; the first of them are in the entry's quarantine file.
        row_notes: rows read as Hive reads them although something was wrong with them, by what it was.
        step_counts: rows by what a step before the writing did to them (row_steps.RowSteps.counts).
        dropped_nulls: feature -> number of NULL elements inside arrays and maps, which tf.Example cannot express.
    """

    fingerprint: str
    partition: str
    rows: int
    shards: tuple[Shard, ...]
    features: dict[str, tuple[str, bool]]
    absent_columns: tuple[str, ...] = ()
    dropped_nulls: dict[str, int] | None = None
    rows_read: int = 0
    bad_rows: dict[str, int] = field(default_factory=dict)
    row_notes: dict[str, int] = field(default_factory=dict)
    step_counts: dict[str, int] = field(default_factory=dict)
    meanings: dict[str, str] = field(default_factory=dict)

    @property
    def num_bad_rows(self) -> int:
        return sum(self.bad_rows.values())

    @property
    def bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)

    def to_json(self) -> dict[str, Any]:
        return {"version": _VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> PartitionRecord:
        """Raises KeyError, TypeError or ValueError for another version or a damaged document."""
        values = dict(document)
        if values.pop("version") != _VERSION:
            raise ValueError("another version")
        values["shards"] = tuple(Shard(**shard) for shard in values["shards"])
        values["features"] = {name: (str(dtype), bool(many)) for name, (dtype, many) in values["features"].items()}
        values["absent_columns"] = tuple(values["absent_columns"])
        return cls(**values)


def _parsed(fingerprint: str, document: Any) -> PartitionRecord:
    record = PartitionRecord.from_json(document)
    if record.fingerprint != fingerprint:
        raise ValueError("another partition")
    return record


PARTITION = Kind(
    RECORD_NAME, _parsed, PartitionRecord.to_json, lambda record: {shard.name: shard.bytes for shard in record.shards}
)
"""How a converted partition is kept (cache.base)."""


def find(partitions_path: str, fingerprint: str) -> PartitionRecord | None:
    """The record of a converted partition; None where there is none, or where a shard is gone or has another size.

    Raises InfrastructureError where a URL does not answer.
    """
    return find_all(partitions_path, [fingerprint]).get(fingerprint)


def find_all(partitions_path: str, fingerprints: Iterable[str]) -> dict[str, PartitionRecord]:
    """The records of those that are kept whole. Raises InfrastructureError where a URL does not answer."""
    return store_at(partitions_path).find(PARTITION, fingerprints)
