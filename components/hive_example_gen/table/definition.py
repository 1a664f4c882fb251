"""What a table's or partition's descriptor says about reading it, wherever it comes from: a DDL or a metastore."""

from __future__ import annotations

from dataclasses import dataclass, field

from hivemill.components.hive_example_gen.table.serdes import Format, Serde


@dataclass
class TableDefinition:
    """Columns as Hive type strings, in order; names in lower case, as the metastore keeps them.

    Attributes:
        serde_properties: under Hive's own keys: `field.delim`, `escape.delim`, `separatorChar`, `input.regex`, ...
        table_properties: those that change what is read, e.g. `skip.header.line.count`.
        location: where the files lie; None where something else says so.
    """

    name: str
    columns: dict[str, str]
    partition_columns: dict[str, str] = field(default_factory=dict)
    format: Format | None = None
    serde: Serde | None = None
    serde_properties: dict[str, str] = field(default_factory=dict)
    table_properties: dict[str, str] = field(default_factory=dict)
    location: str | None = None
