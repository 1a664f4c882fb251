"""A data file as messages name it, and the translation of every reader's own errors."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa

from hivemill.common.errors import DataCorruptError, DataNotReadyError
from hivemill.components.hive_example_gen.catalog import table_files

_SYNC = "Write the file again, or exclude its day from the window."


@dataclass(frozen=True)
class DataFile:
    """`path` opens it; `name` (relative to the table) names it in messages."""

    path: str
    name: str

    @classmethod
    def of(cls, table: str, name: str) -> DataFile:
        """`name` as in SourceFile.path: relative to the table, or whole where its partition lies elsewhere."""
        return cls(table_files.joined(table, name), name)

    def open(self) -> BinaryIO:
        """Seekable. Raises OSError."""
        return table_files.open_file(self.path)


def size_of(opened: BinaryIO) -> int:
    """Bytes of the file; where it stands afterwards is not said. Arrow cannot go to the end of an object in Cloud
    Storage: the service refuses the range that begins there (apache/arrow issue 38854)."""
    return opened.size() if isinstance(opened, pa.NativeFile) else opened.seek(0, os.SEEK_END)


@contextlib.contextmanager
def translated(file: DataFile, what: str) -> Iterator[None]:
    """Foreign errors while reading `file` become one that names it; `what` says as what it was read.

    DataNotReadyError where the file is gone or may not be read, DataCorruptError where its content is damaged.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DataNotReadyError(
            f"{file.name} was there when the window was planned and is gone",
            hint="Run again once the table is at rest.",
        ) from error
    except PermissionError as error:
        raise DataNotReadyError(
            f"{file.name} cannot be read: permission denied", hint="Check its mode and owner."
        ) from error
    except (pa.ArrowException, UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        reason = str(error).strip().split("\n")[0]
        raise DataCorruptError(f"{file.name} cannot be read as {what}: {reason}", hint=_SYNC) from error
