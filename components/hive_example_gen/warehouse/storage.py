"""The one place that opens and lists files of a table: local ones by the operating system, URLs by Arrow's filesystems.

s3://, gs://, hdfs:// and file:// are what `pyarrow.fs.FileSystem.from_uri` opens; credentials come from where each of
them looks (environment, instance, core-site.xml), never from the URL. What a URL says after `?` (`region=`,
`endpoint_override=`) goes to the filesystem; it stays at the end of every URL made from it. Transient errors are
retried by Arrow.
"""

from __future__ import annotations

import contextlib
import functools
import os
import posixpath
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.fs

from common.errors import ConfigError, InfrastructureError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_QUERY = re.compile(r"\?(?:\w+=[^?&]*)(?:&\w+=[^?&]*)*\Z")
# Names under which Hadoop writes the same filesystems.
_SCHEMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
_SECRET = re.compile(r"key|secret|token|password|credential", re.IGNORECASE)
_SECOND_NS = 10**9


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
    if not is_url(folder):
        return os.path.join(local(folder), name)
    bare, query = _split(folder)
    return posixpath.join(bare, name) + query


def shown(path: str) -> str:
    """`path` for messages: a URL without user, password and what follows `?`."""
    if not is_url(path):
        return local(path)
    scheme, _, rest = _split(path)[0].partition("://")
    authority, slash, inner = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{inner}"


def check_url(key: str, url: str) -> None:
    """Raises ConfigError for a URL that holds credentials (they would end in metadata and logs), or that cannot be
    opened at all. `key` is the config key that says it."""
    authority = url.partition("://")[2].partition("/")[0]
    names = [part.partition("=")[0] for part in _split(url)[1].lstrip("?").split("&")]
    if ":" in authority.rpartition("@")[0] or any(map(_SECRET.search, names)):
        raise ConfigError(
            f"{key} {shown(url)} holds credentials; it is written to metadata and logs",
            hint="Give them where the filesystem looks for them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "GOOGLE_APPLICATION_CREDENTIALS, the instance's role, a Kerberos ticket.",
        )
    _filesystem(url)


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
    found = os.stat(local(path))
    is_folder = stat.S_ISDIR(found.st_mode)
    return Entry(os.path.basename(path), is_folder, found.st_size, found.st_mtime_ns)


def is_folder(path: str) -> bool:
    """Raises OSError where the filesystem does not answer; a local path that cannot be reached is no folder."""
    if not is_url(path):
        return os.path.isdir(local(path))
    with contextlib.suppress(FileNotFoundError):
        return status(path).is_folder
    return False


def entries(folder: str) -> list[Entry]:
    """Everything directly in `folder`, by name. Raises FileNotFoundError, OSError."""
    if is_url(folder):
        filesystem, inner = _filesystem(folder)
        found = filesystem.get_file_info(pyarrow.fs.FileSelector(inner))
        return sorted((_entry(each) for each in found if each.base_name), key=lambda entry: entry.name)
    with os.scandir(local(folder)) as scanned:
        return sorted(_local_entries(scanned), key=lambda entry: entry.name)


def names(folder: str) -> list[str]:
    """The names directly in `folder`, sorted; without asking about each. Raises FileNotFoundError, OSError."""
    if is_url(folder):
        return [entry.name for entry in entries(folder)]
    return sorted(os.listdir(local(folder)))


def _local_entries(scanned: Iterator[os.DirEntry]) -> Iterator[Entry]:
    for entry in scanned:
        try:
            found = entry.stat()
        except FileNotFoundError:
            if entry.is_symlink():
                raise  # a link to nothing is no file that went away: its rows would be missing
            continue
        yield Entry(entry.name, stat.S_ISDIR(found.st_mode), found.st_size, found.st_mtime_ns)


def _entry(info: pyarrow.fs.FileInfo) -> Entry:
    is_folder = info.type == pyarrow.fs.FileType.Directory
    # Whole seconds: S3 gives milliseconds in a listing and seconds when asked about one object.
    seconds = (info.mtime_ns or 0) // _SECOND_NS
    return Entry(info.base_name, is_folder, info.size or 0, seconds * _SECOND_NS)


def _split(url: str) -> tuple[str, str]:
    """The URL without its query, and the query with its `?`; a name may hold a `?` of its own."""
    found = _QUERY.search(url)
    return (url[: found.start()], found[0]) if found else (url, "")


def _filesystem(url: str) -> tuple[pyarrow.fs.FileSystem, str]:
    bare, query = _split(url)
    scheme, _, rest = bare.partition("://")
    authority, _, path = rest.partition("/")
    filesystem, root = _opened(_SCHEMES.get(scheme.lower(), scheme.lower()), authority, query)
    # The path is never part of the URI that Arrow decodes: Hive's %3A in a folder's name is the name.
    return filesystem, f"{root.rstrip('/')}/{path}".rstrip("/") if root != "/" else f"/{path}"


@functools.lru_cache(maxsize=16)
def _opened(scheme: str, authority: str, query: str) -> tuple[pyarrow.fs.FileSystem, str]:
    try:
        return pyarrow.fs.FileSystem.from_uri(f"{scheme}://{authority}/{query}")
    # A scheme that Arrow, or this build of it, does not open: ArrowInvalid or its "not implemented".
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        reason = str(error).split("\n")[0].removesuffix(query)
        kind = InfrastructureError if isinstance(error, OSError) else ConfigError
        raise kind(
            f"{scheme}://{authority} cannot be opened: {reason}",
            hint="Arrow opens s3://, gs:// and hdfs://; hdfs needs Java and Hadoop's client (JAVA_HOME, "
            "ARROW_LIBHDFS_DIR, CLASSPATH). A table of a metastore is hive://HOST:9083/DATABASE.TABLE.",
        ) from error
