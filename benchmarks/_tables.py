"""Tables for the ExampleGen benchmarks: 40 columns in Criteo's shape (13 numeric, 26 categorical, label), in pieces."""

from __future__ import annotations

import datetime
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq

from hivemill.data.writers import joined_bytes, text_columns

LAST_DAY = datetime.date(2026, 11, 15)
_PIECE_ROWS = 100_000
_SEED = 17


def write_parquet(file: Path, num_rows: int, seed: int = _SEED) -> None:
    """One Parquet file of `num_rows` rows, row groups of 100,000 rows."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pieces = _pieces(num_rows, seed)
    first = next(pieces)
    with pq.ParquetWriter(file, first.schema) as writer:
        writer.write_table(first)
        for piece in pieces:
            writer.write_table(piece)


FORMATS = ("parquet", "orc", "text", "sequence_file", "avro")
COLUMNS = {
    "label": "bigint",
    **{f"i{index + 1}": "bigint" for index in range(7)},
    **{f"i{index + 1}": "float" for index in range(7, 13)},
    **{f"c{index + 1}": "string" for index in range(26)},
}
"""For the formats whose files do not say their columns."""


def write(file: Path, file_format: str, num_rows: int, seed: int = _SEED) -> None:
    """One file of `num_rows` rows in a format of FORMATS, the same rows in each."""
    if file_format == "parquet":
        write_parquet(file, num_rows, seed)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    pieces = _pieces(num_rows, seed)
    if file_format == "orc":
        with pyarrow.orc.ORCWriter(str(file), compression="zlib") as writer:
            for piece in pieces:
                writer.write(piece)
    elif file_format == "avro":
        _write_avro(file, pieces)
    else:
        write_lines = _write_sequence_file if file_format == "sequence_file" else _write_text
        write_lines(file, (bytes(joined_bytes(text_columns(piece))) for piece in pieces))


def _pieces(num_rows: int, seed: int) -> Iterator[pa.Table]:
    random = np.random.default_rng(seed)
    vocabulary = np.array([f"{value:08x}" for value in random.integers(0, 2**32, 20_000)])
    for start in range(0, num_rows, _PIECE_ROWS):
        yield _piece(min(_PIECE_ROWS, num_rows - start), random, vocabulary)


def _write_text(file: Path, blocks: Iterable[bytes]) -> None:
    with open(file, "wb") as opened:
        opened.writelines(blocks)


def _write_sequence_file(file: Path, blocks: Iterable[bytes]) -> None:
    """Version 6, not compressed: an empty BytesWritable as key, a Text as value, a sync marker every 2,000 bytes."""
    sync = os.urandom(16)
    classes = b"".join(
        bytes([len(name)]) + name for name in (b"org.apache.hadoop.io.BytesWritable", b"org.apache.hadoop.io.Text")
    )
    with open(file, "wb") as opened:
        opened.write(b"SEQ\x06" + classes + b"\x00\x00" + struct.pack(">i", 0) + sync)
        since_sync = 0
        for block in blocks:
            for line in block.splitlines():
                if since_sync >= 2000:
                    opened.write(b"\xff\xff\xff\xff" + sync)
                    since_sync = 0
                value = _vint(len(line)) + line
                record = struct.pack(">iii", 4 + len(value), 4, 0) + value
                opened.write(record)
                since_sync += len(record)


def _vint(number: int) -> bytes:
    """Hadoop's WritableUtils.writeVInt, of a number that is not negative."""
    if number < 128:
        return bytes([number])
    size = (number.bit_length() + 7) // 8
    return bytes([256 - 112 - size]) + number.to_bytes(size, "big")


def _write_avro(file: Path, pieces: Iterable[pa.Table]) -> None:
    import fastavro

    types = {"bigint": "long", "float": "float", "string": "string"}
    fields = [{"name": name, "type": ["null", types[hive_type]]} for name, hive_type in COLUMNS.items()]
    with open(file, "wb") as opened:
        rows = (row for piece in pieces for row in piece.to_pylist())
        fastavro.writer(opened, {"type": "record", "name": "row", "fields": fields}, rows, codec="deflate")


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
