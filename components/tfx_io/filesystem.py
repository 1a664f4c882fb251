"""s3:// and gs:// for TFX's own file operations (tfx.dsl.io.fileio), by Arrow.

So one client, with one place for credentials and endpoints, serves what TFX does with URIs and what Hivemill does.
TensorFlow's own client knows no s3://.

Importing this module registers it. Folders are what objects' names have in common: an empty one that was made is known
to this process alone, so that TFX finds what it has made before a node and takes away after one that failed.
"""

from __future__ import annotations

import fnmatch
import io
import types
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from tfx.dsl.io import filesystem, filesystem_registry
from tfx.dsl.io.filesystem import PathType

from hivemill.common.storage import object_store

_MADE: set[str] = set()
_BEFORE_TENSORFLOWS = -1  # TFX takes the plugin of the lowest number


class ObjectStoreFilesystem(filesystem.Filesystem):
    """See tfx.dsl.io.filesystem.Filesystem for what each method promises."""

    SUPPORTED_SCHEMES: ClassVar[list[str]] = ["s3://", "gs://"]

    @staticmethod
    def open(name: PathType, mode: str = "r") -> Any:
        if mode.rstrip("b") == "w":
            return _Written(_text(name)) if "b" in mode else io.TextIOWrapper(_Written(_text(name)), encoding="utf-8")
        if mode.rstrip("b") != "r":
            raise ValueError(f"an object of a store is read or written as a whole; received mode {mode!r}")
        content = object_store.read_bytes(_text(name))
        if content is None:
            raise filesystem.NotFoundError(_text(name))
        return io.BytesIO(content) if "b" in mode else io.StringIO(content.decode("utf-8"))

    @staticmethod
    def copy(src: PathType, dst: PathType, overwrite: bool = False) -> None:
        _check_free(dst, overwrite)
        object_store.copy(_text(src), _text(dst))

    @staticmethod
    def exists(path: PathType) -> bool:
        return ObjectStoreFilesystem.isdir(path) or object_store.is_file(_text(path))

    @staticmethod
    def glob(pattern: PathType) -> list[PathType]:
        folder = _text(pattern).partition("*")[0].rpartition("/")[0]
        found = (object_store.join(folder, name) for name in object_store.sizes(folder))
        # As in a shell, `*` stands for no slash.
        depth = _text(pattern).count("/")
        return sorted(each for each in found if each.count("/") == depth and fnmatch.fnmatch(each, _text(pattern)))

    @staticmethod
    def isdir(path: PathType) -> bool:
        return _text(path).rstrip("/") in _MADE or bool(object_store.sizes(_text(path)))

    @staticmethod
    def listdir(path: PathType) -> list[PathType]:
        names = sorted({name.partition("/")[0] for name in object_store.sizes(_text(path))})
        if not names:
            raise filesystem.NotFoundError(_text(path))
        return names

    @staticmethod
    def makedirs(path: PathType) -> None:
        _MADE.add(_text(path).rstrip("/"))

    @staticmethod
    def mkdir(path: PathType) -> None:
        ObjectStoreFilesystem.makedirs(path)

    @staticmethod
    def remove(path: PathType) -> None:
        if not object_store.is_file(_text(path)):
            raise filesystem.NotFoundError(_text(path))
        object_store.delete(_text(path))

    @staticmethod
    def rename(src: PathType, dst: PathType, overwrite: bool = False) -> None:
        """Copies and deletes: no object store has a rename, so this is not atomic."""
        ObjectStoreFilesystem.copy(src, dst, overwrite)
        object_store.delete(_text(src))

    @staticmethod
    def rmtree(path: PathType) -> None:
        if not ObjectStoreFilesystem.exists(path):
            raise filesystem.NotFoundError(_text(path))
        _MADE.discard(_text(path).rstrip("/"))
        object_store.delete(_text(path))

    @staticmethod
    def stat(path: PathType) -> Any:
        """With the names of os.stat and of TensorFlow's FileStatistics, which TFX's other plugins give."""
        size, modified = object_store.status(_text(path)) or (None, None)
        if size is None:
            raise filesystem.NotFoundError(_text(path))
        seconds = modified.timestamp()
        return types.SimpleNamespace(
            st_size=size, st_mtime=seconds, length=size, mtime_nsec=round(seconds * 1e9), is_directory=False
        )

    @staticmethod
    def walk(
        top: PathType, topdown: bool = True, onerror: Callable[..., None] | None = None
    ) -> Iterable[tuple[PathType, list[PathType], list[PathType]]]:
        content: dict[str, tuple[set[str], set[str]]] = {"": (set(), set())}
        for name in object_store.sizes(_text(top)):
            *parts, file = name.split("/")
            for depth, part in enumerate(parts):
                content.setdefault("/".join(parts[:depth]), (set(), set()))[0].add(part)
            content.setdefault("/".join(parts), (set(), set()))[1].add(file)
        for folder in sorted(content, reverse=not topdown):
            place = object_store.join(_text(top), folder) if folder else _text(top)
            yield place, sorted(content[folder][0]), sorted(content[folder][1])


class _Written(io.BytesIO):
    """Appears in the store when it is closed."""

    def __init__(self, url: str):
        super().__init__()
        self._url = url

    def write(self, content: Any) -> int:
        """Text too: TFX writes some to files that it opened for bytes, and TensorFlow's gfile takes it."""
        return super().write(content.encode("utf-8") if isinstance(content, str) else content)

    def close(self) -> None:
        if not self.closed:
            content = self.getvalue()
            super().close()
            object_store.write_bytes(self._url, content)


def _text(path: PathType) -> str:
    return path.decode("utf-8") if isinstance(path, bytes) else path


def _check_free(path: PathType, overwrite: bool) -> None:
    if not overwrite and object_store.is_file(_text(path)):
        raise OSError(f"{_text(path)} exists already and argument `overwrite` is false")


filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(ObjectStoreFilesystem, priority=_BEFORE_TENSORFLOWS)
