"""Kept conversions in an object store, with workers that share no folder (docs/decisions/0071).

An entry's shards carry a name of their own attempt, and each is put as soon as it is written; the record is put last
and names them. So two workers that convert one partition at once never mix their shards, and a reader meets a whole
entry or none: a record is right exactly if all that it names is listed with the size that it says.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from hivemill.common.errors import InfrastructureError
from hivemill.common.storage import object_store, urls
from hivemill.common.storage.atomic import json_text
from hivemill.components.hive_example_gen.cache import leftovers
from hivemill.components.hive_example_gen.cache.base import LEFTOVER_SECONDS, Kind, Record
from hivemill.components.hive_example_gen.cache.object_store_index import Memory

_REQUESTS = 24  # at a time; Arrow's S3 client opens 25 connections
_FEW = 8  # entries that are listed one by one; more are found by one listing of all, 1,000 objects a request
_READ_AHEAD_BYTES = 1 << 20
_SCRATCH_PREFIX = "hivemill-kept-"
Given, Made = TypeVar("Given"), TypeVar("Made")


class ObjectEntry:
    """An entry that is being written. `folder` holds what is not done yet."""

    def __init__(self, folder: Path, url: str):
        self.folder = folder
        self._url = url
        self._attempt = uuid.uuid4().hex[:12]
        self._put: list[str] = []

    def shard(self, index: int) -> Path:
        return self.folder / f"{leftovers.SHARD_PREFIX}{index:05d}-{self._attempt}.gz"

    def done(self, shard: Path) -> None:
        """Scratch space is for one shard, not for a partition."""
        url = object_store.join(self._url, shard.name)
        self._put.append(url)
        object_store.put_file(shard, url)
        shard.unlink()

    def put_rest(self, last: str) -> None:
        object_store.put(self.folder, self._url, last=(last,))

    def take_back(self) -> None:
        """What cannot be removed now goes with the leftovers."""
        with contextlib.suppress(InfrastructureError):
            for url in self._put:
                object_store.delete(url)


class ObjectStoreCache:
    """Entries below a URL. See base.Store for the methods."""

    seconds_between_looks = 10.0

    def __init__(self, url: str):
        self._url = url
        self._memory = Memory(url)

    def find(self, kind: Kind[Record], keys: Iterable[str]) -> dict[str, Record]:
        keys = list(dict.fromkeys(keys))
        listing = self._listed(keys)
        there = [key for key in keys if kind.record_name in listing.get(key, ())]
        found = {key: self._memory.get(kind, key) for key in there}
        unknown = [key for key in there if not _is_whole(kind, found[key], listing[key])]
        found |= zip(unknown, for_all(lambda key: self._read(kind, key), unknown), strict=True)
        whole = {key: record for key, record in found.items() if record and _is_whole(kind, record, listing[key])}
        self._memory.add(kind, whole)
        return whole

    @property
    def scratch_place(self) -> str:
        try:
            return tempfile.gettempdir()
        except FileNotFoundError:
            return "the folder of temporary files (TMPDIR)"

    def scratch(self) -> contextlib.AbstractContextManager[Path]:
        return scratch_folder()

    @contextlib.contextmanager
    def writing(self, kind: Kind[Any], key: str) -> Iterator[ObjectEntry]:
        with scratch_folder() as folder:
            entry = ObjectEntry(folder, self._place(key))
            try:
                yield entry
                entry.put_rest(last=kind.record_name)
            except Exception:
                entry.take_back()
                raise

    def add(self, kind: Kind[Any], key: str, file: Path, document: Any) -> None:
        object_store.put_file(file, self._place(key, file.name))
        object_store.write_bytes(self._place(key, kind.record_name), json_text(document).encode())

    @contextlib.contextmanager
    def local(self, files: Sequence[tuple[str, str]]) -> Iterator[list[Path]]:
        with scratch_folder() as folder:
            paths = [folder / key / name for key, name in files]
            self.hand_out([(*file, str(path)) for file, path in zip(files, paths, strict=True)])
            yield paths

    def contents(self, keys: Iterable[str], name: str) -> Iterator[bytes | None]:
        yield from for_all(lambda key: object_store.read_bytes(self._place(key, name)), keys)

    def open(self, key: str, name: str) -> BinaryIO:
        filesystem, path = urls.filesystem_of(self._place(key, name))
        return cast(BinaryIO, filesystem.open_input_stream(path, compression=None, buffer_size=_READ_AHEAD_BYTES))

    def place_of(self, key: str, name: str) -> str:
        return urls.shown(self._place(key, name))

    def hand_out(self, files: Sequence[tuple[str, str, str]]) -> None:
        """Copied within the store; through this machine only to a place outside of it."""

        def hand_out(file: tuple[str, str, str]) -> None:
            key, name, target = file
            if urls.is_url(target):
                object_store.copy(self._place(key, name), target)
            else:
                object_store.fetch_file(self._place(key, name), Path(target))

        for_all(hand_out, files)

    def remember(self, kind: Kind[Record], records: Mapping[str, Record]) -> None:
        with contextlib.suppress(InfrastructureError):  # then planning takes longer
            self._memory.write(kind, records)

    def remove_leftovers(self) -> None:
        with contextlib.suppress(InfrastructureError):  # credentials that may not delete are no reason not to run
            for_all(object_store.delete, [self._place(path) for path in leftovers.find(self._url)])

    def _place(self, *parts: str) -> str:
        return object_store.join(self._url, *parts)

    def _listed(self, keys: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
        """Bytes by name, by entry."""
        if len(keys) <= _FEW:
            return dict(zip(keys, for_all(lambda key: object_store.sizes(self._place(key)), keys), strict=True))
        listing: dict[str, dict[str, int]] = {}
        for path, num_bytes in object_store.sizes(self._url).items():
            key, _, name = path.partition("/")
            listing.setdefault(key, {})[name] = num_bytes
        self._memory.read(listing)
        return listing

    def _read(self, kind: Kind[Record], key: str) -> Record | None:
        text = object_store.read_bytes(self._place(key, kind.record_name))
        return kind.from_text(key, text) if text is not None else None


def _is_whole(kind: Kind[Record], record: Record | None, listed: Mapping[str, int]) -> bool:
    return record is not None and all(listed.get(name) == size for name, size in kind.sizes(record).items())


def for_all(function: Callable[[Given], Made], items: Iterable[Given]) -> list[Made]:
    """The results for all items, several at a time. Raises the first error; what had not begun by then is left."""
    with concurrent.futures.ThreadPoolExecutor(_REQUESTS) as pool:
        begun = [pool.submit(function, item) for item in items]
        try:
            return [one.result() for one in begun]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """On this machine; removed afterwards. Those that a killed process left are removed when they are a day old."""
    for left in Path(tempfile.gettempdir()).glob(f"{_SCRATCH_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFTOVER_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX) as folder:
        yield Path(folder)
