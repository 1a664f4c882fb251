"""The model store in an object store (s3://, gs://): the same files, the same rules, the same class.

    <url>/models.config, <model>/labels.json, <model>/<version>/…    as serving.store.model_store has them in a folder
    <url>/.locks/                                                    claims (common.storage.object_lock)

Every change is made in a copy on this machine, under the store's lock, and then put: new versions first and their
`saved_model.pb` last, then labels.json, which is the one durable change, then what follows from it, and at the end what
was removed goes. Whoever is killed leaves the old labels or the new ones, and a version is there once its
`saved_model.pb` is; the next writer completes the rest, as in a folder. The copy has no model files but those of a
version that is being published. TensorFlow Serving reads models.config here: its base paths are this URL.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hivemill.common.errors import InfrastructureError
from hivemill.common.storage import object_store, urls
from hivemill.common.storage.object_lock import Patience, object_lock
from hivemill.common.storage.scratch import remove, scratch_folder
from hivemill.serving.store.audit import AUDIT_FILE
from hivemill.serving.store.labels import LABELS_FILE, StoreState
from hivemill.serving.store.model_store import RECORD_FILE, SERVING_CONFIG_FILE, ModelStore

GRAPH_FILE = "saved_model.pb"
_LOCKS = ".locks"
_FRESH_SECONDS = 2.0
_PUBLISHING = Patience(wait_seconds=3600.0)  # another model is being copied
_CHANGING = Patience(wait_seconds=120.0)


def open_store(place: str | Path, model: str) -> ModelStore:
    """The store in a folder, or in an object store where `place` is a URL. Raises ConfigError for an unusable one."""
    return BucketModelStore(str(place), model) if urls.is_url(str(place)) else ModelStore(place, model)


class BucketModelStore(ModelStore):
    """See ModelStore; `path` and `folder` are those of the copy on this machine, which goes with this object."""

    def __init__(self, url: str, model: str):
        urls.check_url("the model store", url)
        self.url = url.rstrip("/")
        copy = scratch_folder("store")
        weakref.finalize(self, remove, copy)
        super().__init__(copy, model)
        self._small: dict[str, bytes] = {}  # as they are there: what differs in the copy is put
        self._there: dict[str, int] = {}
        self._is_changing = False
        self._fetched_at: float | None = None

    @property
    def place(self) -> str:
        return urls.shown(self.url)

    def versions(self) -> list[int]:
        self._refresh()
        return super().versions()

    def state(self) -> StoreState:
        self._refresh()
        return super().state()

    def audit(self) -> list[dict[str, Any]]:
        self._refresh()
        return super().audit()

    def states(self, state: StoreState | None = None) -> dict[Path, StoreState]:
        self._refresh()
        return super().states(state)

    def path_of(self, version: int) -> Path:
        self._refresh()
        try:
            return super().path_of(version)
        except InfrastructureError as error:
            known = ", ".join(map(str, self.versions())) or "none"
            place = object_store.join(urls.shown(self.url), self.model, str(version))
            raise InfrastructureError(f"{place}: the store has no version {version} (it has: {known})") from error

    def place_of(self, version: int) -> str:
        self.path_of(version)
        return object_store.join(self.url, self.model, str(version))

    def server_config(self, state: StoreState | None = None, base_path: str | None = None) -> str:
        return super().server_config(state, base_path or self.url)

    def _refresh(self) -> None:
        is_old = self._fetched_at is None or time.monotonic() - self._fetched_at > _FRESH_SECONDS
        if is_old and not self._is_changing:
            self._fetch()

    def _fetch(self) -> None:
        """Brings the copy up to what is there now."""
        self._there = {
            name: num_bytes for name, num_bytes in object_store.sizes(self.url).items() if not name.startswith(".")
        }
        complete = {name.rpartition("/")[0] for name in self._there if _is_graph(name)}
        records = [f"{version}/{RECORD_FILE}" for version in complete]
        small = [name for name in self._there if name.count("/") < 2]
        new = [name for name in records if name in self._there and not (self.path / name).is_file()]
        object_store.fetch(self.url, self.path, [*small, *new])
        for version in complete:  # one that somebody copied in by hand has no record
            (self.path / version).mkdir(parents=True, exist_ok=True)
        self._forget(set(small), complete)
        self._small = {name: (self.path / name).read_bytes() for name in small}
        self._fetched_at = time.monotonic()

    def _forget(self, small: set[str], complete: set[str]) -> None:
        for name in set(self._small) - small:
            (self.path / name).unlink(missing_ok=True)
        for version in self._local_versions() - complete:
            shutil.rmtree(self.path / version)

    def _local_versions(self) -> set[str]:
        found = (entry for model in self.path.iterdir() if model.is_dir() for entry in model.iterdir())
        return {entry.relative_to(self.path).as_posix() for entry in found if entry.is_dir() and entry.name.isdecimal()}

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with object_lock(self.lock_of("store"), f"a change of {self.model}", _CHANGING):
            self._fetch()
            self._is_changing = True
            try:
                with self._translated():
                    self.folder.mkdir(parents=True, exist_ok=True)
                    self._complete()
                    yield
                self._put()
            finally:
                self._is_changing, self._fetched_at = False, None

    @contextlib.contextmanager
    def _publishing(self) -> Iterator[None]:
        """Versions without their graph belong to dead publishers then."""
        with object_lock(self.lock_of(f"publish-{self.model}"), f"publishing {self.model}", _PUBLISHING):
            self._fetch()
            complete = {name.rpartition("/")[0] for name in self._there if _is_graph(name)}
            versions = {"/".join(name.split("/")[:2]) for name in self._there if name.count("/") >= 2}
            for version in versions - complete:
                if version.partition("/")[0] == self.model and version.rpartition("/")[2].isdecimal():
                    object_store.delete(object_store.join(self.url, version))
            yield

    def _bring(self, folder: Path, version: int) -> None:
        names = [name for name in object_store.files_below(folder) if name != GRAPH_FILE]
        object_store.put(folder, object_store.join(self.url, self.model, str(version)), names)

    def _put(self) -> None:
        there = {name.rpartition("/")[0] for name in self._there if _is_graph(name)}
        local = self._local_versions()
        for version in local - there:
            graph = self.path / version / GRAPH_FILE
            object_store.put(graph.parent, object_store.join(self.url, version), [GRAPH_FILE])
        small = [name for name in object_store.files_below(self.path) if _is_kept(name)]
        changed = [name for name in small if self._small.get(name) != (self.path / name).read_bytes()]
        for name in sorted(changed, key=_turn):
            object_store.put(self.path, self.url, [name])
        for version in there - local:
            url = object_store.join(self.url, version)
            object_store.delete(object_store.join(url, GRAPH_FILE))
            object_store.delete(url)

    def lock_of(self, name: str) -> str:
        """Where the claims of a lock of this store are (common.storage.object_lock)."""
        return object_store.join(self.url, _LOCKS, name)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InfrastructureError(
                f"the copy of {urls.shown(self.url)} on this machine: {error.filename or self.path}: {error.strerror}",
                hint=f"Free space in {tempfile.gettempdir()} (TMPDIR); the store is as it was before.",
            ) from error


def _is_graph(name: str) -> bool:
    """Of `shop/1763190000/saved_model.pb`; assets may hold a file of that name deeper down."""
    return name.count("/") == 2 and name.endswith(f"/{GRAPH_FILE}")


def _is_kept(name: str) -> bool:
    return name.count("/") < 2 and not name.rpartition("/")[2].startswith(".")


def _turn(name: str) -> tuple[int, str]:
    """labels.json before what follows from it."""
    order = (LABELS_FILE, SERVING_CONFIG_FILE, AUDIT_FILE)
    file = name.rpartition("/")[2]
    return (order.index(file) if file in order else len(order), name)
