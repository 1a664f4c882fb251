"""A copy of the model store in a bucket (s3://, gs://), for model servers that do not see the store's disk.

    <url>/models.config              as the store's, with <url> as base_path; batching.config and monitoring.config
    <url>/<model>/labels.json        labels and rollout, as `serving.store.labels.read_state` reads them
    <url>/<model>/<version>/         as in the store, and hivemill_files.json: size and SHA-256 of each file

An object store has neither rename nor lock, so it is never written first: the store stays the truth, `sync` brings the
copy up to it, and the order of writes is what a reader relies on (docs/decisions/0069). A version: hivemill_files.json,
variables and assets, `saved_model.pb` last; then models.config, which names it, and labels.json. Removal: models.config
and labels.json first, then `saved_model.pb`, then the rest. Whoever follows models.config never meets half a version,
whatever was killed; the next `sync` goes on from what is there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
from google.protobuf import text_format

from hivemill.common.errors import InfrastructureError
from hivemill.common.storage import urls
from hivemill.serving.store import server_config
from hivemill.serving.store.labels import LABELS_FILE, StoreState
from hivemill.serving.store.model_store import SERVING_CONFIG_FILE, ModelStore

FILES_FILE = "hivemill_files.json"
GRAPH_FILE = "saved_model.pb"
LOCK_FILE, UPLOAD_LOCK_FILE = ".mirror.lock", ".mirror.upload.lock"
_CHUNK_BYTES = 8 << 20

Listing = Mapping[str, int]  # bytes by key below the URL


@dataclasses.dataclass(frozen=True)
class Synced:
    """What a `sync` wrote and removed, as keys below the URL; nothing where the copy was up to date."""

    uploaded: tuple[str, ...]
    removed: tuple[str, ...]


class StoreMirror:
    """The copy of a whole store, all its models, at `url`. What fails is an InfrastructureError that names the key."""

    def __init__(self, store: ModelStore, url: str):
        """Asks nothing yet. Raises ConfigError for a URL that cannot be opened, or that holds credentials."""
        urls.check_url("store.mirror", url)
        self._store, self.url = store, url
        self.base_path = urls.shown(url).rstrip("/")
        bare, query = urls.split_query(url)
        self._filesystem, self._root = urls.filesystem_of(bare.rstrip("/") + query)
        self._uploaded: list[str] = []

    def server_config(self, state: StoreState | None = None) -> str:
        """models.config of the copy; as if the store's model were in `state`, if given."""
        return self._store.server_config(state, self.base_path)

    def sync(self, state: StoreState | None = None) -> Synced:
        """Brings the copy up to the store, of whose model `state` may be what is about to be written.

        What the copy can be told at once is told first, so that a way back to stable waits for no upload.
        """
        self._uploaded = []
        there = self._listing()
        is_told = self._tell(there, state)
        if self._lacks_versions(there):
            self._upload()
        if not is_told and not self._tell(self._listing(), state):
            raise self._error("models.config", "names a version that is not complete", "It is not in the store either.")
        return Synced(tuple(self._uploaded), tuple(self._remove(there)))

    def is_behind(self) -> bool:
        """Whether `sync` has something to do. Writes nothing; raises where the bucket does not answer."""
        there = self._listing()
        if not self._store.path.is_dir():
            return False
        if self._lacks_versions(there) or self._gone(there):
            return True
        return any(self._read(key) != text for key, text in self._texts(None, self._store.states()))

    def _lacks_versions(self, there: Listing) -> bool:
        return not all(self._is_complete(folder, version, there) for folder, version in self._published())

    def _tell(self, there: Listing, state: StoreState | None) -> bool:
        """Writes what names versions; False where one of them is not complete yet. Those who tell take turns, so that
        nothing older is written over something newer.
        """
        with self._alone(LOCK_FILE):
            states = self._store.states(state)
            named = [(folder, version) for folder, each in states.items() for version in each.in_use()]
            if not all(self._is_complete(folder, version, there) for folder, version in named):
                return False
            before = self._read(SERVING_CONFIG_FILE)
            self._check_owner(before or "")
            for key, text in self._texts(state, states):
                if text != (before if key == SERVING_CONFIG_FILE else self._read(key)):
                    self._write(key, text.encode())  # appears as a whole: a reader sees the old one or the new one
        return True

    def _texts(self, state: StoreState | None, states: Mapping[Path, StoreState]) -> Iterator[tuple[str, str]]:
        """What names versions, and what stands beside it, by key, in the order in which it is written."""
        for name in server_config.STATIC_FILES:
            if (self._store.path / name).is_file():
                yield name, (self._store.path / name).read_text("utf-8")
        yield SERVING_CONFIG_FILE, self.server_config(state)
        for folder, each in states.items():
            yield f"{folder.name}/{LABELS_FILE}", _labels_document(each)

    def _check_owner(self, config: str) -> None:
        """Two stores that write to one URL would take each other's versions away, in turns."""
        try:
            models = server_config.parse_models_config(config).model_config_list.config
        except text_format.ParseError as error:
            hint = "Remove it there: it is written anew by `hivemill models sync`."
            raise self._error(SERVING_CONFIG_FILE, f"is no models.config: {error}", hint) from error
        for model in models:
            known = self._known_versions(self._store.path / model.name)
            foreign = set(model.model_version_policy.specific.versions) - known
            if foreign:
                raise self._error(
                    SERVING_CONFIG_FILE,
                    f"names versions of {model.name} that {self._store.path} never had: {sorted(foreign)}",
                    "Another store writes to this URL: give each one of its own (store.mirror). If this store is to "
                    "have it from now on, remove models.config there first.",
                )

    def _upload(self) -> None:
        with self._alone(UPLOAD_LOCK_FILE):
            there = self._listing()
            for folder, version in self._published():
                if not self._is_complete(folder, version, there):
                    self._upload_version(folder / str(version), f"{folder.name}/{version}", there)

    def _upload_version(self, source: Path, key: str, there: Listing) -> None:
        """`saved_model.pb` last. Files that are there are left where hivemill_files.json says that they are these."""
        try:
            wanted = _files_document(source)
            known = self._read(f"{key}/{FILES_FILE}")
            if known not in (None, wanted):
                hint = "Two stores share this URL, or it was changed by hand: remove that version there."
                raise self._error(key, f"has other files than {source}", hint)
            if known is None:
                self._write(f"{key}/{FILES_FILE}", wanted.encode())
            for name, num_bytes in sorted(_sizes(source).items(), key=lambda file: (file[0] == GRAPH_FILE, file[0])):
                if known is None or there.get(f"{key}/{name}") != num_bytes:
                    self._copy(source / name, f"{key}/{name}")
        except FileNotFoundError as error:
            if source.is_dir():
                raise self._error(key, f"lacks a file of the store: {error}", "Is it being changed by hand?") from error
            # Retention was quicker; `_remove` takes away what is there of it.

    def _remove(self, there: Listing) -> Iterator[str]:
        for version in self._gone(there):
            with self._alone(UPLOAD_LOCK_FILE), self._translated(version, "cannot be removed"):
                if f"{version}/{GRAPH_FILE}" in there:
                    with contextlib.suppress(FileNotFoundError):  # another sync was quicker
                        self._filesystem.delete_file(self._place(f"{version}/{GRAPH_FILE}"))
                self._remove_folder(version)
            yield version

    def _remove_folder(self, version: str) -> None:
        """What is there afterwards tells, not Arrow's error: on gs:// it raises one after all is removed, where no
        object marks the folder, and another one where another sync was quicker.
        """
        try:
            self._filesystem.delete_dir(self._place(version))
        except OSError:
            if any(key.startswith(f"{version}/") for key in self._listing()):
                raise

    def _gone(self, there: Listing) -> list[str]:
        """Versions that the store had and has no more. What it never had is somebody else's."""
        removed = {
            f"{folder.name}/{version}"
            for folder, state in self._store.states().items()
            for version in self._known_versions(folder) - set(_of(folder).versions()) - state.in_use()
        }
        return sorted(removed & {"/".join(key.split("/")[:2]) for key in there if key.count("/") >= 2})

    def _published(self) -> Iterator[tuple[Path, int]]:
        """All versions of all models, what is served first, then the newest."""
        for folder, state in self._store.states().items():
            served = state.in_use()
            for version in sorted(_of(folder).versions(), key=lambda one: (one not in served, -one)):
                if (folder / str(version) / GRAPH_FILE).is_file():
                    yield folder, version

    def _is_complete(self, folder: Path, version: int, there: Listing) -> bool:
        """A version never changes, so names and sizes tell; `saved_model.pb` was written after all the others."""
        key = f"{folder.name}/{version}"
        try:
            files = _sizes(folder / str(version))
        except FileNotFoundError:  # retention was quicker
            files = {}
        return all(f"{key}/{name}" in there for name in (FILES_FILE, GRAPH_FILE)) and all(
            there.get(f"{key}/{name}") == num_bytes for name, num_bytes in files.items()
        )

    def _known_versions(self, folder: Path) -> set[int]:
        """Those that this store has or had, by the audit log."""
        store = _of(folder)
        lines = store.audit()
        published = {line["version"] for line in lines if line["action"] == "publish"}
        return published.union(store.versions(), *(line.get("removed", ()) for line in lines))

    def _listing(self) -> Listing:
        with self._translated("", "cannot be listed"):
            selector = pyarrow.fs.FileSelector(self._root, allow_not_found=True, recursive=True)
            found = self._filesystem.get_file_info(selector)
        return {_key_of(each, self._root): each.size or 0 for each in found}

    def _read(self, key: str) -> str | None:
        with self._translated(key, "cannot be read"):
            try:
                with self._filesystem.open_input_stream(self._place(key), compression=None) as stream:
                    return stream.read().decode("utf-8", "replace")
            except FileNotFoundError:
                return None

    def _write(self, key: str, content: bytes) -> None:
        with (
            self._translated(key, "cannot be written"),
            self._filesystem.open_output_stream(self._place(key), compression=None) as stream,
        ):
            stream.write(content)
        self._uploaded.append(key)

    def _copy(self, source: Path, key: str) -> None:
        with open(source, "rb") as file, self._translated(key, "cannot be written"):
            stream = self._filesystem.open_output_stream(self._place(key), compression=None)
            try:
                while chunk := file.read(_CHUNK_BYTES):
                    stream.write(chunk)
            except BaseException:
                with contextlib.suppress(OSError):  # Arrow cannot give a stream up: it ends as an object, too short
                    stream.close()
                    self._filesystem.delete_file(self._place(key))
                raise
            stream.close()
        self._uploaded.append(key)

    def _place(self, key: str) -> str:
        return f"{self._root}/{key}"

    @contextlib.contextmanager
    def _alone(self, lock_file: str) -> Iterator[None]:
        """One process at a time, on all hosts that share the store; a killed one holds no lock."""
        with open(self._store.path / lock_file, "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _translated(self, key: str, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise self._error(key, f"{what}: {urls.reason(error)}", _hint(error)) from error

    def _error(self, key: str, what: str, hint: str) -> InfrastructureError:
        place = f"{urls.shown(self.url).rstrip('/')}/{key}".rstrip("/")
        told = f"{hint} The store is as it should be; what reads this URL is behind until `hivemill models sync`."
        return InfrastructureError(f"store.mirror {place} {what}", hint=told.strip())


def _of(folder: Path) -> ModelStore:
    return ModelStore(folder.parent, folder.name)


def _key_of(found: pyarrow.fs.FileInfo, root: str) -> str:
    """A folder, which Arrow leaves as an empty object where files were removed, ends with a slash."""
    return found.path.removeprefix(f"{root}/") + "/" * (found.type == pyarrow.fs.FileType.Directory)


def _sizes(version: Path) -> dict[str, int]:
    """Bytes by name of a version's files; hivemill_files.json, in one that was fetched from a copy, is none of them.
    Raises FileNotFoundError where the version is gone.
    """
    version.stat()
    files = (file for file in version.rglob("*") if file.is_file())
    sizes = {file.relative_to(version).as_posix(): file.stat().st_size for file in files}
    return {name: num_bytes for name, num_bytes in sizes.items() if name != FILES_FILE}


def _files_document(version: Path) -> str:
    files = {}
    for name, num_bytes in sorted(_sizes(version).items()):
        with open(version / name, "rb") as file:
            digest = hashlib.sha256()
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
        files[name] = {"bytes": num_bytes, "sha256": digest.hexdigest()}
    return json.dumps({"version": 1, "files": files}, indent=2, ensure_ascii=False) + "\n"


def _labels_document(state: StoreState) -> str:
    """What a reader asks of labels.json; what a writer remembers there (`pending` and more) is the store's own."""
    document: dict[str, Any] = {"version": 1, "labels": dict(sorted(state.labels.items())), "rollout": state.rollout}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _hint(error: Exception) -> str:
    if getattr(error, "errno", None) in (errno.EACCES, errno.EPERM) or "ACCESS_DENIED" in str(error):
        return "Its credentials must be allowed to list, read, write and delete there."
    return "Check the bucket, the credentials and the network."
