"""Files that are complete or absent: written beside their place, synced, and renamed into it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hivemill.common.errors import InfrastructureError

_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_text_atomically(path: Path | str, text: str) -> None:
    """Replaces `path` by `text`; a reader sees the old file or the new one, never a part. Raises OSError."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def json_text(document: Any) -> str:
    """Indented, keys in the order given."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def write_json_atomically(path: Path | str, document: Any) -> None:
    """`write_text_atomically` of a JSON document."""
    write_text_atomically(path, json_text(document))


@contextlib.contextmanager
def folder_published_at(path: Path | str, replace: bool = False) -> Iterator[Path]:
    """Yields an empty folder beside `path`; on success it is synced and renamed to `path`, on failure removed.

    Raises FileExistsError where `path` exists by then: two writers never mix their files. With `replace` the old folder
    goes instead: `path` is absent for the time between two renames, and the old files are removed after them.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        sync_tree(temporary)
        with _set_aside(path) if replace and path.exists() else contextlib.nullcontext():
            _move_to_free_place(temporary, path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _set_aside(path: Path) -> Iterator[None]:
    """Removes the folder at the end; on failure it is back where it was."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    os.rename(path, aside)
    try:
        yield
    except BaseException:
        _move_to_free_place(aside, path)
        raise
    shutil.rmtree(aside)


def _move_to_free_place(folder: Path, path: Path) -> None:
    if path.exists():
        raise FileExistsError(f"{path} exists already")
    try:
        os.rename(folder, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # it came since
            raise FileExistsError(f"{path} exists already") from error
        raise


def cannot_write(place: Path | str, error: OSError) -> InfrastructureError:
    """What a user is told of an OSError while writing to `place`."""
    full = error.errno in _FULL
    return InfrastructureError(
        f"{'the disk is full' if full else 'cannot write'}: {place}: {error.strerror or error}",
        hint="Free space there and run again; partitions that are converted stay."
        if full
        else "Check its owner and mode.",
    )


def link_or_copy(source: Path, target: Path) -> None:
    """Hard link where the filesystem has them, else a copy. The files must never be written in place afterwards."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def sync_tree(folder: Path) -> None:
    for current, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(current, name), "rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(current))


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fingerprint(*parts: Any) -> str:
    """SHA-256 (hex) of JSON-serialisable parts; the same parts give the same fingerprint on every machine."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def code_fingerprint(*folders_or_files: str | Path) -> str:
    """SHA-256 (hex) of the Python sources below the given places, names included."""
    digest = hashlib.sha256()
    for place in map(Path, folders_or_files):
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            relative = file.relative_to(place).as_posix() if place.is_dir() else file.name
            digest.update(relative.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
