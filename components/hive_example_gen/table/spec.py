"""How the files of one table are read: the source options and the DDL, resolved into one value for the workers."""

from __future__ import annotations

import functools
from typing import Literal

import pyarrow as pa
from pydantic import Field

from hivemill.common.errors import ConfigError
from hivemill.common.options import Options
from hivemill.common.text import did_you_mean
from hivemill.components.hive_example_gen.options import SourceOptions, TextOptions
from hivemill.components.hive_example_gen.table.ddl import read_ddl
from hivemill.components.hive_example_gen.table.definition import TableDefinition
from hivemill.components.hive_example_gen.table.hive_types import parse_type
from hivemill.components.hive_example_gen.table.serdes import DEFAULT_SERDES, Format, Serde
from hivemill.components.hive_example_gen.table.text_properties import check_json, text_options

# Part of every partition's fingerprint. Raise it with any change that alters what a conversion writes: the
# partitions that are kept from before are then converted again.
CONVERTER_VERSION = 3


class TableSpec(Options):
    """Everything besides the files themselves that a conversion depends on."""

    format: Literal["auto"] | Format
    columns: dict[str, str] | None
    partition_columns: dict[str, str]
    exclude_columns: tuple[str, ...] = ()
    serde: Serde | None = None
    serde_properties: dict[str, str] = Field({})
    text: TextOptions = TextOptions()
    # The columns as the files of a partition have them, where its own descriptor in a metastore says other than the
    # table's. Files are then read by these and converted to `columns`.
    file_columns: dict[str, str] | None = None

    @property
    def layout(self) -> dict[str, str] | None:
        """The columns as they lie in the files of formats without names (text, SequenceFile, RCFile)."""
        return self.file_columns or self.columns

    def serde_for(self, file_format: str) -> Serde:
        """Raises KeyError for Parquet, ORC and Avro, which are their own."""
        return self.serde or DEFAULT_SERDES[file_format]

    @functools.cached_property
    def schema(self) -> pa.Schema | None:
        """The declared columns that are read, with their Arrow types; None where the files' own schema decides."""
        if self.columns is None:
            return None
        return pa.schema([(name, parse_type(text)) for name, text in self.columns.items() if not self.excludes(name)])

    def for_partition(self, source: SourceOptions, definition: TableDefinition) -> TableSpec:
        """How the files of a partition with its own descriptor are read: its format, SerDe and columns, converted to
        the table's columns. Raises ConfigError."""
        # A column that is excluded may have come later than this partition.
        own = spec_of(source.model_copy(update={"exclude_columns": ()}), definition)
        changed = {
            "columns": self.columns,
            "exclude_columns": self.exclude_columns,
            "partition_columns": self.partition_columns,
            "file_columns": None if own.columns == self.columns else own.columns,
        }
        return TableSpec(**{**own.model_dump(), **changed})  # a copy would keep the schema that `own` has worked out

    def excludes(self, column: str) -> bool:
        """Excluded by the config, or shadowed by the partition column of that name (as in Hive)."""
        return column.lower() in self._left_out

    @functools.cached_property
    def _left_out(self) -> frozenset[str]:
        return frozenset(name.lower() for name in (*self.exclude_columns, *self.partition_columns))


def resolve_spec(source: SourceOptions) -> TableSpec:
    """The spec of a source; what the config says itself goes before the DDL, except for PARTITIONED BY.

    Raises:
        ConfigError: the DDL cannot be read, or config and DDL contradict each other.
    """
    ddl = read_ddl(source.ddl) if source.ddl else None
    if ddl and source.columns:
        raise ConfigError("source.ddl and source.columns both define the columns", hint="Keep one of the two.")
    return spec_of(source, ddl)


def spec_of(source: SourceOptions, definition: TableDefinition | None) -> TableSpec:
    """The spec of a source whose table is defined by `definition`: what the config says itself goes before it, except
    for the partition columns. Raises ConfigError."""
    serde = source.serde or (definition.serde if definition else None)
    # A table's properties go before those of its SerDe, as in Hive (MetaStoreUtils.getSchema).
    properties = {
        **(definition.serde_properties if definition else {}),
        **(definition.table_properties if definition else {}),
        **source.serde_properties,
    }
    spec = TableSpec(
        format=_format(source, definition),
        columns=_columns(definition, serde) if definition else source.columns,
        partition_columns=(definition.partition_columns if definition else None) or source.partition_columns,
        exclude_columns=source.exclude_columns,
        serde=serde,
        serde_properties=properties,
        text=text_options(source.text, properties, serde),
    )
    _check(spec, source)
    return spec


def _columns(definition: TableDefinition, serde: Serde | None) -> dict[str, str]:
    """OpenCSVSerde gives strings, whatever types the table declares; `source.columns` does convert them."""
    return dict.fromkeys(definition.columns, "string") if serde == "open_csv" else definition.columns


def _format(source: SourceOptions, ddl: TableDefinition | None) -> str:
    return ddl.format if ddl and ddl.format and source.format == "auto" else source.format


def _check(spec: TableSpec, source: SourceOptions) -> None:
    for key, types in (("columns", spec.columns or {}), ("partition_columns", spec.partition_columns)):
        for name, text in types.items():
            _check_type(f"source.{key}.{name}", text, nested=key == "columns")
    for option, column in (("date_column", source.date_column), ("hour_column", source.hour_column)):
        if column is not None and column not in spec.partition_columns:
            raise ConfigError(
                f"source.{option} is {column!r}, which is no partition column",
                hint=f"Partition columns: {', '.join(spec.partition_columns)}.",
            )
    check_json(spec.serde, spec.serde_properties)
    _check_excluded(spec)
    if spec.schema is not None and not spec.schema.names:
        raise ConfigError("source.exclude_columns leaves no column of the table", hint="Keep at least one column.")
    if spec.format in DEFAULT_SERDES and spec.columns is None:
        raise ConfigError(
            f"source.format is {spec.format}, and such a file does not say its columns",
            hint="Give source.ddl (a .hql file with CREATE TABLE) or source.columns.",
        )


def _check_excluded(spec: TableSpec) -> None:
    if spec.columns is None:
        return  # the files' own columns decide, and may differ from day to day
    known = [name.lower() for name in (*spec.columns, *spec.partition_columns)]
    for name in spec.exclude_columns:
        if name.lower() not in known:
            raise ConfigError(
                f"source.exclude_columns names {name!r}, which the table does not have; {did_you_mean(name, known)}"
            )


def _check_type(key: str, text: str, *, nested: bool) -> None:
    try:
        data_type = parse_type(text)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error.message}", hint=error.hint) from error
    if not nested and pa.types.is_nested(data_type):
        raise ConfigError(f"{key}: a partition column must have a primitive type, found {text}")
