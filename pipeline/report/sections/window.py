"""What was read of the window: its days, the totals of its splits, what was left out. No HTML here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hivemill.common.text import shortened
from hivemill.pipeline.documents.manifest import Partition
from hivemill.pipeline.documents.run_documents import RunDocuments

MAX_DAYS, MAX_NAMED = 400, 50


@dataclass(frozen=True)
class Day:
    date: str
    split: str
    partitions: int
    rows: int | None
    bytes: int | None
    trouble: tuple[str, ...]


@dataclass(frozen=True)
class SplitTotal:
    name: str
    days: tuple[str, ...]
    partitions: int
    rows: int | None
    bytes: int | None


@dataclass(frozen=True)
class RowCount:
    """Rows of one split that were left out, or read as Hive reads them, by what was wrong with them."""

    split: str
    kind: str
    cause: str
    rows: int
    share: float | None


def days(folder: RunDocuments) -> list[Day]:
    """The window's days in order, with what was read of each and what is missing or late."""
    manifest = folder.manifest
    if manifest is None:
        return []
    split_of = {day: split for split, dates in manifest.window.items() for day in dates}
    read: dict[str, list[Partition]] = {day: [] for day in split_of}
    for partition in manifest.partitions:
        day = _day_of(partition.partition, split_of)
        if day:
            read[day].append(partition)
    trouble: dict[str, list[str]] = {day: [] for day in split_of}
    for word, entries in left_out(folder).items():
        for entry in entries:
            day = _day_of(entry, split_of)
            if day:
                trouble[day].append(f"{word}: {entry}")
    return [
        Day(day, split_of[day], len(read[day]), *_totals(read[day]), tuple(trouble[day])) for day in sorted(split_of)
    ]


def split_totals(folder: RunDocuments) -> list[SplitTotal]:
    if folder.manifest is None:
        return []
    totals = []
    for name, dates in folder.manifest.window.items():
        partitions = [one for one in folder.manifest.partitions if one.split == name]
        rows, num_bytes = _totals(partitions)
        rows = folder.manifest.num_rows.get(name, rows)
        totals.append(SplitTotal(name, tuple(sorted(dates)), len(partitions), rows, num_bytes))
    return totals


def _totals(partitions: Sequence[Partition]) -> tuple[int | None, int | None]:
    def total(values: list[int | None]) -> int | None:
        return sum(value for value in values if value is not None) if any(v is not None for v in values) else None

    return total([one.rows for one in partitions]), total([one.bytes for one in partitions])


def left_out(folder: RunDocuments) -> dict[str, list[str]]:
    """Partitions of the window that were not read: `missing`, `late`, `empty`, `small`; only kinds that occur."""
    manifest = folder.manifest
    kinds = {kind: getattr(manifest, kind, ()) for kind in ("missing", "late", "empty", "small")}
    return {kind: [partition_name(one) for one in entries] for kind, entries in kinds.items() if entries}


def odd_rows(folder: RunDocuments) -> list[RowCount]:
    """The rows of each split that something was wrong with: `left out` ones first, with their share of the split."""
    manifest = folder.manifest
    found = []
    for kind, of_splits in (
        (("left out", manifest.bad_rows), ("read as Hive does", manifest.row_notes)) if manifest else ()
    ):
        for split, counts in of_splits.items():
            total = manifest.rows_read.get(split, 0) + sum(manifest.bad_rows.get(split, {}).values())
            found += [RowCount(split, kind, cause, n, n / total if total else None) for cause, n in counts.items()]
    return found


def partition_name(entry: Any) -> str:
    """Missing and late entries are names, small ones documents that hold it with their arithmetic."""
    if isinstance(entry, dict):
        entry = entry.get("words") or entry.get("partition") or entry.get("path") or entry
    return shortened(str(entry), 200)


def _day_of(partition: str, known: dict[str, str]) -> str | None:
    """The window's day that a partition path such as `dt=2026-11-15/hour=07` belongs to, whatever the date's format."""
    for part in partition.split("/"):
        value = part.partition("=")[2] or part
        digits = "".join(filter(str.isdigit, value))
        day = value if value in known else f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}"
        if day in known:
            return day
    return None
