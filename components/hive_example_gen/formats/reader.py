"""The one way in: reads a file of a table as whatever format it has."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from hivemill.components.hive_example_gen.formats import parquet
from hivemill.components.hive_example_gen.formats.avro import avro_file
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.columnar import target_schema
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.detect import format_of
from hivemill.components.hive_example_gen.formats.hadoop import rcfile, sequence_file
from hivemill.components.hive_example_gen.formats.orc import orc_file
from hivemill.components.hive_example_gen.formats.text import text_file
from hivemill.components.hive_example_gen.table.spec import TableSpec

_READERS = {
    "text": text_file.read_batches,
    "sequence_file": sequence_file.read_batches,
    "rcfile": rcfile.read_batches,
    "parquet": parquet.read_batches,
    "orc": orc_file.read_batches,
    "avro": avro_file.read_batches,
}
_SCHEMAS = {"parquet": parquet.read_schema, "orc": orc_file.read_schema, "avro": avro_file.read_schema}


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
