"""How often each token of one field occurs, in bounded memory: beyond a limit, in sorted runs on disk."""

from __future__ import annotations

import heapq
import itertools
import operator
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

MAX_TOKENS_IN_MEMORY = 1_000_000  # of one field; about 120 MB
_BATCH_ROWS = 16_384
_RUN_SCHEMA = pa.schema([("token", pa.binary()), ("count", pa.int64())])


class TokenCounts:
    """Counts by token. `folder`, which exists, takes the runs; `name` tells fields apart in it."""

    def __init__(self, folder: Path, name: str, max_in_memory: int = MAX_TOKENS_IN_MEMORY):
        self._folder, self._name, self._max_in_memory = folder, name, max_in_memory
        self._counts: dict[bytes, int] = {}
        self._runs: list[Path] = []

    def add(self, tokens: Iterable[bytes], counts: Iterable[int]) -> None:
        """Raises OSError where a run cannot be written."""
        known = self._counts
        for token, count in zip(tokens, counts, strict=True):
            known[token] = known.get(token, 0) + count
        if len(known) > self._max_in_memory:
            self._spill()

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """(count, token) of every token, once."""
        if not self._runs:
            yield from ((count, token) for token, count in self._counts.items())
            return
        streams = [*map(_read_run, self._runs), iter(sorted(self._counts.items()))]
        merged = heapq.merge(*streams, key=operator.itemgetter(0))
        for token, group in itertools.groupby(merged, key=operator.itemgetter(0)):
            yield sum(count for _, count in group), token

    def _spill(self) -> None:
        path = self._folder / f"{self._name}.{len(self._runs)}.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _RUN_SCHEMA) as writer:
            ordered = sorted(self._counts.items())
            for start in range(0, len(ordered), _BATCH_ROWS):
                tokens, counts = zip(*ordered[start : start + _BATCH_ROWS], strict=True)
                writer.write_batch(pa.record_batch([pa.array(tokens, pa.binary()), pa.array(counts)], _RUN_SCHEMA))
        self._runs.append(path)
        self._counts = {}


def _read_run(path: Path) -> Iterator[tuple[bytes, int]]:
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
