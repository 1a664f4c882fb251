"""A sample of rows that samples of any window are taken from: those with the smallest hashes.

A row belongs to a sample where its hash is below a limit: the same rows every time, whatever their order and partition,
and copies of a row are taken or left together, so that their share can be measured. A partition keeps the rows below
its own limit; a window takes of them those below the limit of the window.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

END = 1 << 62
"""Hashes are below it: as a limit, all rows."""
_SLACK = 1.3  # so many times the rows that are kept come together before the others go


def limit_of(sample_rows: int, num_rows: int) -> int:
    """The limit below which about `sample_rows` of `num_rows` rows lie; all where they are no more than that."""
    return END if num_rows <= sample_rows else END * sample_rows // num_rows


class RowSample:
    """The `max_rows` rows with the smallest hashes, in their order; `limit` is above all of theirs."""

    def __init__(self, max_rows: int):
        self._max_rows = max_rows
        self._tables: list[pa.Table] = []
        self._hashes: list[np.ndarray] = []
        self._rows = 0
        self.limit = END

    def add(self, batch: pa.RecordBatch, records: Sequence[bytes] | np.ndarray) -> None:
        """Flattened features, and the tf.Examples that they are encoded as."""
        hashes = hashes_of(records)
        chosen = hashes < np.uint64(self.limit)
        self._tables.append(as_lists(batch.filter(pa.array(chosen))))
        self._hashes.append(hashes[chosen])
        self._rows += int(chosen.sum())
        if self._rows > _SLACK * self._max_rows:
            self._cut()

    def table(self) -> pa.Table:
        """The rows, and their hashes, uint64, as the last column."""
        if self._rows > self._max_rows:
            self._cut()
        if not self._tables:
            return pa.table({"hash": pa.array([], pa.uint64())})
        rows = pa.concat_tables(self._tables, promote_options="default")
        return rows.append_column("hash", pa.array(np.concatenate(self._hashes)))

    def _cut(self) -> None:
        hashes = np.concatenate(self._hashes)
        self.limit = int(np.partition(hashes, self._max_rows)[self._max_rows])
        chosen = hashes < np.uint64(self.limit)
        rows = pa.concat_tables(self._tables, promote_options="default")
        self._tables, self._hashes = [rows.filter(pa.array(chosen)).combine_chunks()], [hashes[chosen]]
        self._rows = int(chosen.sum())


def as_lists(batch: pa.RecordBatch) -> pa.Table:
    """Large lists as lists; without the columns of which no row has a value."""
    kept, names = [], []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count == len(column):
            continue
        value_type = column.type.value_type
        value_type = pa.binary() if pa.types.is_large_binary(value_type) else value_type
        kept.append(column.cast(pa.list_(value_type)))
        names.append(name)
    return pa.table(kept, names=names)


def hashes_of(records: Sequence[bytes] | np.ndarray) -> np.ndarray:
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
