"""Reads a few columns of the files of a partition, for a pass before the conversion."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import pyarrow as pa

from hivemill.common.errors import DataNotReadyError
from hivemill.components.hive_example_gen.catalog import table_files
from hivemill.components.hive_example_gen.catalog.listing import SourceFile
from hivemill.components.hive_example_gen.formats import reader
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.table.spec import TableSpec


def including(spec: TableSpec, columns: Collection[str]) -> TableSpec:
    """The spec with `columns` read although the config excludes them from what is written."""
    kept = tuple(name for name in spec.exclude_columns if name not in columns)
    return spec if kept == spec.exclude_columns else _excluding(spec, kept)


def without_exclusions(spec: TableSpec) -> TableSpec:
    """The spec with all columns."""
    return _excluding(spec, ())


def projected_batches(
    table: str, files: Sequence[SourceFile], spec: TableSpec, columns: Sequence[str], bad: BadRows
) -> Iterator[tuple[DataFile, pa.RecordBatch]]:
    """Batches with `columns`, in their order, of each file in turn.

    Raises DataNotReadyError where a file lacks one of them, cannot be read, or changed since the plan.
    """
    for planned in files:
        file = DataFile.of(table, planned.path)
        check_unchanged(file, planned)
        wide = including(spec, columns)
        schema, present = reader.columns_of(file, wide)
        absent = [name for name in columns if schema is None or name not in present]
        if absent:
            raise DataNotReadyError(
                f"{file.name} has no column {absent[0]!r}", hint="Write the file again, or choose other columns."
            )
        narrow = _excluding(wide, (*wide.exclude_columns, *(n for n in schema.names if n not in columns)))
        bad.start_file()
        for batch in reader.read_batches(file, narrow, bad):
            bad.good_rows += batch.num_rows
            if batch.num_rows:
                yield file, batch.select(list(columns))
        check_unchanged(file, planned)


def check_unchanged(file: DataFile, planned: SourceFile) -> None:
    """Raises DataNotReadyError where the file is not the one that was planned."""
    try:
        status = table_files.status(file.path)
    except OSError as error:
        raise DataNotReadyError(
            f"{file.name} was there when the window was planned and is gone",
            hint="Run again once the table is at rest.",
        ) from error
    if (status.num_bytes, status.modified_ns) != (planned.num_bytes, planned.modified_ns):
        raise DataNotReadyError(
            f"{file.name} changed after the window was planned: {status.num_bytes:,} bytes, then {planned.num_bytes:,}",
            hint="Run again once the table is at rest.",
        )


def _excluding(spec: TableSpec, columns: tuple[str, ...]) -> TableSpec:
    """A new spec, because a copy would keep the schema that the old one has worked out."""
    return TableSpec(**{**spec.model_dump(), "exclude_columns": columns})
