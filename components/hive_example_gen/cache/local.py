"""Kept conversions in a folder that all workers share. An entry is published by a rename."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hivemill.common.storage import object_store, urls
from hivemill.common.storage.atomic import cannot_write, folder_published_at, link_or_copy, write_json_atomically
from hivemill.components.hive_example_gen.cache.base import LEFTOVER_SECONDS, NOTE_SECONDS, NOTE_SUFFIX, Kind, Record


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

    def add(self, kind: Kind[Any], key: str, file: Path, document: Any) -> None:
        os.replace(file, self.folder / key / file.name)
        write_json_atomically(self.folder / key / kind.record_name, document)

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
