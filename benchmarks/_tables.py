"""Tables for the ExampleGen benchmarks: 40 columns in Criteo's shape (13 numeric, 26 categorical, label), in pieces."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LAST_DAY = datetime.date(2026, 11, 15)
_PIECE_ROWS = 100_000
_SEED = 17


def write_parquet(file: Path, num_rows: int, seed: int = _SEED) -> None:
    """One Parquet file of `num_rows` rows, row groups of 100,000 rows."""
    file.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    vocabulary = np.array([f"{value:08x}" for value in random.integers(0, 2**32, 20_000)])
    with pq.ParquetWriter(file, _piece(1, random, vocabulary).schema) as writer:
        for start in range(0, num_rows, _PIECE_ROWS):
            writer.write_table(_piece(min(_PIECE_ROWS, num_rows - start), random, vocabulary))


def write_days(table: Path, num_days: int, rows_per_day: int, last_day: datetime.date = LAST_DAY) -> None:
    """`num_days` partitions up to and with `last_day`, one Parquet file each; days that exist stay as they are."""
    for back in range(num_days):
        day = last_day - datetime.timedelta(days=back)
        file = table / f"dt={day}" / "000000_0"
        if not file.exists():
            write_parquet(file, rows_per_day, seed=day.toordinal())


def _piece(num_rows: int, random: np.random.Generator, vocabulary: np.ndarray) -> pa.Table:
    columns: dict[str, pa.Array] = {"label": pa.array(random.integers(0, 2, num_rows))}
    for index in range(7):
        columns[f"i{index + 1}"] = pa.array(random.poisson(40, num_rows), mask=random.random(num_rows) < 0.1)
    for index in range(7, 13):
        columns[f"i{index + 1}"] = pa.array(random.random(num_rows, np.float32), mask=random.random(num_rows) < 0.1)
    for index in range(26):
        ids = (random.zipf(1.3, num_rows) - 1) % len(vocabulary)
        columns[f"c{index + 1}"] = pa.array(vocabulary[ids], mask=random.random(num_rows) < 0.05)
    return pa.table(columns)
