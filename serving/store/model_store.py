"""The model store: versions as TensorFlow Serving reads them, labels, and the record of where each version came from.

    <store>/models.config                          for tensorflow_model_server, from the labels of all models
    <store>/batching.config, monitoring.config     to start it with; yours once they exist
    <store>/<model>/labels.json                    labels and the state of a rollout (serving.store.labels)
    <store>/<model>/audit.jsonl                    one line per change (serving.store.audit)
    <store>/<model>/1763190000/                    a SavedModel, complete or absent at any moment
    <store>/<model>/1763190000/hivemill_version.json

One lock file for the whole store (flock, so a killed writer never leaves it locked) orders all changes, another one the
publishers of a model, who copy outside of the first. Readers take no lock: every file and folder appears by rename.
Whatever is half written belongs to a dead writer once its lock is held; the next writer completes or removes it before
it begins (docs/decisions/0060).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from hivemill.common.clock import utc_now
from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.common.storage.atomic import (
    folder_published_at,
    sync_folder,
    sync_tree,
    write_json_atomically,
    write_text_atomically,
)
from hivemill.serving.store import server_config
from hivemill.serving.store.audit import AUDIT_FILE, AuditLog, signature
from hivemill.serving.store.labels import LABELS_FILE, StoreState, read_json, read_state

STABLE, CANARY, PREVIOUS = "stable", "canary", "previous"
RECORD_FILE = "hivemill_version.json"
SERVING_CONFIG_FILE = server_config.MODELS_FILE
LOCK_FILE, PUBLISH_LOCK_FILE = ".lock", ".publish.lock"
_REMOVED = ".removed.tmp"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_URL = re.compile(r"[a-z0-9+.-]+:/+", re.IGNORECASE)


class ModelStore:
    """The versions and labels of one model. Where a disk fails, InfrastructureError names the path."""

    def __init__(self, path: str | Path, model: str):
        """`path` is the store's folder, made at the first publish. Raises ConfigError for an unusable name or path."""
        if not _NAME.fullmatch(model):
            raise ConfigError(
                f"model name {model!r} must be letters, digits, `.`, `_` and `-`, the first a letter or a digit",
                hint="Set store.model (or name) in hivemill.yaml.",
            )
        if _URL.match(str(path)):
            raise ConfigError(
                f"the model store must be a folder of a POSIX file system; received {path}",
                hint="hivemill.serving.store.bucket.open_store opens a store in an object store.",
            )
        self.path = Path(path).absolute()
        self.model = model
        self.folder = self.path / model

    @property
    def place(self) -> str:
        """Where the store is, for people."""
        return str(self.path)

    def versions(self) -> list[int]:
        """Published versions, oldest first."""
        with _translated(self.folder):
            if not self.folder.is_dir():
                return []
            return sorted(int(entry.name) for entry in self.folder.iterdir() if _is_version(entry))

    def path_of(self, version: int) -> Path:
        """The SavedModel folder of a version."""
        folder = self.folder / str(version)
        if not folder.is_dir():
            known = ", ".join(map(str, self.versions())) or "none"
            raise InfrastructureError(f"{folder}: the store has no version {version} of {self.model} (it has: {known})")
        return folder

    def place_of(self, version: int) -> str:
        """The SavedModel folder of a version, for whoever opens it: a path, or a URL."""
        return str(self.path_of(version))

    def record(self, version: int) -> dict[str, Any]:
        """What was known when the version was published: metrics, lineage, `source_fingerprint`, `created_utc`."""
        with _translated(self.path):
            return read_json(self.path_of(version) / RECORD_FILE)

    def labels(self) -> dict[str, int]:
        """Version by label, e.g. {"stable": 1763190000}; empty before the first publish."""
        return dict(self.state().labels)

    def state(self) -> StoreState:
        """All that labels.json says."""
        with _translated(self.path):
            return read_state(self.folder)

    def audit(self) -> list[dict[str, Any]]:
        """All changes, oldest first: `action`, `why`, `who`, `host`, `time_utc`, `labels` after it and more."""
        with _translated(self.path):
            return AuditLog(self.folder / AUDIT_FILE).lines()

    def states(self, state: StoreState | None = None) -> dict[Path, StoreState]:
        """Of all models in the store, by folder; as if this model were in `state`, if given."""
        with _translated(self.path):
            models = sorted(entry for entry in self.path.iterdir() if (entry / LABELS_FILE).is_file())
            states = {model: found for model in models if (found := self._state_of(model)) is not None}
        return states if state is None else states | {self.folder: state}

    def _state_of(self, model: Path) -> StoreState | None:
        """None for another model whose labels.json is damaged: models do not stop each other.

        Its entry in models.config stays as it is (server_config). Raises InfrastructureError for this model's own.
        """
        try:
            return read_state(model)
        except InfrastructureError:
            if model == self.folder:
                raise
            return None

    def server_config(self, state: StoreState | None = None, base_path: str | None = None) -> str:
        """models.config as it should be now, of all models in the store; as if this model were in `state`, if given.

        `base_path` is where a server finds the store, if not at its path here.
        """
        states = self.states(state)
        served: dict[Path, tuple[Mapping[str, int], Sequence[int]]] = self._served_before(states)
        served.update((model, (state.labels, state.also_served)) for model, state in states.items())
        return server_config.models_config(served, base_path)

    def _served_before(self, states: Mapping[Path, StoreState]) -> dict[Path, tuple[Mapping[str, int], Sequence[int]]]:
        """What models.config says of the other models whose labels.json is damaged."""
        with contextlib.suppress(OSError, ValueError):  # ParseError is one
            text = (self.path / SERVING_CONFIG_FILE).read_text("utf-8")
            known = server_config.parse_models_config(text).model_config_list.config
            return {
                self.path / one.name: (dict(one.version_labels), list(one.model_version_policy.specific.versions))
                for one in known
                if self.path / one.name not in states and (self.path / one.name / LABELS_FILE).is_file()
            }
        return {}

    def publish(
        self,
        saved_model: Path,
        record: Mapping[str, Any],
        source_fingerprint: str,
        extra_files: Mapping[str, bytes] | None = None,
        check: Callable[[Mapping[str, int]], None] = lambda labels: None,
    ) -> int:
        """Copies a SavedModel in as a new version and returns its number, at least the time in seconds since 1970.

        The same `source_fingerprint` again gives the version that it has: a publisher that was killed may simply run
        again. The first version ever becomes `stable`. Of two publishers at once the second waits; labels move while a
        version is copied. `extra_files` (content by relative path, e.g. warm-up requests) are part of the version from
        its first moment. `check` is called with the labels before the copy, and under the lock in which the version
        appears; what it raises leaves the store alone.
        """
        saved_model = Path(saved_model)
        if not (saved_model / "saved_model.pb").is_file():
            raise InfrastructureError(f"{saved_model}: there is no saved_model.pb, so this is no SavedModel to publish")
        with self._publishing():
            version = self._version_with(source_fingerprint)
            if version is None:
                check(read_state(self.folder).labels)
                version = self._add_version(saved_model, record, source_fingerprint, extra_files or {}, check)
            self._settle(version, record.get("run_id"))
        return version

    def _settle(self, version: int, run_id: str | None) -> None:
        """What belongs to a version that has just appeared."""
        with self._locked():
            self._tell_of_versions()
            state = read_state(self.folder)
            if STABLE not in state.labels:
                labels = {STABLE: version} | dict(state.labels)
                why = "the first version of a model is its stable one"
                self._write(dataclasses.replace(state, labels=labels), "label", why, run_id)
            self._write_server_files()

    def set_label(self, label: str, version: int, why: str | None = None) -> None:
        """Points `label` to a published version, for readers of labels.json and of models.config.

        Asks no server. Raises InfrastructureError while a rollout moves the labels.
        """
        if not _NAME.fullmatch(label):
            raise ConfigError(f"label {label!r} must be letters, digits, `.`, `_` and `-`")

        def moved(state: StoreState) -> StoreState:
            if state.pending or (state.rollout or {}).get("state") == "running":
                raise InfrastructureError(
                    f"a rollout holds the labels of {self.model}",
                    hint="`hivemill rollout status` shows it; `hivemill rollout abort` ends it.",
                )
            return dataclasses.replace(state, labels=dict(state.labels) | {label: version})

        self.change(moved, "label", why)

    def change(
        self,
        changed: Callable[[StoreState], StoreState],
        action: str,
        why: str | None = None,
        run_id: str | None = None,
    ) -> StoreState:
        """Writes `changed(state)` with its line in the audit log; returns it. Raises what `changed` raises.

        `changed` runs under the store's lock, so nobody else's change falls between its reading and the writing.
        """
        with self._locked():
            before = read_state(self.folder)
            state = changed(before)
            # Only what is new: that an old version has gone must not keep anybody from going back to another one.
            for version in {*state.labels.values(), *state.also_served} - {*before.labels.values()}:
                self.path_of(version)
            return self._write(state, action, why, run_id)

    def retain(self, keep_versions: int, grace_hours: float) -> list[int]:
        """Removes old versions and returns them: all but the newest `keep_versions`, those younger than `grace_hours`,
        those with a label and those of a rollout.
        """
        with self._locked():
            state = read_state(self.folder)
            spared = {*self.versions()[-keep_versions:], *state.in_use()}
            doomed = [v for v in self.versions() if v not in spared and self._age_hours(v) >= grace_hours]
            if doomed:
                why = f"older than the newest {keep_versions} versions and than {grace_hours:g} hours"
                self._write(dataclasses.replace(state, removing=tuple(doomed)), "remove", why)
                self._finish_removal()
        return doomed

    def complete(self) -> StoreState:
        """Ends what a killed writer has left half done, as every writer does first; returns the state."""
        with self._locked():
            return read_state(self.folder)

    def _write(self, state: StoreState, action: str, why: str | None, run_id: str | None = None) -> StoreState:
        """The one durable change; models.config and the audit log follow, here or in the next writer's `_complete`."""
        line = {
            "id": uuid.uuid4().hex,
            "action": action,
            "why": why,
            "run_id": run_id,
            **signature(),
            "labels": dict(sorted(state.labels.items())),
            "also_served": list(state.also_served),
            "rollout": _rollout_card(state),
            "pending": (state.pending or {}).get("phase"),
            **({"removed": list(state.removing)} if state.removing else {}),
        }
        state = dataclasses.replace(state, change=line)
        self._write_labels(state)
        self._write_server_config()
        AuditLog(self.folder / AUDIT_FILE).append(line)
        return state

    def _write_labels(self, state: StoreState) -> None:
        write_json_atomically(self.folder / LABELS_FILE, state.to_document())

    def _complete(self) -> None:
        """What a killed writer has left to do or to tidy."""
        for leftover in (*self.folder.glob(".*.tmp"), *self.path.glob(".*.tmp")):
            if not leftover.is_dir():  # folders are of publishers, or of `_finish_removal`
                leftover.unlink(missing_ok=True)
        if not (self.folder / LABELS_FILE).is_file():
            return
        self._finish_removal()
        self._write_server_config()
        self._tell_of_versions()
        line = read_state(self.folder).change
        log = AuditLog(self.folder / AUDIT_FILE)
        if line and line["id"] not in log.ids():
            log.append(line)

    def _finish_removal(self) -> None:
        """A version disappears by a rename, then its files go. Told of already, so that this may be done twice."""
        state = read_state(self.folder)
        if not state.removing:
            return
        for version in set(state.removing) - state.in_use():
            with contextlib.suppress(FileNotFoundError):
                os.rename(self.folder / str(version), self.folder / f".{version}{_REMOVED}")
        sync_folder(self.folder)
        for removed in self.folder.glob(f".*{_REMOVED}"):
            shutil.rmtree(removed)
        self._write_labels(dataclasses.replace(state, removing=()))

    def _tell_of_versions(self) -> None:
        """A version has its line in the audit log even where its publisher was killed before it could write it."""
        log = AuditLog(self.folder / AUDIT_FILE)
        told = log.ids()
        for version in self.versions():
            line_id = f"publish-{version}"
            if line_id not in told:
                record = self._record_or_empty(version)
                signed = record.get("published") or {"time_utc": record.get("created_utc")}
                run_id = record.get("run_id")
                log.append({"id": line_id, "action": "publish", "version": version, "run_id": run_id, **signed})

    def _add_version(
        self,
        saved_model: Path,
        record: Mapping[str, Any],
        source_fingerprint: str,
        extra_files: Mapping[str, bytes],
        check: Callable[[Mapping[str, int]], None],
    ) -> int:
        version = max(int(time.time()), max(self.versions(), default=0) + 1)
        document = {
            "version": 1,
            "model": self.model,
            "model_version": version,
            "created_utc": utc_now(),
            "source_fingerprint": source_fingerprint,
            "published": signature(),
            **record,
        }
        with contextlib.ExitStack() as locked, folder_published_at(self.folder / str(version)) as folder:
            _copy_files(saved_model, folder)
            for name, content in extra_files.items():
                file = folder / PurePosixPath(name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            (folder / RECORD_FILE).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
            sync_tree(folder)  # before the lock: gigabytes take their time, and a rollback must not wait for them
            self._bring(folder, version)
            locked.enter_context(self._locked())
            check(read_state(self.folder).labels)
        return version

    def _bring(self, folder: Path, version: int) -> None:
        """What can be done for a new version before it appears (serving.store.bucket)."""

    def _version_with(self, source_fingerprint: str) -> int | None:
        versions = reversed(self.versions())
        return next(
            (v for v in versions if self._record_or_empty(v).get("source_fingerprint") == source_fingerprint), None
        )

    def _record_or_empty(self, version: int) -> dict[str, Any]:
        """A version that somebody copied in by hand has no record."""
        record = self.folder / str(version) / RECORD_FILE
        return read_json(record) if record.is_file() else {}

    def _age_hours(self, version: int) -> float:
        created = self._record_or_empty(version).get("created_utc")
        seconds = (
            datetime.datetime.fromisoformat(created).timestamp() if created else self.path_of(version).stat().st_mtime
        )
        return (time.time() - seconds) / 3600

    def _write_server_config(self) -> None:
        file, text = self.path / SERVING_CONFIG_FILE, self.server_config()
        if not file.is_file() or file.read_bytes() != text.encode("utf-8"):  # derived: whatever lies there is replaced
            write_text_atomically(file, text)

    def _write_server_files(self) -> None:
        """models.config where it is missing, the other two once: from then on they are the operator's."""
        self._write_server_config()
        for name, text in server_config.STATIC_FILES.items():
            if not (self.path / name).exists():
                write_text_atomically(self.path / name, text)

    @contextlib.contextmanager
    def _publishing(self) -> Iterator[None]:
        """One publisher of a model at a time; half-written versions belong to dead ones then."""
        with _translated(self.path):
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / PUBLISH_LOCK_FILE, "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for leftover in self.folder.glob(".*.tmp"):
                    if leftover.is_dir() and not leftover.name.endswith(_REMOVED):
                        shutil.rmtree(leftover)
                yield

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with _translated(self.path):
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.path / LOCK_FILE, "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._complete()
                yield


_LARGEST_VERSION = 2**62


def _rollout_card(state: StoreState) -> dict[str, Any] | None:
    """What a line of the audit log says of the rollout."""
    keys = ("id", "canary", "stable", "state", "percent")
    return {key: state.rollout.get(key) for key in keys} if state.rollout else None


def _copy_files(source: Path, target: Path) -> None:
    """Stops at the first failure with its own OSError; shutil.copytree goes on and keeps only texts."""
    for file in sorted(source.rglob("*")):
        copy = target / file.relative_to(source)
        if file.is_dir():
            copy.mkdir(exist_ok=True)
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


def _is_version(entry: Path) -> bool:
    """A number that TensorFlow Serving takes, and after which there are others: versions are times in seconds."""
    return entry.name.isascii() and entry.name.isdecimal() and int(entry.name) <= _LARGEST_VERSION and entry.is_dir()


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise InfrastructureError(
            f"model store {path}: {where}: {error.strerror or error}", hint=_hint(error)
        ) from error


def _hint(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "Free space on that disk and run again; the store is as it was before."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Make it writable for this user, or set store.path to a place that is; the store is as it was before."
    return "Check store.path; the store is as it was before."
