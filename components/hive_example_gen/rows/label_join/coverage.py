"""Which clicks an impression stands before: each partition writes down its own, a run counts those that none has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hivemill.components.hive_example_gen.cache.entries import store_at
from hivemill.components.hive_example_gen.rows.event_index import EventIndex
from hivemill.components.hive_example_gen.rows.label_join import build
from hivemill.components.hive_example_gen.rows.label_join.build import DayIndex
from hivemill.components.hive_example_gen.rows.label_join.days import Day, days_with_clicks_of
from hivemill.components.hive_example_gen.rows.label_join.options import LabelJoinOptions


class Coverage:
    """The clicks of some days that impressions of one partition stand before. Memory: 4 bytes a click."""

    def __init__(self, indexes: Sequence[EventIndex]):
        self._indexes = indexes
        self._edges = [np.zeros(len(index) + 1, np.int32) for index in indexes]

    def add(self, hash1: np.ndarray, hash2: np.ndarray, first: np.ndarray, last: np.ndarray) -> None:
        """Per impression its key and the times, both included, in which a click is its own."""
        for index, edges in zip(self._indexes, self._edges, strict=True):
            begin, end = index.places(hash1, hash2, first, last)
            np.add.at(edges, begin, 1)
            np.add.at(edges, end, -1)

    def save(self, folder: Path, plans: Sequence[DayIndex]) -> None:
        """One bit per click of each index, in the index's order. Raises OSError."""
        for plan, edges in zip(plans, self._edges, strict=True):
            np.packbits(np.cumsum(edges[:-1]) > 0).tofile(folder / _name(plan))


def clicks_of_window(
    options: LabelJoinOptions, partitions: Sequence[tuple[Day, str, Sequence[DayIndex]]], partitions_path: str
) -> list[dict[str, Any]]:
    """What became of each day of clicks, oldest first.

    Args:
        partitions: day, fingerprint and indexes of clicks of every partition of impressions.

    Returns:
        documents; `without_impression` is None for a day at the window's edge, whose impressions are not all read.
    """
    days = {day for day, _, _ in partitions}
    readers: dict[str, list[str]] = {}
    indexes: dict[str, DayIndex] = {}
    for _, key, clicks in partitions:
        for index in clicks:
            indexes[index.fingerprint] = index
            readers.setdefault(index.fingerprint, []).append(key)
    found = []
    records = build.find_all(indexes.values(), partitions_path)
    for index in sorted(indexes.values(), key=lambda index: index.day):
        record = records.get(index.fingerprint)
        if record is not None:
            all_read = days.issuperset(days_with_clicks_of(options, index.day))
            alone = _without(index, readers[index.fingerprint], record.pairs, partitions_path) if all_read else None
            found.append(_document(record, alone))
    return found


def _document(record: build.IndexRecord, without_impression: int | None) -> dict[str, Any]:
    return {
        "day": record.day,
        "rows": record.read,
        "distinct": record.pairs,
        "without_key": record.without_key,
        "without_time": record.without_time,
        "outside_day": record.outside_day,
        "bad_rows": record.bad_rows,
        "without_impression": without_impression,
    }


def _without(index: DayIndex, readers: Sequence[str], num_clicks: int, partitions_path: str) -> int | None:
    """Clicks of the index that no partition's impressions stand before; None where a partition does not say."""
    covered = np.zeros((num_clicks + 7) // 8, np.uint8)
    for bits in store_at(partitions_path).contents(readers, _name(index)):
        if bits is None or len(bits) != len(covered):
            return None
        covered |= np.frombuffer(bits, np.uint8)
    return num_clicks - int(np.unpackbits(covered, count=num_clicks).sum())


def _name(index: DayIndex) -> str:
    return f"clicks-{index.fingerprint[:32]}.bits"
