"""The files of an exposure log as Arrow tables: Parquet or CSV, one file or a folder as Hive lays it out."""

from __future__ import annotations

import contextlib
import csv
import difflib
import gzip
import urllib.parse
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from hivemill.common.errors import ConfigError, DataNotReadyError

_CSV_ENDINGS = (".csv", ".csv.gz")
_NULL_WORDS = ["", "NULL", "null", "\\N"]
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_DEAREST = 3


@dataclass(frozen=True)
class LogFile:
    """A file with the values of the partition that it lies in."""

    path: Path
    partition: dict[str, str | None]
    is_parquet: bool
    columns: tuple[str, ...]


def files_of(log: Path) -> list[LogFile]:
    """The files of a log, in order of their paths. Empty files and names with `_` or `.` in front are left out.

    Raises DataNotReadyError where there is none, or one is neither Parquet nor CSV.
    """
    log = Path(log)
    if not log.exists():
        raise DataNotReadyError(
            f"{log}: there is no such file or folder", hint="Name the exposure log's file or folder."
        )
    paths = [log] if log.is_file() else sorted(path for path in log.rglob("*") if path.is_file())
    found = [_file(path, log) for path in paths if path == log or not _is_hidden(path.relative_to(log))]
    files = [file for file in found if file is not None]
    if not files:
        raise DataNotReadyError(f"{log}: the exposure log has no file with rows")
    return files


def read(file: LogFile, names: Collection[str]) -> pa.Table:
    """Those of the columns `names` that the file or its partition has, text as text. Raises DataNotReadyError."""
    wanted = [name for name in file.columns if name in names and name not in file.partition]
    with damage_told(file.path):
        if file.is_parquet:
            table = pa.parquet.ParquetFile(file.path).read(columns=wanted)
        else:
            table = _read_csv(file.path, wanted)
    for name, value in file.partition.items():
        if name in names:
            table = table.append_column(name, pa.array([value] * table.num_rows, pa.string()))
    return table


@contextlib.contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """What damaged bytes make the libraries raise, as DataNotReadyError. Some show only where values are decoded."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        raise DataNotReadyError(
            f"{path}: cannot be read: {error}", hint="Write the file again or move it out of the log."
        ) from error


def require_column(name: str, files: list[LogFile], what: str) -> None:
    """Raises ConfigError, with the nearest names there are, where a file lacks the column."""
    for file in files:
        if name not in file.columns:
            near = difflib.get_close_matches(name, file.columns, _DEAREST, 0.5) or list(file.columns[:20])
            raise ConfigError(
                f"{file.path}: there is no column {name!r} ({what})",
                hint=f"It has: {', '.join(near)}. Say which one it is with --column {what}=NAME"
                if what in _RENAMED
                else f"It has: {', '.join(near)}.",
            )


_RENAMED = ("request_time", "user_id", "variant", "click")


def _file(path: Path, log: Path) -> LogFile | None:
    with open(path, "rb") as opened:
        start = opened.read(4)
    if not start:
        return None
    partition = _partition(path.relative_to(log)) if path != log else {}
    if start == b"PAR1":
        with damage_told(path):
            columns = pa.parquet.ParquetFile(path).schema_arrow.names
        return LogFile(path, partition, True, (*columns, *partition))
    if not path.name.endswith(_CSV_ENDINGS):
        raise DataNotReadyError(
            f"{path}: neither a Parquet file nor named .csv or .csv.gz", hint="Move other files out of the log."
        )
    return LogFile(path, partition, False, (*_csv_header(path), *partition))


def _csv_header(path: Path) -> list[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    with damage_told(path), opener(path, "rt", encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(file), [])


def _read_csv(path: Path, wanted: list[str]) -> pa.Table:
    options = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(wanted, pa.string()),
        include_columns=wanted,
        null_values=_NULL_WORDS,
        strings_can_be_null=True,
    )
    return pa.csv.read_csv(path, convert_options=options, parse_options=pa.csv.ParseOptions(newlines_in_values=True))


def _partition(relative: Path) -> dict[str, str | None]:
    """`dt=2026-11-15/hour=03` -> {"dt": "2026-11-15", "hour": "03"}, as text."""
    pairs = [part.split("=", 1) for part in relative.parts[:-1] if "=" in part]
    return {name: None if value == _HIVE_NULL else urllib.parse.unquote(value) for name, value in pairs}


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(("_", ".")) for part in relative.parts)
