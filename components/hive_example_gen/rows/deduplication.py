"""The first row of each key within a partition, in bounded memory.

A first pass reads the key columns alone and writes down which keys repeat (usually few), sorted on disk; the second
pass, the conversion, then asks for each row whether its key is one of them and was seen already. So memory holds one
byte per repeated key, whatever the partition's size, and the first row that can be read in full is the one that stays.
A key is known by its 128-bit hash (hashing.hashes_128 says how unlikely a mistake is).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from hivemill.components.hive_example_gen.catalog.listing import SourceFile
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.options import BadRowOptions
from hivemill.components.hive_example_gen.rows import hashing
from hivemill.components.hive_example_gen.rows.event_index import EventIndex, EventSorter
from hivemill.components.hive_example_gen.rows.projection import projected_batches
from hivemill.components.hive_example_gen.table.spec import TableSpec


@dataclass
class Deduplicator:
    """Keeps the first row of each key. `duplicates` counts those left out."""

    columns: tuple[str, ...]
    repeated: EventIndex
    duplicates: int = field(default=0)

    def __post_init__(self) -> None:
        self._seen = np.zeros(len(self.repeated), bool)

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Without rows whose key an earlier row had; a row with a NULL in its key stays."""
        keys = [batch.column(name) for name in self.columns]
        place = self.repeated.position(*hashing.hashes_128(keys))
        rows = np.flatnonzero((place >= 0) & hashing.all_valid(keys))
        if not len(rows):
            return batch
        place = place[rows]
        _, first = np.unique(place, return_index=True)
        new = np.zeros(len(rows), bool)
        new[first] = ~self._seen[place[first]]
        self._seen[place[first]] = True
        keep = np.ones(batch.num_rows, bool)
        keep[rows[~new]] = False
        self.duplicates += int((~new).sum())
        return batch.filter(pa.array(keep))


def deduplicator(
    table: str,
    files: Sequence[SourceFile],
    spec: TableSpec,
    columns: tuple[str, ...],
    bad_rows: BadRowOptions,
    folder: Path,
) -> Deduplicator:
    """Reads the key columns of `files`.

    Args:
        folder: exists; holds what was found as long as the deduplicator is used.

    Raises DataNotReadyError.
    """
    with tempfile.TemporaryDirectory(prefix="buckets.", dir=folder) as buckets:
        sorter = EventSorter(Path(buckets), at_most_two)
        bad = BadRows(bad_rows)  # counted where rows are read in full
        for _, batch in projected_batches(table, files, spec, columns, bad):
            keys = [batch.column(name) for name in columns]
            valid = hashing.all_valid(keys)
            hash1, hash2 = hashing.hashes_128(keys)
            sorter.add(hash1[valid], hash2[valid], np.zeros(int(valid.sum()), np.int64))
        sorter.write(folder, second)
    return Deduplicator(columns, EventIndex(folder))


def at_most_two(pairs: np.ndarray) -> np.ndarray:
    """Of sorted pairs of equal keys the first two."""
    keep = np.ones(len(pairs), bool)
    keep[2:] = pairs[2:] != pairs[:-2]
    return keep


def second(pairs: np.ndarray) -> np.ndarray:
    """Of at most two equal pairs the second: each repeated key once."""
    keep = np.zeros(len(pairs), bool)
    keep[1:] = pairs[1:] == pairs[:-1]
    return keep
