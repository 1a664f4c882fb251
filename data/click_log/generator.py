"""Writes an e-commerce recommender's click log, with a known true model, as a partitioned Hive table.

    generate(click_log_options(days=7, rows_per_day=30_000, format="text"), Path("click_log"))

writes click_log/dt=2026-11-09/hour=00/000000_0 and so on, and click_log/_truth.json with the best AUC and logloss that
any model can reach. The same options give the same bytes on every machine with the locked libraries. Later days can be
added: a day depends on its date and the options, never on other days. Memory is bounded by a chunk of CHUNK_ROWS rows.
"""

from __future__ import annotations

import datetime
import errno
import filecmp
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hivemill.common import progress
from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.common.storage.atomic import folder_published_at, write_json_atomically, write_text_atomically
from hivemill.data.click_log import vocabulary as words
from hivemill.data.click_log.faults import TextCorruption, changed_schema, drift, faulty, rows_factor
from hivemill.data.click_log.options import ClickLogOptions, LogFault, PlantedDrift, SchemaChange, click_log_options
from hivemill.data.click_log.shop import (
    CONTEXT_KEYS,
    CONTEXT_VALUES,
    Impressions,
    Ragged,
    Shop,
    draw,
    generator,
    hour_rows,
)
from hivemill.data.click_log.truth import MAX_LEVEL, TrueModel, TruthCounts, probabilities
from hivemill.data.columns import columns_of
from hivemill.data.hive_table import ARROW_TYPES, arrow_schema
from hivemill.data.writers import DATA_FILE, SUCCESS_FILE, open_writer

__all__ = ["ClickLogOptions", "LogFault", "PlantedDrift", "SchemaChange", "click_log_options", "generate"]

CHUNK_ROWS = 100_000
TRUTH_FILE = "_truth.json"
COUNTS_FILE = "_truth_counts.json"
"""Impressions and clicks per day and level of the true logit: what "all" in the truth is added up from."""
SAME_TABLE_OPTIONS = ("seed", "format", "hours", "num_users", "num_items", "click_rate", "signal")
FAULT_STREAM, LOG_FAULT_STREAM = 1, 2


def generate(options: ClickLogOptions, destination: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Writes the log below `destination`, a table's folder, and returns the document of its `_truth.json`.

    A partition that is there already with the same content stays untouched, so more days extend a log. Raises
    ConfigError where a partition has other content, unless `overwrite`; InfrastructureError where the disk refuses.
    """
    try:
        return _Generator(options, Path(destination), overwrite).run()
    except OSError as error:
        hint = "Free some space." if error.errno == errno.ENOSPC else "Choose a folder that can be written."
        raise InfrastructureError(f"cannot write the click log to {destination}: {error}", hint=hint) from error


@dataclass(frozen=True)
class _Partition:
    date: datetime.date
    hours: tuple[int, ...]
    path: Path
    name: str


class _Generator:
    def __init__(self, options: ClickLogOptions, destination: Path, overwrite: bool):
        self.options, self.destination, self.overwrite = options, destination, overwrite
        self.known_counts = self._known_counts()
        self.shop = Shop(options.seed, options.num_users, options.num_items)
        self.model = TrueModel(self.shop, options.click_rate, options.signal)
        self.total_rows = sum(sum(self._hour_rows(date)) for date in options.dates)
        self.done_rows = 0

    def run(self) -> dict[str, Any]:
        for date in self.options.dates:
            counts = TruthCounts()
            for partition in self._partitions(date):
                counts += self._publish(partition)
            self.known_counts[date.isoformat()] = counts
            self._save_truth()
        return json.loads((self.destination / TRUTH_FILE).read_text(encoding="utf-8"))

    def _known_counts(self) -> dict[str, TruthCounts]:
        """The counts of the days that earlier calls wrote. Raises ConfigError where they wrote another kind of log."""
        truth, counts = self.destination / TRUTH_FILE, self.destination / COUNTS_FILE
        if not truth.exists() or not counts.exists():
            return {}
        before = _read_json(truth).get("options", {})
        for name in SAME_TABLE_OPTIONS:
            now = self.options.model_dump(mode="json")[name]
            if before.get(name) != now:
                raise ConfigError(
                    f"{self.destination} holds a click log with {name}={before.get(name)!r}; got {name}={now!r}",
                    hint="Choose another folder, or remove this one first.",
                )
        days = _read_json(counts)["days"]
        return {
            day: TruthCounts.from_json(rows) for day, rows in days.items() if (self.destination / f"dt={day}").exists()
        }

    def _partitions(self, date: datetime.date) -> Iterator[_Partition]:
        day, folder = date.isoformat(), self.destination / f"dt={date.isoformat()}"
        if day in self.options.missing_hours:
            return
        if not self.options.hours:
            yield _Partition(date, tuple(range(24)), folder, day)
            return
        for hour in range(24):
            if f"{day}/{hour:02}" not in self.options.missing_hours:
                yield _Partition(date, (hour,), folder / f"hour={hour:02}", f"{day}/{hour:02}")

    def _publish(self, partition: _Partition) -> TruthCounts:
        if partition.path.is_dir() and not any(partition.path.iterdir()):
            partition.path.rmdir()
        try:
            with folder_published_at(partition.path) as folder:
                counts = self._write(partition, folder)
                self._make_way(partition, folder)
        except _SameContentError:
            pass
        return counts

    def _make_way(self, partition: _Partition, folder: Path) -> None:
        if not partition.path.exists():
            return
        if _same_files(partition.path, folder):
            raise _SameContentError
        if not self.overwrite:
            raise ConfigError(
                f"{partition.path} exists with other content than these options give",
                hint="Choose another folder, the options that it was made with, or overwrite.",
            )
        shutil.rmtree(partition.path)

    def _write(self, partition: _Partition, folder: Path) -> TruthCounts:
        """Writes the partition's files into `folder`; the counts are those of the rows that can be read."""
        counts, options = TruthCounts(), self.options
        empty = arrow_schema(columns_of(options.hours)).empty_table()
        schema = changed_schema(empty, options.schema_changes, partition.date).schema
        corruption = TextCorruption(list(columns_of(options.hours)), options.corrupt_share)
        hook = corruption if options.corrupt_share else None
        left = self._rows_to_write(partition)
        with open_writer(options.format, folder / DATA_FILE, schema, hook) as writer:
            for impressions, random in self._chunks(partition):
                rows = min(len(impressions), left)
                left -= rows
                levels = self.model.levels(impressions)
                clicked = impressions.luck < probabilities()[levels + MAX_LEVEL]
                corruption.choose(rows, random)
                table = self._faulty(to_arrow(impressions, clicked, options.hours).slice(0, rows), impressions)
                writer.write(changed_schema(table, options.schema_changes, partition.date))
                counts.add(levels[:rows][corruption.readable], clicked[:rows][corruption.readable])
                self._report(len(impressions))
        if not self._is_late(partition):
            (folder / SUCCESS_FILE).touch()
        return counts

    def _faulty(self, table: pa.Table, rows: Impressions) -> pa.Table:
        if not self.options.faults:
            return table
        first = int(rows.request_milliseconds[0]) if len(rows) else 0
        random = generator(self.options.seed, rows.date.toordinal(), rows.hour, first % 3_600_000, LOG_FAULT_STREAM)
        return faulty(table, self.options.faults, rows.date, rows.hour, random)

    def _rows_to_write(self, partition: _Partition) -> int:
        sizes = self._hour_rows(partition.date)
        rows = sum(sizes[hour] for hour in partition.hours)
        return rows // 2 if self._is_late(partition) else rows

    def _is_late(self, partition: _Partition) -> bool:
        return bool({partition.name, partition.date.isoformat()} & set(self.options.late_partitions))

    def _chunks(self, partition: _Partition) -> Iterator[tuple[Impressions, np.random.Generator]]:
        """The partition's impressions, drift included, and for each chunk the random stream of its other faults."""
        for hour in partition.hours:
            size = self._hour_rows(partition.date)[hour]
            num_chunks = max(1, -(-size // CHUNK_ROWS))
            for chunk in range(num_chunks):
                rows = size * (chunk + 1) // num_chunks - size * chunk // num_chunks
                impressions = draw(self.shop, partition.date, hour, chunk, num_chunks, rows)
                random = generator(self.options.seed, partition.date.toordinal(), hour, chunk, FAULT_STREAM)
                drift(impressions, self.options, random)
                yield impressions, random

    def _hour_rows(self, date: datetime.date) -> list[int]:
        return hour_rows(date, round(self.options.rows_per_day * rows_factor(self.options, date)))

    def _report(self, rows: int) -> None:
        self.done_rows += rows
        progress.report(self.done_rows, self.total_rows)

    def _save_truth(self) -> None:
        """After every day, so that a log that is cut short is described as far as it goes."""
        days = dict(sorted(self.known_counts.items()))
        total = sum(days.values(), TruthCounts())
        rows = json.dumps({day: counts.to_json() for day, counts in days.items()}, separators=(",", ":"))
        write_text_atomically(self.destination / COUNTS_FILE, f'{{"version": 1, "days": {rows}}}\n')
        document = {
            "version": 1,
            "options": self.options.model_dump(mode="json"),
            "days": {day: counts.summary() for day, counts in days.items()},
            "all": total.summary(),
        }
        write_json_atomically(self.destination / TRUTH_FILE, document)


class _SameContentError(Exception):
    """Ends the publication of a partition that is there already; never leaves this module."""


def to_arrow(rows: Impressions, clicked: np.ndarray, hours: bool) -> pa.Table:
    """The columns of the log (data/columns.py) from codes."""
    columns = {
        "request_time": pa.array(rows.request_milliseconds * 1000).cast(ARROW_TYPES["timestamp"]),
        "user_id": pa.array(rows.user_id),
        "age_band": _decoded(words.AGE_BANDS, rows.age_band),
        "gender": _decoded(words.GENDERS, rows.gender),
        "city": _decoded(words.CITIES, rows.city),
        "member_level": pa.array(rows.member_level, mask=rows.member_level < 0).cast(pa.int32()),
        "item_id": pa.array(rows.item_id),
        "category": _decoded(words.CATEGORIES, rows.category),
        "brand": _decoded(words.BRANDS, rows.brand),
        "price": pa.array(rows.price, mask=np.isnan(rows.price)),
        "position": pa.array(rows.position).cast(pa.int32()),
        "device": _decoded(words.DEVICES, rows.device),
        "query": _lists(rows.query, _decoded(words.QUERY_TOKENS, rows.query.values)),
        "recent_items": _lists(rows.recent_items, pa.array(rows.recent_items.values)),
        "context": _maps(rows),
        "click": pa.array(clicked).cast(pa.int32()),
    }
    if not hours:
        columns["hour"] = pa.array([f"{rows.hour:02}"]).take(pa.array(np.zeros(len(rows), dtype=np.int64)))
    return pa.table(columns, schema=arrow_schema(columns_of(hours)))


def _decoded(values: Iterable[str], codes: np.ndarray) -> pa.Array:
    return pa.array(list(values), pa.string()).take(pa.array(codes, mask=codes < 0))


def _offsets(lengths: np.ndarray) -> pa.Array:
    """List offsets; the offset of a NULL list is NULL, as Arrow has it."""
    ends = np.concatenate(([0], np.cumsum(np.maximum(lengths, 0)))).astype(np.int32)
    return pa.array(ends, mask=np.append(lengths < 0, False))


def _lists(ragged: Ragged, values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(_offsets(ragged.lengths), values)


def _maps(rows: Impressions) -> pa.Array:
    keys, values = _decoded(CONTEXT_KEYS, rows.context_keys), _decoded(CONTEXT_VALUES, rows.context.values)
    return pa.MapArray.from_arrays(_offsets(rows.context.lengths), keys, values)


def _same_files(left: Path, right: Path) -> bool:
    names = sorted(os.listdir(left))
    return names == sorted(os.listdir(right)) and not any(filecmp.cmpfiles(left, right, names, shallow=False)[1:])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(
            f"{path} is no JSON document: {error}", hint="Remove the table's folder and generate it again."
        ) from error
