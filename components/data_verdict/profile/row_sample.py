"""Reads a sample of converted examples as Arrow: rows are chosen by their hash before they are decoded."""

from __future__ import annotations

import datetime
import functools
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from tfx.dsl.io import fileio

from hivemill.components.data_verdict.profile.builder import WindowFacts
from hivemill.components.data_verdict.profile.column_roles import ColumnRoles

_BATCH_ROWS = 8_192


def read_sample(files: Sequence[str], num_rows: int, sample_rows: int) -> tuple[pa.Table, np.ndarray]:
    """About `sample_rows` of the rows of `files` (GZIP TFRecords of tf.Example), and the hash of each.

    All rows where they are no more than that. A row is taken by its hash: the same rows every time, spread over all
    files, and copies of a row are taken or left together, so that their share can be measured.
    """
    import tensorflow as tf
    from tfx_bsl.coders import example_coder

    every = max(1, -(-num_rows // sample_rows))
    records = tf.data.TFRecordDataset(sorted(files), compression_type="GZIP", buffer_size=1 << 20)
    decoder = example_coder.ExamplesToRecordBatchDecoder()
    tables, hashes = [], []
    for batch in records.batch(_BATCH_ROWS).as_numpy_iterator():
        batch_hashes = hashes_of(batch)
        wanted = batch_hashes % np.uint64(every) == 0
        if wanted.any():
            tables.append(pa.Table.from_batches([decoder.DecodeBatch(batch[wanted].tolist())]))
            hashes.append(batch_hashes[wanted])
    table = pa.concat_tables([_with_lists(one) for one in tables], promote_options="default")
    return table, np.concatenate(hashes)


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


def hashes_of(records: np.ndarray) -> np.ndarray:
    """uint64 of serialized tf.Examples, the same for equal examples whatever the order of their features.

    The encoder writes the features of a row in no fixed order. Each of them starts with the byte 0x0a, so with one more
    at the end, the pairs of adjacent bytes are the same in any order: the hash is the sum of a random number for each.
    """
    data = np.frombuffer(b"\n".join(records) + b"\n\n", np.uint8).astype(np.uint16)
    pairs = data[:-1] * np.uint16(256) + data[1:]
    lengths = np.fromiter(map(len, records), np.int64, len(records)) + 1
    sums = np.add.reduceat(_pair_values()[pairs], np.cumsum(lengths) - lengths)
    return (sums ^ (sums >> np.uint64(32))) >> np.uint64(2)


@functools.cache
def _pair_values() -> np.ndarray:
    return np.random.Generator(np.random.PCG64(17)).integers(0, 2**64, 65_536, np.uint64)


def _with_lists(table: pa.Table) -> pa.Table:
    """Large lists as lists; a column that is absent from all rows of a batch has type null, and is left out of it."""
    kept, names = [], []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_null(column.type):
            continue
        value_type = column.type.value_type
        value_type = pa.binary() if pa.types.is_large_binary(value_type) else value_type
        kept.append(column.cast(pa.list_(value_type)))
        names.append(name)
    return pa.table(kept, names=names)


def files_of_splits(uri: str, splits: Sequence[str]) -> list[str]:
    """The files of an Examples artifact."""
    folders = [os.path.join(uri, f"Split-{split}") for split in splits]
    return [f"{folder}/{name}" for folder in folders for name in fileio.listdir(folder) if name.endswith(".gz")]
