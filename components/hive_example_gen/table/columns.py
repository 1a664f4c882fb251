"""The features that a table's rows will have, told before any conversion: from the declared columns or a file's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen.formats import reader
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.options import SourceOptions
from hivemill.components.hive_example_gen.planning.window import PlannedPartition, WindowPlan
from hivemill.components.hive_example_gen.rows.flatten import FeatureKind, feature_kinds
from hivemill.components.hive_example_gen.table.hive_types import parse_type
from hivemill.components.hive_example_gen.table.spec import TableSpec

__all__ = ["FeatureKind", "all_kinds", "example_features"]


def example_features(source: SourceOptions, plan: WindowPlan) -> dict[str, FeatureKind]:
    """Flattened names and kinds of the window's rows, partition columns and a joined label last. Opens one file, of
    the newest partition.

    Raises:
        ConfigError: nothing says the columns, one does not fit in tf.Example, or two give the same feature.
        DataNotReadyError: the file cannot be read, or no partition of the window has a declared column.
    """
    spec = plan.spec
    newest_first = list(reversed(plan.partitions))
    if not newest_first:
        if spec.schema is None:
            raise DataNotReadyError(
                f"no partition of the window for {plan.date} is there, so its columns are unknown",
                hint="Load a day of it, or choose another date; source.ddl or source.columns say the columns without.",
            )
        return all_kinds(spec.schema, spec) | _joined_label(plan)
    if newest_first[0].query is not None and spec.schema is not None:
        return all_kinds(spec.schema, spec) | _joined_label(plan)
    file = _first_file(source, newest_first[0])
    schema, present = reader.columns_of(file, newest_first[0].spec)
    if schema is None:
        raise ConfigError(
            f"{file.name} is text, which does not say its columns", hint="Give source.ddl or source.columns."
        )
    _check_present(schema, present, source, newest_first)
    return all_kinds(schema, spec) | _joined_label(plan)


def _joined_label(plan: WindowPlan) -> dict[str, FeatureKind]:
    if plan.label is None or plan.label.join is None:
        return {}
    return {plan.label.column: FeatureKind("int64", False, plan.label.column)}


def all_kinds(schema: pa.Schema, spec: TableSpec) -> dict[str, FeatureKind]:
    """The features of the columns and of the partition columns that are not excluded. Raises ConfigError."""
    return feature_kinds(pa.schema([*schema, *partition_fields(spec)]))


def partition_fields(spec: TableSpec) -> list[pa.Field]:
    excluded = {name.lower() for name in spec.exclude_columns}
    return [pa.field(name, parse_type(text)) for name, text in spec.partition_columns.items() if name not in excluded]


def _check_present(schema: pa.Schema, present: frozenset[str], source: SourceOptions, newest_first: Sequence) -> None:
    """A column added last week is absent from older files; one that no partition has is a mistake."""
    absent = [name for name in schema.names if name not in present]
    for columns in _columns_of_each(newest_first[1:], source) if absent else ():
        absent = [name for name in absent if name not in columns]
        if not absent:
            return
    if absent:
        raise DataNotReadyError(
            f"column {absent[0]!r} is declared, but no partition of the window has it, "
            f"e.g. {newest_first[0].files[0].path}",
            hint="Correct source.columns or the DDL: names are compared without regard to case.",
        )


def _columns_of_each(partitions: Sequence[PlannedPartition], source: SourceOptions) -> Iterator[frozenset[str]]:
    for partition in partitions:
        yield reader.columns_of(_first_file(source, partition), partition.spec)[1]


def _first_file(source: SourceOptions, partition: PlannedPartition) -> DataFile:
    return DataFile.of(source.place, partition.files[0].path)


def with_partition_values(
    batch: pa.RecordBatch, name: str, values: Sequence[tuple[str, str | None]], spec: TableSpec
) -> pa.RecordBatch:
    """The batch and the partition's own columns, as the table's types say: `hour=00` stays '00' or becomes 0.

    Raises DataNotReadyError: a value is not of its column's type; `name` is the partition's, for the message.
    """
    texts = dict(values)
    fields = partition_fields(spec)
    columns = [pa.repeat(_partition_value(texts[field.name], field, name), batch.num_rows) for field in fields]
    return pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=pa.schema([*batch.schema, *fields]))


def _partition_value(text: str | None, field: pa.Field, partition: str) -> pa.Scalar:
    try:
        return pa.scalar(text, pa.string()).cast(field.type)
    except pa.ArrowInvalid as error:
        raise DataNotReadyError(
            f"partition {partition}: {field.name}={text!r} is not a {field.type}",
            hint="Correct source.partition_columns, or rename the folder.",
        ) from error
