"""Reads a sample of converted examples as Arrow: rows are chosen by their hash before they are decoded."""

from __future__ import annotations

import datetime
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from tfx.dsl.io import fileio

from hivemill.components.data_verdict.profile.builder import WindowFacts
from hivemill.components.data_verdict.profile.column_roles import ColumnRoles
from hivemill.components.hive_example_gen.summary.row_sample import as_lists, hashes_of, limit_of

_BATCH_ROWS = 8_192


def read_sample(files: Sequence[str], num_rows: int, sample_rows: int) -> tuple[pa.Table, np.ndarray]:
    """About `sample_rows` of the rows of `files` (GZIP TFRecords of tf.Example), and the hash of each.

    All rows where they are no more than that. A row is taken by its hash (summary.row_sample): the same rows as from
    the summaries of the partitions.
    """
    import tensorflow as tf
    from tfx_bsl.coders import example_coder

    limit = np.uint64(limit_of(sample_rows, num_rows))
    records = tf.data.TFRecordDataset(sorted(files), compression_type="GZIP", buffer_size=1 << 20)
    decoder = example_coder.ExamplesToRecordBatchDecoder()
    tables, hashes = [], []
    for batch in records.batch(_BATCH_ROWS).as_numpy_iterator():
        batch_hashes = hashes_of(batch)
        wanted = batch_hashes < limit
        if wanted.any():
            tables.append(as_lists(decoder.DecodeBatch(batch[wanted].tolist())))
            hashes.append(batch_hashes[wanted])
    return pa.concat_tables(tables, promote_options="default"), np.concatenate(hashes)


def window_facts(manifest: Mapping[str, Any], roles: ColumnRoles) -> WindowFacts:
    """What a manifest.json says about rows, splits and days."""
    rows: dict[str, dict[int, int]] = {}
    fingerprints: dict[str, list[str]] = {}
    for partition in manifest["partitions"]:
        day, hour = _day_and_hour(partition["partition"], roles)
        hours = rows.setdefault(day, {})
        hours[hour] = hours.get(hour, 0) + partition["rows"]
        fingerprints.setdefault(day, []).append(partition["fingerprint"])
    splits = {split: [day for day in days if day in rows] for split, days in manifest["window"].items()}
    return WindowFacts(rows, splits, {day: "/".join(sorted(set(parts)))[:200] for day, parts in fingerprints.items()})


def _day_and_hour(name: str, roles: ColumnRoles) -> tuple[str, int]:
    values = dict(part.split("=", 1) for part in name.split("/") if "=" in part)
    text = urllib.parse.unquote(values.get(roles.date, ""))
    try:
        day = datetime.datetime.strptime(text, roles.date_format).date().isoformat()
    except ValueError:
        day = text
    hour = urllib.parse.unquote(values.get(roles.hour, "")) if roles.hour else ""
    return day, int(hour) if hour.isdecimal() and int(hour) < 24 else -1


def files_of_splits(uri: str, splits: Sequence[str]) -> list[str]:
    """The files of an Examples artifact."""
    folders = [os.path.join(uri, f"Split-{split}") for split in splits]
    return [f"{folder}/{name}" for folder in folders for name in fileio.listdir(folder) if name.endswith(".gz")]
