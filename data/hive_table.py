"""Columns of a Hive table as this package writes them: Hive types beside the Arrow types that hold them.

A closed list, because the generator and the importers know what they write; the reader of any table at all is
components/hive_example_gen.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

ARROW_TYPES: dict[str, pa.DataType] = {
    "int": pa.int32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us"),
    "array<string>": pa.list_(pa.string()),
    "array<bigint>": pa.list_(pa.int64()),
    "map<string,string>": pa.map_(pa.string(), pa.string()),
}


def arrow_schema(columns: Mapping[str, str]) -> pa.Schema:
    """The Arrow schema of `columns` (name: Hive type). Raises KeyError for a type that this package never writes."""
    return pa.schema([(name, ARROW_TYPES[hive_type]) for name, hive_type in columns.items()])


def create_table(table: str, columns: Mapping[str, str], partition_columns: Mapping[str, str], comment: str) -> str:
    """The CREATE EXTERNAL TABLE statement of a text table with Hive's own delimiters, ending in a new line."""
    width = max(map(len, columns))
    lines = ",\n".join(f"  {name:<{width}} {hive_type}" for name, hive_type in columns.items())
    partitions = ", ".join(f"{name} {hive_type}" for name, hive_type in partition_columns.items())
    return (
        f"CREATE EXTERNAL TABLE {table} (\n{lines}\n)\nCOMMENT '{comment}'\nPARTITIONED BY ({partitions})\n"
        "ROW FORMAT DELIMITED\n"
        "  FIELDS TERMINATED BY '\\001'\n"
        "  COLLECTION ITEMS TERMINATED BY '\\002'\n"
        "  MAP KEYS TERMINATED BY '\\003'\n"
        "  NULL DEFINED AS '\\\\N'\n"
        "STORED AS TEXTFILE;\n"
    )
