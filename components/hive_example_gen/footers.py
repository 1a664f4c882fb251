"""Rows of Parquet and ORC files by their footers, which is cheap enough for a plan.

Only what the files themselves say counts, never what an earlier run has converted: a plan must be the same before a
run and after it.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from components.hive_example_gen.formats.opened import DataFile
from components.hive_example_gen.warehouse import storage
from components.hive_example_gen.warehouse.listing import SourceFile

MAX_FILES = 2_000
"""A footer takes a millisecond on a disk and tens of them in an object store: for more files the rows stay unknown."""
_REMOTE_READS = 16
_PARQUET, _ORC = b"PAR1", b"ORC"


def say_rows(table: str, file: SourceFile) -> bool:
    """Whether the file is one whose footer says its rows."""
    try:
        with DataFile.of(table, file.path).open() as opened:
            return opened.read(4).startswith((_PARQUET, _ORC))
    except OSError:
        return False


def rows_of_each(table: str, files: Sequence[SourceFile]) -> list[int | None]:
    """Rows of each file; None where its footer cannot be read (whoever reads the file will say why)."""
    wanted = [(DataFile.of(table, file.path).path, file.num_bytes, file.modified_ns) for file in files]
    if not any(storage.is_url(path) for path, *_ in wanted):
        return [_rows(*key) for key in wanted]
    with ThreadPoolExecutor(_REMOTE_READS) as threads:
        return list(threads.map(lambda key: _rows(*key), wanted))


@functools.lru_cache(maxsize=4 * MAX_FILES)
def _rows(path: str, num_bytes: int, modified_ns: int) -> int | None:
    """Size and time are what makes the answer worth keeping: a run plans several times."""
    try:
        with storage.open_file(path) as opened:
            head = opened.read(4)
            if head == _PARQUET:
                import pyarrow.parquet

                return pyarrow.parquet.read_metadata(opened).num_rows
            if head.startswith(_ORC):
                import pyarrow.orc

                return pyarrow.orc.ORCFile(opened).nrows
    except (pa.ArrowException, OSError, EOFError, zlib.error):
        pass
    return None
