"""The model store: versions as TensorFlow Serving reads them, labels, and the record of where each version came from.

    <store>/models.config                          model_config_list for tensorflow_model_server, from the labels
    <store>/<model>/labels.json                    {"version": 1, "labels": {"stable": 1763190000}}
    <store>/<model>/1763190000/                    a SavedModel, complete or absent at any moment
    <store>/<model>/1763190000/hivemill_version.json

One lock file for the whole store (flock, so a killed writer never leaves it locked) orders all writers. Readers take no
lock: every file and folder appears by rename. Whatever is half written belongs to a dead writer once the lock is held.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.errors import ConfigError, InfrastructureError
from common.files import folder_published_at, write_json_atomically, write_text_atomically

STABLE = "stable"
RECORD_FILE = "hivemill_version.json"
LABELS_FILE = "labels.json"
SERVING_CONFIG_FILE = "models.config"
LOCK_FILE = ".lock"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class ModelStore:
    """The versions and labels of one model. Where a disk fails, InfrastructureError names the path."""

    def __init__(self, path: str | Path, model: str):
        """`path` is the store's folder, made at the first publish. Raises ConfigError for an unusable model name."""
        if not _NAME.fullmatch(model):
            raise ConfigError(
                f"model name {model!r} must be letters, digits, `.`, `_` and `-`, the first a letter or a digit",
                hint="Set store.model (or name) in hivemill.yaml.",
            )
        self.path = Path(path).absolute()
        self.model = model
        self.folder = self.path / model

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

    def record(self, version: int) -> dict[str, Any]:
        """What was known when the version was published: metrics, lineage, `source_fingerprint`, `created_utc`."""
        return _read_json(self.path_of(version) / RECORD_FILE)

    def labels(self) -> dict[str, int]:
        """Version by label, e.g. {"stable": 1763190000}; empty before the first publish."""
        return _labels_of(self.folder)

    def publish(self, saved_model: Path, record: Mapping[str, Any], source_fingerprint: str) -> int:
        """Copies a SavedModel in as a new version and returns its number, at least the time in seconds since 1970.

        The same `source_fingerprint` again gives the version that it has: a publisher that was killed may simply run
        again. The first version ever becomes `stable`. Of two publishers at once the second waits.
        """
        saved_model = Path(saved_model)
        if not (saved_model / "saved_model.pb").is_file():
            raise InfrastructureError(f"{saved_model}: there is no saved_model.pb, so this is no SavedModel to publish")
        with self._locked():
            self._remove_leftovers()
            version = self._version_with(source_fingerprint)
            if version is None:
                version = self._add_version(saved_model, record, source_fingerprint)
            self._write_labels({STABLE: version} | self.labels())
        return version

    def set_label(self, label: str, version: int) -> None:
        """Points `label` to a published version, for readers of labels.json and of models.config."""
        if not _NAME.fullmatch(label):
            raise ConfigError(f"label {label!r} must be letters, digits, `.`, `_` and `-`")
        with self._locked():
            self.path_of(version)
            self._write_labels(self.labels() | {label: version})

    def _add_version(self, saved_model: Path, record: Mapping[str, Any], source_fingerprint: str) -> int:
        version = max(int(time.time()), max(self.versions(), default=0) + 1)
        document = {
            "version": 1,
            "model": self.model,
            "model_version": version,
            "created_utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "source_fingerprint": source_fingerprint,
            **record,
        }
        with folder_published_at(self.folder / str(version)) as folder:
            _copy_files(saved_model, folder)
            (folder / RECORD_FILE).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
        return version

    def _version_with(self, source_fingerprint: str) -> int | None:
        for version in reversed(self.versions()):
            record_file = self.folder / str(version) / RECORD_FILE
            if record_file.is_file() and _read_json(record_file).get("source_fingerprint") == source_fingerprint:
                return version
        return None

    def _write_labels(self, labels: Mapping[str, int]) -> None:
        """Also writes models.config, which a writer killed between the two files leaves to the next one."""
        write_json_atomically(self.folder / LABELS_FILE, {"version": 1, "labels": dict(sorted(labels.items()))})
        models = sorted(entry for entry in self.path.iterdir() if (entry / LABELS_FILE).is_file())
        text = serving_config({model: _labels_of(model) for model in models})
        write_text_atomically(self.path / SERVING_CONFIG_FILE, text)

    def _remove_leftovers(self) -> None:
        for leftover in (*self.folder.glob(".*.tmp"), *self.path.glob(".*.tmp")):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with _translated(self.path):
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.path / LOCK_FILE, "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield


def serving_config(labels_by_folder: Mapping[Path, Mapping[str, int]]) -> str:
    """TensorFlow Serving's ModelServerConfig as text: exactly the labelled versions are served, each by its labels.

    `--allow_version_labels_for_unavailable_models` lets the server start with labels; TensorFlow Serving documents it.
    """
    configs = [_model_config(folder, labels) for folder, labels in labels_by_folder.items() if labels]
    return "model_config_list {\n" + "".join(configs) + "}\n"


def _model_config(folder: Path, labels: Mapping[str, int]) -> str:
    versions = "".join(f"        versions: {version}\n" for version in sorted(set(labels.values())))
    version_labels = "".join(
        f"    version_labels {{\n      key: {_quoted(label)}\n      value: {version}\n    }}\n"
        for label, version in sorted(labels.items())
    )
    return (
        "  config {\n"
        f"    name: {_quoted(folder.name)}\n"
        f"    base_path: {_quoted(str(folder))}\n"
        '    model_platform: "tensorflow"\n'
        "    model_version_policy {\n      specific {\n" + versions + "      }\n    }\n" + version_labels + "  }\n"
    )


def _quoted(text: str) -> str:
    """A string of protobuf's text format; its escapes of quotes, backslashes and bytes are C's."""
    escaped = "".join(
        f"\\{byte:03o}" if byte < 32 or byte > 126 or byte in b'"\\' else chr(byte) for byte in text.encode()
    )
    return f'"{escaped}"'


def _labels_of(folder: Path) -> dict[str, int]:
    file = folder / LABELS_FILE
    return _read_json(file)["labels"] if file.is_file() else {}


def _read_json(file: Path) -> dict[str, Any]:
    with _translated(file):
        try:
            return json.loads(file.read_text("utf-8"))
        except ValueError as error:
            raise InfrastructureError(
                f"{file}: not valid JSON: {error}", hint="Restore the file or remove it."
            ) from error


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
    return entry.name.isdecimal() and entry.is_dir()


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
