"""The one place that opens and lists files of a table: local ones by the operating system, URLs by Arrow's filesystems.

What `common.storage.urls` says of URLs holds. What one says after `?` (`region=`, `endpoint_override=`) stays at the
end of
every URL made from it.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

import pyarrow.fs

# The whole package speaks of `storage.shown` and its kin.
from hivemill.common.storage.urls import check_url, filesystem_of, is_url, local, shown, split_query  # noqa: F401

_SECOND_NS = 10**9


@dataclass(frozen=True)
class ListedEntry:
    """A file or folder; `modified_ns` is 0 where the filesystem does not say."""

    name: str
    is_folder: bool
    num_bytes: int
    modified_ns: int


def joined(folder: str, name: str) -> str:
    """`name` below `folder`, or `name` itself where it is a URL or an absolute path."""
    if is_url(name) or local(name).startswith("/"):
        return local(name)
    if not is_url(folder):
        return os.path.join(local(folder), name)
    bare, query = split_query(folder)
    return posixpath.join(bare, name) + query


def open_file(path: str) -> BinaryIO:
    """Opens for reading, seekable. Raises OSError."""
    if is_url(path):
        filesystem, inner = filesystem_of(path)
        return cast(BinaryIO, filesystem.open_input_file(inner))
    return open(local(path), "rb")


def status(path: str) -> ListedEntry:
    """Raises FileNotFoundError, OSError."""
    if is_url(path):
        filesystem, inner = filesystem_of(path)
        found = filesystem.get_file_info(inner)
        if found.type == pyarrow.fs.FileType.NotFound:
            raise FileNotFoundError(path)
        return _entry(found)
    found = os.stat(local(path))
    is_folder = stat.S_ISDIR(found.st_mode)
    return ListedEntry(os.path.basename(path), is_folder, found.st_size, found.st_mtime_ns)


def is_folder(path: str) -> bool:
    """Raises OSError where the filesystem does not answer; a local path that cannot be reached is no folder."""
    if not is_url(path):
        return os.path.isdir(local(path))
    with contextlib.suppress(FileNotFoundError):
        return status(path).is_folder
    return False


def entries(folder: str) -> list[ListedEntry]:
    """Everything directly in `folder`, by name. Raises FileNotFoundError, OSError."""
    if is_url(folder):
        filesystem, inner = filesystem_of(folder)
        if filesystem.type_name == "gcs":
            return _from_everything_below(filesystem, inner)
        found = filesystem.get_file_info(pyarrow.fs.FileSelector(inner))
        return sorted((_entry(each) for each in found if each.base_name), key=lambda entry: entry.name)
    with os.scandir(local(folder)) as scanned:
        return sorted(_local_entries(scanned), key=lambda entry: entry.name)


def _from_everything_below(filesystem: pyarrow.fs.FileSystem, inner: str) -> list[ListedEntry]:
    """Google's store, where Arrow lists a folder only if an object marks it (dt=2026-11-15/), which few writers make.

    So that no day is missed, all that lies below is listed: 1,000 objects per request.
    """
    found = filesystem.get_file_info(pyarrow.fs.FileSelector(inner, allow_not_found=True, recursive=True))
    if not found and filesystem.get_file_info(inner).type == pyarrow.fs.FileType.NotFound:
        raise FileNotFoundError(inner)
    first: dict[tuple[str, bool], ListedEntry] = {}
    for each in found:
        name, deeper, _ = each.path.removeprefix(f"{inner}/").partition("/")
        entry = ListedEntry(name, True, 0, 0) if deeper else _entry(each)
        first[name, entry.is_folder] = entry
    return sorted(first.values(), key=lambda entry: entry.name)


def names(folder: str) -> list[str]:
    """The names directly in `folder`, sorted; without asking about each. Raises FileNotFoundError, OSError."""
    if is_url(folder):
        return [entry.name for entry in entries(folder)]
    return sorted(os.listdir(local(folder)))


def _local_entries(scanned: Iterator[os.DirEntry]) -> Iterator[ListedEntry]:
    for entry in scanned:
        try:
            found = entry.stat()
        except FileNotFoundError:
            if entry.is_symlink():
                raise  # a link to nothing is no file that went away: its rows would be missing
            continue
        yield ListedEntry(entry.name, stat.S_ISDIR(found.st_mode), found.st_size, found.st_mtime_ns)


def _entry(info: pyarrow.fs.FileInfo) -> ListedEntry:
    is_folder = info.type == pyarrow.fs.FileType.Directory
    # Whole seconds: S3 gives milliseconds in a listing and seconds when asked about one object.
    seconds = (info.mtime_ns or 0) // _SECOND_NS
    return ListedEntry(info.base_name, is_folder, info.size or 0, seconds * _SECOND_NS)
