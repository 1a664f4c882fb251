"""Folders of an object store (s3://, gs://): listed, fetched, put, deleted.

An object store has no folders, no rename and no append: a folder is what its objects' names have in common, and an
object appears as a whole or not at all. So whoever puts several files names those that come `last`; a reader who finds
one of these finds all the others. Nothing here is cached, and listing after writing sees what was written (both stores
promise it). Errors are InfrastructureError, naming the URL without credentials.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import errno
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hivemill.common.errors import InfrastructureError
from hivemill.common.storage import urls

if TYPE_CHECKING:
    import pyarrow.fs

_CHUNK_BYTES = 8 << 20
_THREADS = 8  # transfers wait for the network, not for the processor


def join(url: str, *parts: str) -> str:
    """`url` with path segments behind it; what it says after `?` stays at the end."""
    bare, query = urls.split_query(url)
    return "/".join([bare.rstrip("/"), *(part.strip("/") for part in parts)]) + query


def sizes(url: str) -> dict[str, int]:
    """Bytes by name, relative to `url`, of all files below it; empty where there is nothing."""
    return {name: each.size or 0 for name, each in _listing(url).items()}


def modified(url: str) -> dict[str, datetime.datetime]:
    """When each file below `url` was written, by the store's clock (UTC), by name."""
    return {name: each.mtime.astimezone(datetime.timezone.utc) for name, each in _listing(url).items()}


def is_file(url: str) -> bool:
    """Whether there is an object of this name."""
    return status(url) is not None


def status(url: str) -> tuple[int, datetime.datetime] | None:
    """Bytes of one object and when it was written, by the store's clock (UTC); None where it is absent."""
    import pyarrow.fs

    with _translated(url, "cannot be read"):
        filesystem, path = urls.filesystem_of(url)
        found = filesystem.get_file_info(path)
    if found.type != pyarrow.fs.FileType.File:
        return None
    return found.size or 0, found.mtime.astimezone(datetime.timezone.utc)


def read_bytes(url: str) -> bytes | None:
    """The content of one object; None where it is absent."""
    with _translated(url, "cannot be read"):
        filesystem, path = urls.filesystem_of(url)
        try:
            with filesystem.open_input_stream(path, compression=None) as stream:
                return stream.read()
        except FileNotFoundError:
            return None
        except OSError:  # it was removed between two of the client's requests
            if is_file(url):
                raise
            return None


def file_bytes(path: str | Path) -> bytes:
    """The content of a file of this machine, or of an object. Raises OSError where it cannot be read, or is absent."""
    if not urls.is_url(str(path)):
        return Path(path).read_bytes()
    content = read_bytes(str(path))
    if content is None:
        raise FileNotFoundError(errno.ENOENT, "no such object", urls.shown(str(path)))
    return content


def write_bytes(url: str, content: bytes) -> None:
    """Replaces one object; a reader sees the old one or the new one."""
    with _translated(url, "cannot be written"):
        filesystem, path = urls.filesystem_of(url)
        with filesystem.open_output_stream(path, compression=None) as stream:
            stream.write(content)


def fetch(url: str, folder: Path, names: Iterable[str] | None = None) -> None:
    """Copies all files below `url`, or those of `names`, into `folder`, replacing what is there."""
    wanted = sizes(url) if names is None else names
    _all(lambda name: fetch_file(join(url, name), folder / name), wanted)


def put(folder: Path, url: str, names: Iterable[str] | None = None, last: Collection[str] = ()) -> None:
    """Copies all files below `folder`, or those of `names`, to `url`; those that are called as in `last` after all
    others, in the order of `last`."""
    wanted = files_below(folder) if names is None else list(names)
    late = [name for ending in last for name in wanted if name.rpartition("/")[2] == ending]
    _all(lambda name: put_file(folder / name, join(url, name)), [name for name in wanted if name not in late])
    for name in late:
        put_file(folder / name, join(url, name))


def copy(source: str, target: str) -> None:
    """One object to another place; within one store the bytes stay there."""
    with _translated(source, f"cannot be copied to {urls.shown(target)}"):
        filesystem, path = urls.filesystem_of(source)
        other, place = urls.filesystem_of(target)
        if filesystem == other:
            filesystem.copy_file(path, place)
            return
        with (
            filesystem.open_input_stream(path, compression=None) as stream,
            other.open_output_stream(place, compression=None) as written,
        ):
            while chunk := stream.read(_CHUNK_BYTES):
                written.write(chunk)


def delete(url: str) -> None:
    """Removes one object and all below it; nothing where it is absent."""
    names = sizes(url)
    with _translated(url, "cannot be removed"):
        filesystem, root = urls.filesystem_of(url.rstrip("/"))
        _all(lambda path: _delete_file(filesystem, path), [root, *(f"{root}/{name}" for name in names)])


def delete_folder(url: str) -> None:
    """Removes all below `url` and what marks it as a folder, a thousand objects a request; not the object `url`."""
    with _translated(url, "cannot be removed"):
        filesystem, root = urls.filesystem_of(url.rstrip("/"))
        try:
            filesystem.delete_dir(root)
        except OSError:
            # On gs:// it says "not found" after all is removed, where no object marks the folder; and another one may
            # have been quicker. So what is there afterwards tells.
            if sizes(url):
                raise


def files_below(folder: Path) -> list[str]:
    """Names relative to `folder` of all files in it, sorted."""
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def _listing(url: str) -> dict[str, pyarrow.fs.FileInfo]:
    import pyarrow.fs

    with _translated(url, "cannot be listed"):
        filesystem, root = urls.filesystem_of(url.rstrip("/"))
        selector = pyarrow.fs.FileSelector(root, allow_not_found=True, recursive=True)
        found = filesystem.get_file_info(selector)
    files = (each for each in found if each.type == pyarrow.fs.FileType.File and not each.path.endswith("/"))
    return {each.path.removeprefix(f"{root}/"): each for each in files}


def _delete_file(filesystem: pyarrow.fs.FileSystem, path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        filesystem.delete_file(path)


def fetch_file(url: str, file: Path) -> None:
    """Copies one object to `file`, whose folder is made. FileNotFoundError comes as InfrastructureError too."""
    with _translated(url, "cannot be read"):
        file.parent.mkdir(parents=True, exist_ok=True)
        filesystem, path = urls.filesystem_of(url)
        with filesystem.open_input_stream(path, compression=None) as stream, open(file, "wb") as written:
            while chunk := stream.read(_CHUNK_BYTES):
                written.write(chunk)


def put_file(file: Path, url: str) -> None:
    """Copies `file` to one object, replacing what is there."""
    with open(file, "rb") as source, _translated(url, "cannot be written"):
        filesystem, path = urls.filesystem_of(url)
        stream = filesystem.open_output_stream(path, compression=None)
        try:
            while chunk := source.read(_CHUNK_BYTES):
                stream.write(chunk)
        except BaseException:
            with contextlib.suppress(OSError):  # Arrow cannot give a stream up: it ends as an object, too short
                stream.close()
                filesystem.delete_file(path)
            raise
        stream.close()


def _all(action: Callable[[str], None], names: Iterable[str]) -> None:
    """Raises the first error, after those that had begun have ended."""
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        begun = [pool.submit(action, name) for name in names]
        concurrent.futures.wait(begun, return_when=concurrent.futures.FIRST_EXCEPTION)
        for one in begun:
            one.cancel()
    for one in begun:
        if not one.cancelled():
            one.result()


@contextlib.contextmanager
def _translated(url: str, what: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        hint = "Check the bucket, the network, and that its credentials may list, read, write and delete there."
        raise InfrastructureError(f"{urls.shown(url)} {what}: {urls.reason(error)}", hint=hint) from error
