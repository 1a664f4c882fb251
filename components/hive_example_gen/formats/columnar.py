"""What Parquet and ORC share: the file's columns matched with the declared ones, by name, as Hive does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.evolution import converted, widens
from hivemill.components.hive_example_gen.formats.undecodable_text import without_undecodable
from hivemill.components.hive_example_gen.table.hive_types import name_of, text_length
from hivemill.components.hive_example_gen.table.spec import TableSpec

BATCH_ROWS = 16_384
_POSITIONAL = re.compile(r"_col\d+")
_BY_PLACE = {"parquet": "parquet.column.index.access", "orc": "orc.force.positional.evolution"}


def target_schema(own: pa.Schema, spec: TableSpec, file: DataFile) -> tuple[pa.Schema, dict[str, str]]:
    """What a file's batches shall look like, and for each of those columns that the file has, its name there.

    Raises DataNotReadyError where a column has a type that does not widen to the declared one.
    """
    if spec.schema is None:
        _check_named(own, file)
        kept = [field for field in own if not spec.excludes(field.name)]
        if not kept:
            raise ConfigError(f"source.exclude_columns leaves no column of {file.name}", hint="Keep at least one.")
        return pa.schema(kept), {field.name: field.name for field in kept}
    present = _names_in_file(own, spec, file)
    if own.names and not present:
        _check_any_known(own, spec, file)
    for declared in spec.schema:
        if declared.name in present:
            _check_widens(own.field(present[declared.name]).type, declared.type, declared, own, present, file)
    return spec.schema, present


def _check_any_known(own: pa.Schema, spec: TableSpec, file: DataFile) -> None:
    """A file without any column of the table would be rows of NULLs."""
    known = {name.lower() for name in (*(spec.columns or {}), *(spec.layout or {}))}
    if not known & {name.lower() for name in own.names}:
        raise DataNotReadyError(
            f"{file.name} has none of the table's columns: it has {', '.join(own.names[:10])}",
            hint="Does the file belong to the table? Correct source.columns or the DDL.",
        )


def _names_in_file(own: pa.Schema, spec: TableSpec, file: DataFile) -> dict[str, str]:
    if _is_by_place(own, spec):
        by_name: dict[str, str] = dict(zip(map(str.lower, spec.layout or {}), own.names, strict=False))
        return {name: by_name[name.lower()] for name in (spec.schema or pa.schema([])).names if name.lower() in by_name}
    spelled: dict[str, list[str]] = {}
    for name in own.names:
        spelled.setdefault(name.lower(), []).append(name)
    return {
        name: _one_of(spelled[name.lower()], name, file)
        for name in (spec.schema or pa.schema([])).names
        if name.lower() in spelled
    }


def _is_by_place(own: pa.Schema, spec: TableSpec) -> bool:
    """Old Hive writes ORC without names; and a table may say so by Hive's own properties."""
    if own.names and all(_POSITIONAL.fullmatch(name) for name in own.names):
        return True
    return spec.serde_properties.get(_BY_PLACE.get(spec.format, ""), "").lower() == "true"


def _one_of(spellings: list[str], name: str, file: DataFile) -> str:
    """The file's column for `name`: the only one, or of several that differ in case the one that does not."""
    chosen = spellings if len(spellings) == 1 else [spelling for spelling in spellings if spelling == name]
    if len(chosen) != 1:
        raise DataNotReadyError(
            f"{file.name} has several columns that are called {name!r} without regard to case: {', '.join(spellings)}",
            hint=f"Declare {name!r} as one of them is spelled, or exclude it (source.exclude_columns).",
        )
    return chosen[0]


def _check_named(own: pa.Schema, file: DataFile) -> None:
    if own.names and all(_POSITIONAL.fullmatch(name) for name in own.names):
        raise ConfigError(
            f"{file.name} carries no column names (_col0, ...), as old versions of Hive write ORC",
            hint="Give source.ddl or source.columns: the columns are then taken by position.",
        )


def _check_widens(
    found: pa.DataType,
    declared: pa.DataType,
    field: pa.Field,
    own: pa.Schema,
    present: Mapping[str, str],
    file: DataFile,
) -> None:
    if not widens(found, declared):
        raise DataNotReadyError(
            f"{file.name}: column {field.name!r} is {name_of(own.field(present[field.name]).type)} in the file, "
            f"declared {name_of(field.type)}",
            hint="Correct source.columns or the DDL, or write the partition again with the declared type.",
        )


def conformed(
    batch: pa.RecordBatch,
    target: pa.Schema,
    present: Mapping[str, str],
    file: DataFile,
    first_row: int,
    bad: BadRows,
) -> Iterator[pa.RecordBatch]:
    """Slices of at most BATCH_ROWS rows with the target's columns; a column that the file lacks is NULL.

    Rows with text that is not UTF-8 go to `bad`; `first_row` is the number of the first row, from 0. Raises
    DataNotReadyError for a number that the declared type would cut.
    """
    for start in range(0, batch.num_rows, BATCH_ROWS):
        part = batch.slice(start, BATCH_ROWS)
        columns = [
            _converted(part.column(present[field.name]), field, file)
            if field.name in present
            else pa.nulls(part.num_rows, field.type)
            for field in target
        ]
        result = pa.RecordBatch.from_arrays(columns, schema=target)
        yield without_undecodable(result, file, first_row + start, bad)


def _converted(array: pa.Array, field: pa.Field, file: DataFile) -> pa.Array:
    try:
        return converted(array, field.type)
    except pa.ArrowInvalid as error:
        raise DataNotReadyError(
            f"{file.name}: column {field.name!r} is {name_of(array.type)} in the file, and a value does not fit in "
            f"{name_of(field.type)}: {str(error).splitlines()[0]}",
            hint="Declare a wider type in source.columns or the DDL.",
        ) from error


def bounded(batches: Iterator[pa.RecordBatch], spec: TableSpec) -> Iterator[pa.RecordBatch]:
    """varchar(n) and char(n) hold n characters; the padding of a char is no part of its value (Hive's HiveChar)."""
    cuts = {name: cut for name, text in (spec.columns or {}).items() if (cut := text_length(text))}
    for batch in batches:
        for index, name in enumerate(batch.schema.names):
            if name in cuts:
                kind, length = cuts[name]
                cut = pc.utf8_slice_codeunits(batch.column(index), 0, length)
                batch = batch.set_column(
                    index, batch.schema.field(index), pc.utf8_rtrim(cut, " ") if kind == "char" else cut
                )
        yield batch
