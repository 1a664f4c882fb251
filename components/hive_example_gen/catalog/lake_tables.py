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
    "_delta_log": "Delta Lake",
    ".hoodie": "Hudi",
    ".hoodie_partition_metadata": "Hudi",
    "_spark_metadata": "a sink of Spark Structured Streaming",
}
_ICEBERG_METADATA = ".metadata.json", ".metadata.json.gz"
_MAX_LEVELS_ABOVE = 4  # partition folders of a table, or its `data`
_HINT = (
    "Read it through its own engine: source.server and source.query ask HiveServer2 (or Spark's Thrift server) for the "
    "rows of a day; or write the table's rows of each day to a plain Parquet table."
)


def refuse(key: str, folder: str, names: Sequence[str]) -> None:
    """Raises ConfigError where `folder`, or one of those above it, is that of a lake table.

    `key` is the config key, `names` what lies in the folder. Raises OSError where a folder cannot be listed.
    """
    for marker, kind in _MARKERS.items():
        if marker in names:
            raise _refusal(key, folder, kind, marker)
    if "metadata" in names:
        _refuse_iceberg(key, folder, folder)
    above = _above(folder)
    for _ in range(_MAX_LEVELS_ABOVE):
        if above is None:
            return
        for marker, kind in _MARKERS.items():
            if table_files.is_folder(table_files.joined(above, marker)):
                raise _refusal(key, folder, kind, table_files.shown(table_files.joined(above, marker)))
        if table_files.is_folder(table_files.joined(above, "metadata")):
            _refuse_iceberg(key, folder, above)
        above = _above(above)


def _refuse_iceberg(key: str, folder: str, table: str) -> None:
    metadata = table_files.joined(table, "metadata")
    found = [name for name in table_files.names(metadata) if name.endswith(_ICEBERG_METADATA)]
    if found:
        raise _refusal(key, folder, "Iceberg", table_files.shown(table_files.joined(metadata, found[-1])))


def _refusal(key: str, folder: str, kind: str, marker: str) -> ConfigError:
    return ConfigError(
        f"{key}: {table_files.shown(folder)} belongs to a lake table, {kind} (found {marker}); its log says which "
        "files hold rows, and reading all of them would give deleted and replaced rows again",
        hint=_HINT,
    )


def _above(folder: str) -> str | None:
    """The folder above; None at the top of a filesystem or bucket."""
    bare, query = table_files.split_query(folder) if table_files.is_url(folder) else (folder, "")
    parent = posixpath.dirname(bare.rstrip("/"))
    return parent + query if parent.strip("/") and not parent.endswith(":/") else None
