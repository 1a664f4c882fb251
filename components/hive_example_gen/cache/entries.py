"""What is kept of conversions: one entry per fingerprint, complete or absent, in a folder or in an object store.

    <place>/<fingerprint>/partition.json       the record of the entry, with its shards (cache.PartitionRecord)
    <place>/<fingerprint>/data-00000.gz …
    <place>/<fingerprint>/quarantine.jsonl.gz, clicks-….bits     what else a conversion found (quarantine, label_join)
    <place>/<fingerprint>/index.json           of an index of the label join (label_join.build), with its three files

`store_at(place)` gives the store of a folder or of a URL; whoever uses one need not know which. A folder's entry
is published by a rename. What a URL's does instead is told in kept_objects.py.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Generic, Protocol, TypeVar

from hivemill.common.storage import object_store, urls
from hivemill.common.storage.atomic import cannot_write, folder_published_at, link_or_copy, write_json_atomically

LEFTOVER_SECONDS = 24 * 3600
NOTE_SECONDS = 90 * 86_400
NOTE_SUFFIX = ".reading"
FAILURES_PREFIX = ".failures."
Record = TypeVar("Record")


@dataclass(frozen=True)
class Kind(Generic[Record]):
    """What an entry's record is.

    Attributes:
        record_name: the file that makes an entry complete.
        parse: fingerprint and document -> record. Raises KeyError, TypeError, ValueError, AttributeError for one of
            another version or entry, or a damaged one.
        document: the record as it is written.
        sizes: bytes of the entry's files by name, as the record has them.
    """

    record_name: str
    parse: Callable[[str, Any], Record]
    document: Callable[[Record], Any]
    sizes: Callable[[Record], Mapping[str, int]]

    def from_document(self, key: str, document: Any) -> Record | None:
        try:
            return self.parse(key, document)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def from_text(self, key: str, text: bytes) -> Record | None:
        try:
            return self.from_document(key, json.loads(text))
        except ValueError:
            return None


class Entry(Protocol):
    """An entry that is being written: files in `folder`, which is on this machine."""

    @property
    def folder(self) -> Path: ...

    def shard(self, index: int) -> Path:
        """Where to write the shard `index`, from 0."""

    def done(self, shard: Path) -> None:
        """Takes a shard that is written; it may leave the folder at once. Raises OSError, InfrastructureError."""


class Store(Protocol):
    """Entries below one place. A URL that does not answer is an InfrastructureError in every method."""

    seconds_between_looks: float
    """How often progress may ask."""

    @property
    def scratch_place(self) -> str:
        """Where conversions put temporary files, for people."""

    def scratch(self) -> contextlib.AbstractContextManager[Path]:
        """An empty folder of this machine, removed afterwards, or as a leftover."""

    def find(self, kind: Kind[Record], keys: Iterable[str]) -> dict[str, Record]:
        """The records of those entries that are whole: every file is there and has the size that the record says."""

    def writing(self, kind: Kind[Any], key: str) -> contextlib.AbstractContextManager[Entry]:
        """For one entry. It is published if the block ends well, record last; otherwise nothing of it is seen.

        Raises OSError where it cannot be written, or where another one published it in the meantime.
        """

    def local(self, files: Sequence[tuple[str, str]]) -> contextlib.AbstractContextManager[list[Path]]:
        """These files (key, name) on this machine, at least as long as the block runs; `<key>/<name>` ends each."""

    def contents(self, keys: Iterable[str], name: str) -> Iterator[bytes | None]:
        """The file `name` of each entry, None where there is none."""

    def open(self, key: str, name: str) -> BinaryIO:
        """Raises OSError."""

    def place_of(self, key: str, name: str) -> str:
        """Path or URL of a file, for people."""

    def hand_out(self, files: Sequence[tuple[str, str, str]]) -> None:
        """Puts files (key, name, path or URL of the target) where they are wanted, replacing what is there.

        Raises InfrastructureError.
        """

    def remember(self, kind: Kind[Record], records: Mapping[str, Record]) -> None:
        """Tells which records the next run will most likely ask for."""

    def remove_leftovers(self) -> None:
        """Removes what killed runs left half-written. Younger ones stay: another run may be writing them now.

        Notes of what was read when a process ended (reading.py) stay for the next run, be it weeks later.
        """


def store_at(place: str) -> Store:
    """`place` is a folder, which need not exist, or a URL."""
    if urls.is_url(place):
        return _of_url(place)
    return FolderStore(Path(place))


@functools.lru_cache(maxsize=4)
def _of_url(place: str) -> Store:
    """One per process, because it remembers records."""
    from hivemill.components.hive_example_gen.cache.object_store import ObjectStore

    return ObjectStore(place)


def ensure(store: Store, kind: Kind[Record], key: str, make: Callable[[Entry], Record]) -> Record:
    """The record of the entry, found or made now. Raises what `make` raises, and InfrastructureError."""
    try:
        if found := store.find(kind, [key]):
            return found[key]
        with store.writing(kind, key) as entry:
            record = make(entry)
            write_json_atomically(entry.folder / kind.record_name, kind.document(record))
    except OSError as error:
        # Another worker may have been faster; what it published is the same.
        found = store.find(kind, [key])
        if not found:
            raise cannot_write(store.scratch_place, error) from error
        return found[key]
    return record


@dataclass(frozen=True)
class FolderEntry:
    folder: Path

    def shard(self, index: int) -> Path:
        return self.folder / f"data-{index:05d}.gz"

    def done(self, shard: Path) -> None:
        """It stays: the whole folder is published."""


@dataclass(frozen=True)
class FolderStore:
    """Entries as folders below a folder, which all workers share."""

    folder: Path
    seconds_between_looks = 1.0

    @property
    def scratch_place(self) -> str:
        return str(self.folder)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix=".keys.", dir=self.folder) as folder:
            yield Path(folder)

    def find(self, kind: Kind[Record], keys: Iterable[str]) -> dict[str, Record]:
        found = {key: self._whole(kind, key) for key in keys}
        return {key: record for key, record in found.items() if record is not None}

    def _whole(self, kind: Kind[Record], key: str) -> Record | None:
        folder = self.folder / key
        try:
            record = kind.from_text(key, (folder / kind.record_name).read_bytes())
            if record is None:
                return None
            whole = all(os.stat(folder / name).st_size == size for name, size in kind.sizes(record).items())
        except OSError:
            return None
        return record if whole else None

    @contextlib.contextmanager
    def writing(self, kind: Kind[Any], key: str) -> Iterator[FolderEntry]:
        self._discard(kind, key)
        with folder_published_at(self.folder / key) as folder:
            yield FolderEntry(folder)

    def _discard(self, kind: Kind[Any], key: str) -> None:
        """Removes an entry if it is damaged; renamed away first, so that nobody finds half of it."""
        folder = self.folder / key
        if not folder.exists() or self._whole(kind, key) is not None:
            return
        aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.damaged")
        try:
            os.rename(folder, aside)
        except FileNotFoundError:
            return
        shutil.rmtree(aside, ignore_errors=True)

    @contextlib.contextmanager
    def local(self, files: Sequence[tuple[str, str]]) -> Iterator[list[Path]]:
        yield [self.folder / key / name for key, name in files]

    def contents(self, keys: Iterable[str], name: str) -> Iterator[bytes | None]:
        for key in keys:
            try:
                yield (self.folder / key / name).read_bytes()
            except OSError:
                yield None

    def open(self, key: str, name: str) -> BinaryIO:
        return open(self.folder / key / name, "rb")

    def place_of(self, key: str, name: str) -> str:
        return str(self.folder / key / name)

    def hand_out(self, files: Sequence[tuple[str, str, str]]) -> None:
        """Hard links where the filesystem has them, copies elsewhere."""
        for key, name, target in files:
            source = self.folder / key / name
            try:
                if urls.is_url(target):
                    object_store.put_file(source, target)
                else:
                    Path(target).unlink(missing_ok=True)  # left by an attempt that was killed
                    link_or_copy(source, Path(target))
            except OSError as error:
                raise cannot_write(target, error) from error

    def remember(self, kind: Kind[Record], records: Mapping[str, Record]) -> None:
        """A folder is asked as quickly as any memory of it."""

    def remove_leftovers(self) -> None:
        with contextlib.suppress(OSError):
            for path in self.folder.glob(".*"):
                with contextlib.suppress(OSError):
                    limit = NOTE_SECONDS if path.suffix == NOTE_SUFFIX else LEFTOVER_SECONDS
                    if time.time() - path.stat().st_mtime > limit:
                        shutil.rmtree(path, ignore_errors=True)
