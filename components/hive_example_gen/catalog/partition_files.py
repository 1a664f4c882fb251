"""What lies in a partition's folder: which entries are data, and how a folder that cannot be read is reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import pyarrow as pa

from hivemill.common.errors import ConfigError, DataNotReadyError, HivemillError, InfrastructureError
from hivemill.common.storage import urls
from hivemill.components.hive_example_gen.catalog import table_files
from hivemill.components.hive_example_gen.catalog.listing import SourceFile
from hivemill.components.hive_example_gen.catalog.table_files import ListedEntry

_ACID_FOLDERS = ("base_", "delta_", "delete_delta_")
# Google's client says with Arrow's own errors that credentials cannot be read.
UNREADABLE = (OSError, pa.ArrowException)
_Result = TypeVar("_Result")


def data_files(
    entries: Sequence[ListedEntry],
    folder: str,
    prefix: str,
    success_file: str | None,
    nested_hint: str = "Name the further partition column in source.partition_columns, e.g. hour: string.",
) -> tuple[SourceFile, ...]:
    """The data files among the entries of a partition's folder that hold something; `prefix` goes before their names.

    Raises ConfigError where the folder holds folders: Hive does not read into them.
    """
    nested = [entry.name for entry in entries if entry.is_folder and not is_hidden(entry.name)]
    if nested and nested[0].startswith(_ACID_FOLDERS):
        raise ConfigError(
            f"{table_files.shown(folder)} holds the folder {nested[0]!r}: this is a transactional (ACID) table, whose "
            "rows are not what lies in its files",
            hint="Read it through HiveServer2 (source.server and source.query), or copy it into an external table.",
        )
    if nested:
        raise ConfigError(
            f"{table_files.shown(folder)} holds the folder {nested[0]!r} where data files were expected",
            hint=nested_hint,
        )
    kept = [entry for entry in entries if is_data(entry, success_file) and entry.num_bytes]
    return tuple(SourceFile(table_files.joined(prefix, e.name), e.num_bytes, e.modified_ns) for e in kept)


def is_data(entry: ListedEntry, success_file: str | None) -> bool:
    name = entry.name
    return not (entry.is_folder or is_hidden(name) or name.endswith((".crc", "_$folder$")) or name == success_file)


def is_hidden(name: str) -> bool:
    return name.startswith(("_", "."))


def names_in(folder: str) -> list[str]:
    """Raises as `entries_of`."""
    return translated(table_files.names, folder)


def entries_of(folder: str) -> list[ListedEntry]:
    """Raises DataNotReadyError (local), InfrastructureError (a URL), FileNotFoundError."""
    return translated(table_files.entries, folder)


def translated(listed: Callable[[str], _Result], folder: str) -> _Result:
    try:
        return listed(folder)
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise unreadable(folder, error) from error


def unreadable(folder: str, error: Exception) -> HivemillError:
    reason = getattr(error, "strerror", None) or str(error)
    message = f"partition folder {table_files.shown(folder)} cannot be read: {urls.reason(Exception(reason))}"
    if table_files.is_url(folder):
        return InfrastructureError(message, hint="Check network, region, endpoint and credentials of this filesystem.")
    return DataNotReadyError(message, hint="Check its permissions and owner.")
