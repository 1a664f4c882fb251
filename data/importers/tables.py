"""What the importers share: reading a text file with typed columns, and writing a table as daily partitions."""

from __future__ import annotations

import datetime
import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from hivemill.common import progress
from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.common.storage.atomic import folder_published_at
from hivemill.data.hive_table import arrow_schema
from hivemill.data.writers import DATA_FILE, SUCCESS_FILE, FileFormat, open_writer

CHUNK_ROWS = 100_000
_UNPACK_AGAIN = "The files are read as their publisher gives them: unpack them again."


@dataclass(frozen=True)
class ImportedTable:
    """What an importer writes: the columns of the files (name: Hive type) and the partition columns."""

    columns: Mapping[str, str]
    label: str
    user: str | None
    partition_columns: Mapping[str, str]


def read_delimited(
    path: Path,
    types: Mapping[str, pa.DataType],
    *,
    header: list[str] | None,
    delimiter: str,
    null_words: tuple[str, ...] = (),
) -> pa.Table:
    """Columns `types` of a delimited file; blanks and `null_words` are NULL.

    `header` is the file's first line as it must be, or None for a file without one, whose columns are those of `types`.
    Raises ConfigError that names the file, the line and the value.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist", hint="SRC is the folder that the data set was unpacked into.")
    _check_header(path, header, delimiter)
    text = {name: pa.string() for name in header or types}
    read = pa.csv.ReadOptions(column_names=list(text), skip_rows=1 if header else 0)
    parse = pa.csv.ParseOptions(delimiter=delimiter, quote_char=False if delimiter != "," else '"')
    convert = pa.csv.ConvertOptions(
        column_types=text, include_columns=list(types), strings_can_be_null=True, null_values=["", *null_words]
    )
    try:
        table = pa.csv.read_csv(path, read, parse, convert)
    except pa.ArrowInvalid as error:
        raise ConfigError(f"{path}: {error}", hint=f"Every line needs {len(text)} columns, in UTF-8.") from error
    first_line = 2 if header else 1
    columns = [_typed(table.column(name), arrow_type, path, name, first_line) for name, arrow_type in types.items()]
    return pa.table(columns, names=list(types))


def _check_header(path: Path, header: list[str] | None, delimiter: str) -> None:
    if header is None:
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        found = file.readline().rstrip("\r\n").split(delimiter)
    if found != header:
        pairs = zip_longest(header, found, fillvalue="nothing more")
        wrong = next(pair for pair in pairs if pair[0] != pair[1])
        raise ConfigError(
            f"{path}, line 1: {len(header)} column names expected, found {len(found)}; "
            f"the first difference is {wrong[1]!r} instead of {wrong[0]!r}",
            hint="Is this the right data set?",
        )


def _typed(column: pa.ChunkedArray, arrow_type: pa.DataType, path: Path, name: str, first_line: int) -> pa.ChunkedArray:
    try:
        return column.cast(arrow_type)
    except pa.ArrowInvalid:
        place = _first_bad(column, arrow_type)
        raise ConfigError(
            f"{path}, line {place + first_line}, column {name}: {arrow_type} expected, "
            f"received {column[place].as_py()!r}",
            hint="Repair or remove the line.",
        ) from None


def _first_bad(column: pa.ChunkedArray, arrow_type: pa.DataType) -> int:
    """Row of the first value that cannot be cast, by bisection: the cast of `low` rows works, that of `high` fails."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            column.slice(low, middle - low).cast(arrow_type)
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low


def require_values(table: pa.Table, columns: list[str], path: Path, first_line: int) -> None:
    """Raises ConfigError for a blank in a column that cannot do without."""
    for name in columns:
        if table.column(name).null_count:
            row = pc.index(table.column(name).is_null(), True).as_py()
            raise ConfigError(f"{path}, line {row + first_line}, column {name}: a value is required, received a blank")


def require_among(table: pa.Table, column: str, allowed: Sequence[Any], path: Path, first_line: int) -> None:
    """Raises ConfigError for a value outside `allowed`."""
    values = table.column(column)
    row = pc.index(pc.is_in(values, pa.array(allowed, values.type)), False).as_py()
    if row >= 0:
        raise ConfigError(
            f"{path}, line {row + first_line}, column {column}: one of {', '.join(map(str, allowed))} expected, "
            f"received {values[row].as_py()!r}"
        )


def joined(table: pa.Table, other: pa.Table, key: str, path: Path, other_path: Path) -> pa.Table:
    """`table`, in its order, with the columns of `other`, whose `key` is unique. ConfigError for an absent key."""
    keys = other.column(key).combine_chunks()
    if len(pc.unique(keys)) < len(keys):
        double = pc.filter(pc.value_counts(keys).field(0), pc.greater(pc.value_counts(keys).field(1), 1))[0]
        raise ConfigError(
            f"{other_path}: {key} {double.as_py()!r} is there twice; one line each is expected", hint=_UNPACK_AGAIN
        )
    places = pc.index_in(table.column(key), keys)
    if places.null_count:
        row = pc.index(places.is_null(), True).as_py()
        raise ConfigError(
            f"{path}: {key} {table.column(key)[row].as_py()!r} is not in {other_path}", hint=_UNPACK_AGAIN
        )
    for name in other.column_names:
        if name != key:
            table = table.append_column(name, other.column(name).combine_chunks().take(places))
    return table


def pseudo_days(num_rows: int, days: int, start: datetime.date) -> np.ndarray:
    """`days` consecutive dates (datetime64[D]) for rows in order, as many rows each as can be. Raises ConfigError."""
    if not 1 <= days <= num_rows:
        raise ConfigError(f"the number of pseudo-days must be 1 to {num_rows}, the number of rows; got {days}")
    return np.datetime64(start, "D") + np.arange(num_rows) * days // num_rows


def write_days(
    table: pa.Table, days: np.ndarray, destination: Path, columns: Mapping[str, str], file_format: FileFormat
) -> dict[str, int]:
    """Writes `table` as one partition for each date of `days` (datetime64[D], one for each row); returns rows by `dt`.

    Raises ConfigError where a partition exists, before any is written; InfrastructureError where the disk refuses.
    """
    destination, table = Path(destination), table.select(list(columns)).cast(arrow_schema(columns))
    names = np.datetime_as_string(np.unique(days))
    for name in names:
        if (destination / f"dt={name}").exists():
            raise ConfigError(
                f"{destination / f'dt={name}'} exists already", hint="Choose another folder, or remove the table."
            )
    try:
        return {str(name): _write_day(table, days, str(name), destination, file_format) for name in names}
    except OSError as error:
        hint = "Free some space." if error.errno == errno.ENOSPC else "Choose a folder that can be written."
        raise InfrastructureError(f"cannot write to {destination}: {error}", hint=hint) from error


def _write_day(table: pa.Table, days: np.ndarray, name: str, destination: Path, file_format: FileFormat) -> int:
    rows = table.take(pa.array(np.flatnonzero(days == np.datetime64(name, "D"))))
    with folder_published_at(destination / f"dt={name}") as folder:
        with open_writer(file_format, folder / DATA_FILE, table.schema) as writer:
            for start in range(0, rows.num_rows, CHUNK_ROWS):
                writer.write(rows.slice(start, CHUNK_ROWS))
        (folder / SUCCESS_FILE).touch()
    progress.report(int((days <= np.datetime64(name, "D")).sum()), table.num_rows)
    return rows.num_rows
