"""Folders that belong to a lake table: which of their files hold rows is said by a log, not by the folder.

Read as plain files they give deleted and replaced rows again, silently. Sources: the Delta protocol (`_delta_log`), the
Iceberg table spec (`metadata/*.metadata.json`), Hudi's technical specification (`.hoodie`), Spark's FileStreamSink
(`_spark_metadata`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.catalog import table_files

_MARKERS = {
    "_delta_log": "Delta Lake table",
    ".hoodie": "Hudi table",
    ".hoodie_partition_metadata": "Hudi table",
    "_spark_metadata": "sink of Spark Structured Streaming",
}
_HINT = (
    "Read it through its own engine: source.server and source.query ask HiveServer2 (or Spark's Thrift server) for the "
    "rows of a day; or write the table's rows of each day to a plain Parquet table."
)


def refuse(key: str, folder: str, names: Sequence[str]) -> None:
    """Raises ConfigError where `folder`, or the one above it, is that of a lake table.

    `key` is the config key, `names` what lies in the folder. Raises OSError where a folder cannot be listed.
    """
    for marker, kind in _MARKERS.items():
        if marker in names:
            raise _refusal(key, folder, kind, marker)
    parent, name = _above(folder)
    if "metadata" in names:
        _refuse_iceberg(key, folder, table_files.joined(folder, "metadata"))
    if name == "data" and parent is not None and table_files.is_folder(table_files.joined(parent, "metadata")):
        _refuse_iceberg(key, folder, table_files.joined(parent, "metadata"))


def _refuse_iceberg(key: str, folder: str, metadata: str) -> None:
    found = [name for name in table_files.names(metadata) if name.endswith(".metadata.json")]
    if found:
        raise _refusal(key, folder, "Iceberg table", f"metadata/{found[-1]}")


def _refusal(key: str, folder: str, kind: str, marker: str) -> ConfigError:
    return ConfigError(
        f"{key}: {table_files.shown(folder)} is part of a {kind} (found {marker}); its log says which files hold rows, "
        "and reading all of them would give deleted and replaced rows again",
        hint=_HINT,
    )


def _above(folder: str) -> tuple[str | None, str]:
    """(the folder above, own name); (None, name) at the top of a filesystem."""
    bare, query = table_files.split_query(folder) if table_files.is_url(folder) else (folder, "")
    parent, name = posixpath.split(bare.rstrip("/"))
    return (parent + query if parent and not parent.endswith(":/") else None), name
