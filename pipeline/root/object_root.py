"""A root in an object store: this process's copy of its records, and how the copy and the store come together.

    <root>/artifacts, partitions, checkpoints, models    where they are; nodes fetch and put what they need
    <root>/runs, jobs, backfills, identity, alerts.json  records, small files: copied to this machine and put again
    <root>/locks/run                                     common.storage.object_lock

Everything that reads or writes a record does so in the copy, a folder that goes with the process, as it would below a
root on a disk. The copy is brought up to date when the lock is taken; what changed in it is put around every node and
before the lock is given back. Files of other runs that only a person reads (page, log, TensorBoard) are fetched by
`fetch_run`. run.json is put last, so a record never speaks of files that are not there.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hivemill.common.storage import object_lock, object_store, urls
from hivemill.common.storage.object_lock import Patience
from hivemill.common.storage.scratch import scratch_folder

RUNS = "runs"
_RECORDS = (RUNS, "jobs", "backfills")
_FILES = ("identity", "alerts.json")
_LAST = ("run.json",)
_LOCK = "locks/run"
# Of a run that is not the process's own: what other runs read of it.
_READ_BY_OTHERS = (".json", "config.yaml")
_COPIES: dict[str, ObjectRoot] = {}
_ONE_AT_A_TIME = threading.RLock()

Stamp = tuple[int, int]


def folder_of(root: str) -> Path:
    """The folder where this process finds the records of `root`: itself, or its copy of a URL."""
    return copy_of(root).path if urls.is_url(root) else Path(root)


def copy_of(url: str) -> ObjectRoot:
    """This process's copy of the root at `url`, fetched when it is first asked for."""
    with _ONE_AT_A_TIME:
        if url not in _COPIES:
            made = ObjectRoot(url)
            made.fetch()
            _COPIES[url] = made
        return _COPIES[url]


def behind(folder: Path) -> ObjectRoot | None:
    """The root in an object store whose copy `folder` is; None for a root on a disk."""
    return next((copy for copy in _COPIES.values() if copy.path == folder), None)


def put_changes(folder: Path) -> None:
    """Puts what has changed below a root; nothing to do where it is on a disk."""
    copy = behind(folder)
    if copy is not None:
        copy.put()


def refresh(folder: Path) -> None:
    """Puts what has changed below a root and brings its copy up to date; nothing to do where it is on a disk."""
    copy = behind(folder)
    if copy is not None:
        copy.put()
        copy.fetch()


def fetch_run(folder: Path, run_id: str) -> None:
    """Fetches all files of a run; nothing to do where the root is on a disk."""
    copy = behind(folder)
    if copy is not None:
        copy.fetch_run(run_id)


def fetch_all_runs(folder: Path) -> None:
    """Fetches all files of all runs; nothing to do where the root is on a disk."""
    for run in (folder / RUNS).glob("*/run.json"):
        fetch_run(folder, run.parent.name)


def place_of(path: Path) -> str:
    """`path` for people and for other machines: the URL of what is in a copy."""
    for copy in _COPIES.values():
        if copy.path in (path, *path.parents):
            return object_store.join(copy.url, path.relative_to(copy.path).as_posix())
    return str(path)


class ObjectRoot:
    """`path` is the copy, an empty folder at first."""

    def __init__(self, url: str):
        urls.check_url("root", url)
        self.url = url.rstrip("/")
        self.path = scratch_folder("root")
        self._known: dict[str, Stamp] = {}  # files as they are there, by size and time of the copy
        self._whole_runs: set[str] = set()

    def fetch(self) -> None:
        """Brings the copy up to date. Call it with nothing changed in the copy since the last `put`."""
        with _ONE_AT_A_TIME:
            there = {}
            for area in _RECORDS:
                place = object_store.join(self.url, area)
                there |= {f"{area}/{name}": time for name, time in object_store.modified(place).items()}
            wanted = [name for name in there if self._is_wanted(name)]
            alone = [name for name in _FILES if object_store.is_file(object_store.join(self.url, name))]
            for name in set(self._known) - set(wanted) - set(alone):
                (self.path / name).unlink(missing_ok=True)
            object_store.fetch(self.url, self.path, [*wanted, *alone])
            for name in wanted:  # the order in which verdicts were made is told by their time
                time = there[name].timestamp()
                os.utime(self.path / name, (time, time))
            self._known = {name: _stamp(self.path / name) for name in (*wanted, *alone)}

    def fetch_run(self, run_id: str) -> None:
        with _ONE_AT_A_TIME:
            if run_id not in self._whole_runs:
                self.put()
                self._whole_runs.add(run_id)
                self.fetch()

    def put(self) -> None:
        """Puts new and changed files, then removes those that are gone from the copy."""
        with _ONE_AT_A_TIME:
            now = {name: stamp for name in self._files() if (stamp := _stamp_or_none(self.path / name))}
            changed = [name for name, stamp in now.items() if self._known.get(name) != stamp]
            object_store.put(self.path, self.url, changed, _LAST)
            for name in set(self._known) - set(now):
                object_store.delete(object_store.join(self.url, name))
            self._known = now

    @contextlib.contextmanager
    def locked(
        self, run_id: str, patience: Patience, say: Callable[[str], None], lost: Callable[[str], None]
    ) -> Iterator[dict[str, Any] | None]:
        """Holds the root's lock; the copy is up to date inside, and put at the end, whatever happens."""
        with object_lock.object_lock(self.lock_url, run_id, patience, say, lost) as left:
            self.put()  # what was kept while the lock was waited for: which alerts were sent
            self._whole_runs.add(run_id)
            self.fetch()
            try:
                yield left
            finally:
                self.put()

    @property
    def lock_url(self) -> str:
        return object_store.join(self.url, _LOCK)

    def _is_wanted(self, name: str) -> bool:
        area, _, rest = name.partition("/")
        run_id, _, file = rest.partition("/")
        if area != RUNS or run_id in self._whole_runs:
            return True
        return file.count("/") < 2 and file.endswith(_READ_BY_OTHERS)

    def _files(self) -> list[str]:
        areas = (self.path / area for area in _RECORDS)
        found = [file for area in areas if area.is_dir() for file in area.rglob("*") if file.is_file()]
        names = [file.relative_to(self.path).as_posix() for file in found if not file.name.endswith((".tmp", ".lock"))]
        return [*names, *(name for name in _FILES if (self.path / name).is_file())]


def _stamp(file: Path) -> Stamp:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _stamp_or_none(file: Path) -> Stamp | None:
    with contextlib.suppress(FileNotFoundError):
        return _stamp(file)
    return None
