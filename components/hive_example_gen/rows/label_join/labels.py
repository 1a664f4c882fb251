"""The labels of the rows of one partition, batch by batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.rows.event_index import NEVER_BEFORE
from hivemill.components.hive_example_gen.rows.label_join import times
from hivemill.components.hive_example_gen.rows.label_join.build import (
    DayIndex,
    KeyColumns,
    KeyedRows,
    first_at_or_after,
    opened,
)
from hivemill.components.hive_example_gen.rows.label_join.coverage import Coverage

Take = Literal["last", "first", "every"]


@dataclass(frozen=True)
class PartitionJoin:
    """What labels one partition of impressions: indexes of the days that can matter to it.

    `impressions` is empty where `take` is `every`.
    """

    columns: KeyColumns
    within: int
    take: Take
    clicks: tuple[DayIndex, ...]
    impressions: tuple[DayIndex, ...]

    @property
    def fingerprints(self) -> list[list[str]]:
        """What the labels depend on besides the partition's own files."""
        return [[index.fingerprint for index in indexes] for indexes in (self.clicks, self.impressions)]


@dataclass
class Labeller:
    """Adds the label column. Counts: `labelled` rows got 1; `without_key` or `without_time` cannot match."""

    join: PartitionJoin
    column: str
    partitions_path: str
    bad: BadRows
    counts: dict[str, int] = field(default_factory=lambda: {"labelled": 0, "without_key": 0, "without_time": 0})

    def __post_init__(self) -> None:
        self._clicks = opened(self.join.clicks, self.partitions_path)
        self._impressions = opened(self.join.impressions, self.partitions_path)
        self._coverage = Coverage(self._clicks)

    def apply(self, batch: pa.RecordBatch, file: str, first_row: int) -> pa.RecordBatch:
        """The batch with the label as its last column, int64 0 or 1, without rows whose time is not of their day."""
        rows = KeyedRows.of(batch, self.join.columns)
        if not rows.inside.all():
            self._quarantine(rows, file, first_row)
            batch = batch.filter(pa.array(rows.inside))
            rows = KeyedRows.of(batch, self.join.columns)
        labels = self._labels(rows)
        self.counts["labelled"] += int(labels.sum())
        self.counts["without_key"] += int((~rows.keyed).sum())
        self.counts["without_time"] += int((rows.keyed & ~rows.timed).sum())
        return batch.append_column(self.column, pa.array(labels))

    def save(self, folder: Path) -> None:
        """Writes down which clicks the impressions stand before (coverage). Raises OSError."""
        self._coverage.save(folder, self.join.clicks)

    def _labels(self, rows: KeyedRows) -> np.ndarray:
        labels = np.zeros(len(rows.time), np.int64)
        usable = np.flatnonzero(rows.usable)
        hash1, hash2, time = rows.hash1[usable], rows.hash2[usable], rows.time[usable]
        click = first_at_or_after(self._clicks, hash1, hash2, time)
        followed = np.flatnonzero(click <= time + self.join.within)
        hash1, hash2, time, click = hash1[followed], hash2[followed], time[followed], click[followed]
        self._coverage.add(hash1, hash2, time, time + self.join.within)
        labels[usable[followed]] = self._takes(hash1, hash2, time, click)
        return labels

    def _takes(self, hash1: np.ndarray, hash2: np.ndarray, time: np.ndarray, click: np.ndarray) -> np.ndarray:
        """bool: whether impressions that a click follows within the limit, first at `click`, get one."""
        if self.join.take == "last":  # a click before the key's next impression
            return click < first_at_or_after(self._impressions, hash1, hash2, time + 1)
        if self.join.take == "first":  # a click that the key's impression before is too old for
            before = self._last_before(hash1, hash2, time)
            free = np.maximum(before, time - self.join.within - 1) + self.join.within + 1
            return first_at_or_after(self._clicks, hash1, hash2, free) <= time + self.join.within
        return np.ones(len(time), bool)

    def _last_before(self, hash1: np.ndarray, hash2: np.ndarray, time: np.ndarray) -> np.ndarray:
        last = np.full(len(time), NEVER_BEFORE, np.int64)
        for index in self._impressions:
            last = np.maximum(last, index.last_before(hash1, hash2, time))
        return last

    def _quarantine(self, rows: KeyedRows, file: str, first_row: int) -> None:
        columns = self.join.columns
        self.bad.good_rows -= int((~rows.inside).sum())  # the reader found nothing wrong with them
        for row in np.flatnonzero(~rows.inside).tolist():
            message = (
                f"{times.shown(rows.time[row])} is outside {times.shown(columns.first)} to {times.shown(columns.end)}, "
                "the day of its partition with label.join.partition_slack"
            )
            self.bad.add(file, first_row + row, "value", message, str(rows.time[row]), column=columns.time)
