"""Parquet files, row group by row group in batches."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet

from components.hive_example_gen.bad_rows import BadRows
from components.hive_example_gen.formats.columnar import BATCH_ROWS, conformed, target_schema
from components.hive_example_gen.formats.opened import DataFile, translated
from components.hive_example_gen.table_spec import TableSpec

# Column chunks are read in pieces of this size, so that memory does not grow with the row group.
_BUFFER_BYTES = 1 << 20


def read_schema(file: DataFile, spec: TableSpec) -> pa.Schema:
    """The file's own columns. Raises DataNotReadyError."""
    with translated(file, "Parquet"), _open(file) as opened:
        return opened.schema_arrow


def read_batches(file: DataFile, spec: TableSpec, bad: BadRows) -> Iterator[pa.RecordBatch]:
    """The rows of `file`, at most BATCH_ROWS at a time. Raises DataNotReadyError, ConfigError."""
    with translated(file, "Parquet"), _open(file) as opened:
        target, present = target_schema(opened.schema_arrow, spec, file)
        row = 0
        for batch in opened.iter_batches(batch_size=BATCH_ROWS, columns=list(present.values()), use_threads=False):
            yield from conformed(batch, target, present, file, row)
            row += batch.num_rows


def _open(file: DataFile) -> pyarrow.parquet.ParquetFile:
    # INT96 (Spark, Impala) in microseconds: in nanoseconds the year 9999 would overflow.
    return pyarrow.parquet.ParquetFile(
        file.path, buffer_size=_BUFFER_BYTES, pre_buffer=False, coerce_int96_timestamp_unit="us"
    )
