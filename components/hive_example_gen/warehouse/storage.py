"""The one place that opens and lists files of a table: local ones by the operating system, URLs by Arrow's filesystems.

s3://, gs://, hdfs:// and file:// are what `pyarrow.fs.FileSystem.from_uri` opens; credentials come from where each of
them looks (environment, instance, core-site.xml).
"""

from __future__ import annotations

import functools
import os
import posixpath
import re
from dataclasses import dataclass
from typing import BinaryIO, cast

import pyarrow.fs

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class Entry:
    """A file or folder; `modified_ns` is 0 where the filesystem does not say."""

    name: str
    is_folder: bool
    num_bytes: int
    modified_ns: int


def is_url(path: str) -> bool:
    """Whether `path` is on another filesystem than this machine's; `file://` is not."""
    return bool(_URL.match(path)) and not path.startswith("file://")


def local(path: str) -> str:
    """`file:///a`, `file:/a` (as a metastore writes it) and `/a` as `/a`."""
    return re.sub(r"^file:(//)?(?=/)", "", path)


def joined(folder: str, name: str) -> str:
    """`name` below `folder`, or `name` itself where it is a URL or an absolute path."""
    if is_url(name) or local(name).startswith("/"):
        return local(name)
    return posixpath.join(folder, name) if is_url(folder) else os.path.join(local(folder), name)


def open_file(path: str) -> BinaryIO:
    """Opens for reading, seekable. Raises OSError."""
    if is_url(path):
        filesystem, inner = _filesystem(path)
        return cast(BinaryIO, filesystem.open_input_file(inner))
    return open(local(path), "rb")


def status(path: str) -> Entry:
    """Raises FileNotFoundError, OSError."""
    if is_url(path):
        filesystem, inner = _filesystem(path)
        found = filesystem.get_file_info(inner)
        if found.type == pyarrow.fs.FileType.NotFound:
            raise FileNotFoundError(path)
        return _entry(found)
    stat = os.stat(local(path))
    return Entry(os.path.basename(path), False, stat.st_size, stat.st_mtime_ns)


def entries(folder: str) -> list[Entry]:
    """Everything directly in `folder`, by name. Raises FileNotFoundError, OSError."""
    if is_url(folder):
        filesystem, inner = _filesystem(folder)
        found = filesystem.get_file_info(pyarrow.fs.FileSelector(inner))
        return sorted(map(_entry, found), key=lambda entry: entry.name)
    with os.scandir(local(folder)) as scanned:
        return sorted((_local_entry(entry) for entry in scanned), key=lambda entry: entry.name)


def _local_entry(entry: os.DirEntry) -> Entry:
    stat = entry.stat()
    return Entry(entry.name, entry.is_dir(), stat.st_size, stat.st_mtime_ns)


def _entry(info: pyarrow.fs.FileInfo) -> Entry:
    is_folder = info.type == pyarrow.fs.FileType.Directory
    return Entry(info.base_name, is_folder, info.size or 0, info.mtime_ns or 0)


def _filesystem(url: str) -> tuple[pyarrow.fs.FileSystem, str]:
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    filesystem, root = _opened(f"{scheme}://{authority}/")
    return filesystem, f"{root.rstrip('/')}/{path}" if root.strip("/") else (path if scheme != "hdfs" else f"/{path}")


@functools.lru_cache(maxsize=16)
def _opened(root: str) -> tuple[pyarrow.fs.FileSystem, str]:
    return pyarrow.fs.FileSystem.from_uri(root)
