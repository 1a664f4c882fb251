"""The one way in: reads a file of a table as whatever format it has."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from components.hive_example_gen.bad_rows import BadRows
from components.hive_example_gen.formats import avro, orc, parquet, rcfile, sequence_file, text
from components.hive_example_gen.formats.columnar import target_schema
from components.hive_example_gen.formats.detect import format_of
from components.hive_example_gen.formats.opened import DataFile
from components.hive_example_gen.table_spec import TableSpec

_READERS = {
    "text": text.read_batches,
    "sequence_file": sequence_file.read_batches,
    "rcfile": rcfile.read_batches,
    "parquet": parquet.read_batches,
    "orc": orc.read_batches,
    "avro": avro.read_batches,
}
_SCHEMAS = {"parquet": parquet.read_schema, "orc": orc.read_schema, "avro": avro.read_schema}


def read_batches(file: DataFile, spec: TableSpec, bad: BadRows) -> Iterator[pa.RecordBatch]:
    """The rows of `file` in bounded batches; rows that do not fit go to `bad`.

    Raises DataNotReadyError naming the file, ConfigError without columns.
    """
    yield from _READERS[format_of(file, spec.format)](file, spec, bad)


def columns_of(file: DataFile, spec: TableSpec) -> tuple[pa.Schema | None, frozenset[str]]:
    """The columns that reading `file` gives, and which of them it really has.

    The schema is None for text without declared columns. Text does not name its columns: it has the declared ones; an
    RCFile does not either, but says how many it has.
    """
    found = format_of(file, spec.format)
    if found in _SCHEMAS:
        schema, present = target_schema(_SCHEMAS[found](file, spec), spec, file)
        return schema, frozenset(present)
    names = spec.schema.names if spec.schema else ()
    if found == "rcfile":
        in_file = {name.lower() for name in list(spec.layout or ())[: rcfile.column_count(file)]}
        names = [name for name in names if name.lower() in in_file]
    return spec.schema, frozenset(names)
