"""Rows of Parquet and ORC files by their footers, which is cheap enough for a plan.

Only what the files themselves say counts, never what an earlier run has converted: a plan must be the same before a
run and after it.
"""

from __future__ import annotations

import datetime
import functools
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from hivemill.components.hive_example_gen.catalog import table_files
from hivemill.components.hive_example_gen.catalog.listing import SourceFile
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.table.serdes import DEFAULT_SERDES

MAX_FILES = 2_000
"""A footer takes a millisecond on a disk and tens of them in an object store: for more files the rows stay unknown."""
_REMOTE_READS = 16
_PARQUET, _ORC = b"PAR1", b"ORC"


def rows_by_day(
    table: str, declared: str, files: Mapping[datetime.date, Sequence[SourceFile]]
) -> tuple[dict[datetime.date, int | None], tuple[str, ...]]:
    """Rows of each day where its files' footers say them, else nothing; and a note where that would take too long.

    Args:
        declared: the table's format, or `auto`.
    """
    newest = max(files, default=None)
    if newest is None or declared in DEFAULT_SERDES or not say_rows(table, files[newest][-1]):
        return {}, ()
    num_files = sum(map(len, files.values()))
    if num_files > MAX_FILES:
        return {}, (f"days are judged by bytes alone: reading the rows of {num_files:,} files would take too long",)
    rows = iter(rows_of_each(table, [file for found in files.values() for file in found]))
    of_files = {day: [next(rows) for _ in found] for day, found in files.items()}
    return {day: None if None in counts else sum(counts) for day, counts in of_files.items()}, ()


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
    if not any(table_files.is_url(path) for path, *_ in wanted):
        return [_rows(*key) for key in wanted]
    with ThreadPoolExecutor(_REMOTE_READS) as threads:
        return list(threads.map(lambda key: _rows(*key), wanted))


@functools.lru_cache(maxsize=4 * MAX_FILES)
def _rows(path: str, num_bytes: int, modified_ns: int) -> int | None:
    """Size and time are what makes the answer worth keeping: a run plans several times."""
    try:
        with table_files.open_file(path) as opened:
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
