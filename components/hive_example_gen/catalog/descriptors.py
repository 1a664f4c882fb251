"""Thrift descriptors of tables and partitions as TableDefinitions; what cannot be read rightly is refused by name.

Source: hive_metastore.thrift (Table, Partition, StorageDescriptor), MetaStoreUtils.getSchema for which property counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.catalog.metastore_client import QUERY_HINT
from hivemill.components.hive_example_gen.table.definition import TableDefinition
from hivemill.components.hive_example_gen.table.serdes import (
    FORMATS_BY_INPUT_CLASS,
    SERDES_BY_CLASS,
    Format,
    Serde,
    simple_name,
)

# A descriptor's other properties (row counts, times, a loader's own) change daily and say nothing of how to read.
_READING = frozenset(
    ("skip.header.line.count", "skip.footer.line.count", "field.delim", "collection.delim", "colelction.delim",
     "mapkey.delim", "line.delim", "escape.delim", "separatorChar", "quoteChar", "escapeChar", "input.regex",
     "input.regex.case.insensitive", "timestamp.formats", "ignore.malformed.json", "json.binary.format",
     "text.null.empty.line", "dots.in.keys", "case.insensitive", "parquet.column.index.access",
     "orc.force.positional.evolution")
)  # fmt: skip
_READING_PREFIXES = ("serialization.", "avro.schema.", "mapping.", "hive.serialization.")
_SPARK_PROVIDER = "spark.sql.sources.provider"
_SPARK_PLACEHOLDER = {"col": "array<string>"}
_AVRO_PLACEHOLDER = "cannot_determine_schema"  # Hive's AvroSerDe, where it could not read avro.schema.url


def table_definition(table: Any) -> tuple[TableDefinition, tuple[str, ...]]:
    """What a Thrift Table says of reading it, and notes on what it says elsewhere.

    Raises ConfigError: a view, an unpartitioned or transactional table, Iceberg, Hudi, Delta, a storage handler, an
    input format or SerDe that Hivemill does not know.
    """
    name = f"{table.dbName}.{table.tableName}"
    parameters = table.parameters or {}
    _check_kind(name, table, parameters)
    definition = _definition(name, table.sd, parameters, {key.name.lower(): key.type for key in table.partitionKeys})
    if not definition.columns or _AVRO_PLACEHOLDER in definition.columns:
        hint = "Name the table's folder in source.table, and the columns in source.columns or source.ddl."
        raise _refused(name, "has no columns in the metastore: its SerDe keeps them elsewhere", hint)
    if definition.columns == _SPARK_PLACEHOLDER and parameters.get(_SPARK_PROVIDER, "hive").lower() != "hive":
        raise _refused(name, f"keeps its columns where only Spark reads them ({_SPARK_PROVIDER})", QUERY_HINT)
    return definition, _notes(name, definition)


def partition_definition(partition: Any, name: str, table: TableDefinition) -> TableDefinition | None:
    """The partition's own descriptor, None where it says what the table's does. Raises ConfigError."""
    own = _definition(f"{table.name}, partition {name}", partition.sd, {}, table.partition_columns)
    own.name, own.table_properties = table.name, table.table_properties  # Hive takes those of the table
    same = dataclasses.replace(own, location=table.location) == table
    return None if same else own


def _check_kind(name: str, table: Any, parameters: Mapping[str, str]) -> None:
    if "VIEW" in (table.tableType or ""):
        raise _refused(name, f"is a view ({table.tableType})", QUERY_HINT)
    lake = _lake_format(table.sd, parameters)
    if lake:
        raise _refused(name, f"is {lake}: its folders also hold files that are no longer part of it", QUERY_HINT)
    if parameters.get("transactional", "").lower() == "true":
        hint = f"{QUERY_HINT} Or copy it into an external table."
        raise _refused(name, "is transactional (ACID): its rows are not what lies in its files", hint)
    handler = parameters.get("storage_handler")
    if handler:
        raise _refused(name, f"lies behind the storage handler {handler}, not in files", QUERY_HINT)
    if not table.partitionKeys:
        raise _refused(
            name,
            "has no partitions, and a window is made of days",
            f"Load it into a table PARTITIONED BY (dt string), or ask for one day at a time. {QUERY_HINT}",
        )


def _lake_format(descriptor: Any, parameters: Mapping[str, str]) -> str | None:
    said = " ".join(
        (
            parameters.get("table_type", ""),
            parameters.get("storage_handler", ""),
            parameters.get(_SPARK_PROVIDER, ""),
            descriptor.inputFormat or "",
        )
    ).lower()
    names = {"iceberg": "an Iceberg table", "hudi": "a Hudi table", "hoodie": "a Hudi table", "delta": "a Delta table"}
    return next((kind for word, kind in names.items() if word in said), None)


def _definition(
    name: str, descriptor: Any, parameters: Mapping[str, str], partition_columns: dict[str, str]
) -> TableDefinition:
    info = descriptor.serdeInfo
    file_format, serde = _format(name, descriptor.inputFormat, info.serializationLib)
    properties = {**_reading(info.parameters or {}), **_reading(parameters)}
    delimiter = properties.pop("serialization.format", "1")
    if delimiter != "1":  # LazySerDeParameters: what field.delim is if nothing says it
        properties.setdefault("field.delim", delimiter)
    skipped = {key: properties.pop(key) for key in list(properties) if key.startswith("skip.")}
    return TableDefinition(
        name=name,
        columns={column.name.lower(): column.type for column in descriptor.cols or ()},
        partition_columns=partition_columns,
        format=file_format,
        serde=serde,
        serde_properties=properties,
        table_properties=skipped,
        location=descriptor.location,
    )


def _format(name: str, input_format: str | None, library: str | None) -> tuple[Format, Serde | None]:
    found = FORMATS_BY_INPUT_CLASS.get(simple_name(input_format or ""))
    if found is None:
        known = ", ".join(FORMATS_BY_INPUT_CLASS)
        raise _refused(name, f"has the input format {input_format}; known are {known}", QUERY_HINT)
    if simple_name(library or "") not in SERDES_BY_CLASS:
        raise _refused(name, f"has the SerDe {library}; known are {', '.join(SERDES_BY_CLASS)}", QUERY_HINT)
    needed, serde = SERDES_BY_CLASS[simple_name(library or "")]
    if needed is not None and needed != found:
        raise _refused(name, f"has the SerDe {library} with the input format {input_format}", QUERY_HINT)
    return found, serde


def _reading(properties: Mapping[str, str]) -> dict[str, str]:
    return {
        key: value
        for key, value in sorted(properties.items())
        if value is not None and (key in _READING or key.startswith(_READING_PREFIXES))
    }


def _notes(name: str, definition: TableDefinition) -> tuple[str, ...]:
    elsewhere = [key for key in ("avro.schema.url", "avro.schema.literal") if key in definition.serde_properties]
    return tuple(
        f"{name} has its columns in {key}; the metastore's own copy of them is taken, and may be older"
        for key in elsewhere
    )


def _refused(name: str, why: str, hint: str) -> ConfigError:
    return ConfigError(f"source.table: {name} {why}", hint=hint)
