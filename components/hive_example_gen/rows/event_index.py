"""Sorted (key, time) pairs on disk: built in bounded memory whatever their number, looked up without loading them.

A key is the 128-bit hash of its values (hashing.hashes_128). Three files, one per field of `PAIR`, in the order of
(hash1, hash2, time), are mapped into memory when they are asked, so that the operating system decides what stays in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

MAX_PAIRS_IN_MEMORY = 1 << 21
"""Pairs that are sorted at once: 48 MiB, and about three times that while they are sorted."""
NEVER_AFTER = np.iinfo(np.int64).max
NEVER_BEFORE = np.iinfo(np.int64).min

PAIR = np.dtype([("hash1", "<u8"), ("hash2", "<u8"), ("time", "<i8")])
FILE_NAMES = ("hash1", "hash2", "time")
_BUCKET_BITS = 6
_HASH_BITS = 64

Selection = Callable[[np.ndarray], np.ndarray]
"""Sorted pairs -> mask of those to keep."""


def distinct(pairs: np.ndarray) -> np.ndarray:
    """A pair that is there twice counts once."""
    keep = np.ones(len(pairs), bool)
    keep[1:] = pairs[1:] != pairs[:-1]
    return keep


class EventSorter:
    """Collects pairs in any order and writes them sorted; what does not fit in memory goes to buckets by hash.

    Memory is bounded by `max_pairs`, or by the pairs that one key keeps where those are more.
    """

    def __init__(
        self, folder: Path, reduce: Selection = distinct, max_pairs: int = MAX_PAIRS_IN_MEMORY, depth: int = 0
    ):
        """Args:
        folder: for the buckets; made when needed, empty again after `write`.
        reduce: applied to parts and again to the whole, so the first time must not change the second's result.
        depth: of the buckets of buckets.
        """
        self._folder = folder
        self._reduce = reduce
        self._max_pairs = max_pairs
        self._depth = depth
        self._parts: list[np.ndarray] = []
        self._num_held = 0
        self._buckets: set[int] = set()

    def add(self, hash1: np.ndarray, hash2: np.ndarray, time: np.ndarray) -> None:
        """Three arrays of as many rows."""
        pairs = np.empty(len(hash1), PAIR)
        pairs["hash1"], pairs["hash2"], pairs["time"] = hash1, hash2, time
        self._add(pairs)

    def write(self, target: Path, final: Selection | None = None) -> int:
        """Writes into the folder `target` what `EventIndex` opens; the number of pairs. `final` selects once more, of
        whole keys. Raises OSError."""
        target.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            return self._write_to([stack.enter_context(open(target / name, "wb")) for name in FILE_NAMES], final)

    def _add(self, pairs: np.ndarray) -> None:
        self._parts.append(pairs)
        self._num_held += len(pairs)
        if self._num_held >= self._max_pairs:
            self._make_room()

    def _make_room(self) -> None:
        pairs = self._take_sorted()
        is_deepest = (self._depth + 1) * _BUCKET_BITS > _HASH_BITS
        if is_deepest or len(pairs) <= self._max_pairs // 2:
            self._parts, self._num_held = [pairs], len(pairs)
            self._max_pairs = max(self._max_pairs, 2 * len(pairs))
        else:
            self._spill(pairs)

    def _take_sorted(self) -> np.ndarray:
        pairs = np.concatenate(self._parts) if self._parts else np.empty(0, PAIR)
        self._parts, self._num_held = [], 0
        pairs = pairs[np.lexsort((pairs["time"], pairs["hash2"], pairs["hash1"]))]
        return pairs[self._reduce(pairs)]

    def _spill(self, pairs: np.ndarray) -> None:
        """Buckets by the next bits of hash1: all pairs of a key meet in one, and the buckets are in order."""
        self._folder.mkdir(parents=True, exist_ok=True)
        shift = np.uint64(_HASH_BITS - (self._depth + 1) * _BUCKET_BITS)
        buckets = (pairs["hash1"] >> shift) & np.uint64((1 << _BUCKET_BITS) - 1)
        for bucket in np.unique(buckets).tolist():
            with open(self._path(bucket), "ab") as file:
                pairs[buckets == bucket].tofile(file)
            self._buckets.add(bucket)

    def _path(self, bucket: int) -> Path:
        return self._folder / f"bucket-{bucket:02d}"

    def _write_to(self, files: Sequence[BinaryIO], final: Selection | None) -> int:
        pairs = self._take_sorted()
        if self._buckets:
            self._spill(pairs)
            del pairs
            return sum(self._write_bucket(bucket, files, final) for bucket in sorted(self._buckets))
        pairs = pairs[final(pairs)] if final else pairs
        for file, name in zip(files, FILE_NAMES, strict=True):
            np.ascontiguousarray(pairs[name]).tofile(file)
        return len(pairs)

    def _write_bucket(self, bucket: int, files: Sequence[BinaryIO], final: Selection | None) -> int:
        path = self._path(bucket)
        inner = EventSorter(path.with_suffix(".parts"), self._reduce, self._max_pairs, self._depth + 1)
        with open(path, "rb") as file:
            while len(pairs := np.fromfile(file, PAIR, max(1, self._max_pairs // 2))):
                inner._add(pairs)
        path.unlink()
        return inner._write_to(files, final)


class EventIndex:
    """What `EventSorter.write` wrote, asked for many keys at once. Arrays in and out have one entry per row."""

    def __init__(self, folder: Path):
        self._hash1, self._hash2, self._time = (
            _mapped(folder / name, PAIR.fields[name][0])  # type: ignore[index]
            for name in FILE_NAMES
        )

    def __len__(self) -> int:
        return len(self._time)

    def first_at_or_after(self, hash1: np.ndarray, hash2: np.ndarray, time: np.ndarray) -> np.ndarray:
        """int64: the first time of each row's key that is not before `time`; NEVER_AFTER where there is none."""
        rows, begin, end = self._ranges(hash1)
        place = self._lower_bound(begin, end, hash2[rows], time[rows])
        return self._times(rows, place, place < end, hash2, len(hash1), NEVER_AFTER)

    def last_before(self, hash1: np.ndarray, hash2: np.ndarray, time: np.ndarray) -> np.ndarray:
        """int64: the last time of each row's key that is before `time`; NEVER_BEFORE where there is none."""
        rows, begin, end = self._ranges(hash1)
        place = self._lower_bound(begin, end, hash2[rows], time[rows]) - 1
        return self._times(rows, place, place >= begin, hash2, len(hash1), NEVER_BEFORE)

    def places(
        self, hash1: np.ndarray, hash2: np.ndarray, first: np.ndarray, last: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """For rows whose hash1 is there: where the key's pairs with `first` <= time <= `last` begin and end."""
        rows, begin, end = self._ranges(hash1)
        low = self._lower_bound(begin, end, hash2[rows], first[rows])
        return low, self._lower_bound(begin, end, hash2[rows], last[rows] + 1)

    def position(self, hash1: np.ndarray, hash2: np.ndarray) -> np.ndarray:
        """int64: where the first pair of each row's key is, -1 where there is none."""
        rows, begin, end = self._ranges(hash1)
        place = self._lower_bound(begin, end, hash2[rows], np.full(len(rows), NEVER_BEFORE))
        found = place < end
        found[found] = self._hash2[place[found]] == hash2[rows[found]]
        result = np.full(len(hash1), -1, np.int64)
        result[rows[found]] = place[found]
        return result

    def _ranges(self, hash1: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The rows whose hash1 is there at all (few), and from where to where."""
        begin = np.searchsorted(self._hash1, hash1)
        rows = np.flatnonzero(begin < len(self._hash1))
        rows = rows[self._hash1[begin[rows]] == hash1[rows]]
        return rows, begin[rows], np.searchsorted(self._hash1, hash1[rows], side="right")

    def _lower_bound(self, begin: np.ndarray, end: np.ndarray, hash2: np.ndarray, time: np.ndarray) -> np.ndarray:
        """The first place in [begin, end) whose (hash2, time) is not below; all rows bisect together."""
        low, high = begin.copy(), end.copy()
        while len(open_rows := np.flatnonzero(low < high)):
            middle = (low[open_rows] + high[open_rows]) // 2
            wanted = hash2[open_rows]
            found = self._hash2[middle]
            below = (found < wanted) | ((found == wanted) & (self._time[middle] < time[open_rows]))
            low[open_rows] = np.where(below, middle + 1, low[open_rows])
            high[open_rows] = np.where(below, high[open_rows], middle)
        return low

    def _times(
        self, rows: np.ndarray, place: np.ndarray, inside: np.ndarray, hash2: np.ndarray, num_rows: int, otherwise: int
    ) -> np.ndarray:
        rows, place = rows[inside], place[inside]
        same_key = self._hash2[place] == hash2[rows]
        result = np.full(num_rows, otherwise, np.int64)
        result[rows[same_key]] = self._time[place[same_key]]
        return result


def _mapped(path: Path, dtype: np.dtype) -> np.ndarray:
    if not path.stat().st_size:  # an empty file cannot be mapped
        return np.empty(0, dtype)
    return np.asarray(np.memmap(path, dtype, mode="r"))
