"""Parquet files, row group by row group in batches.

What a timestamp means depends on who wrote it:
- INT64: as it is, in microseconds. Spark's are instants (isAdjustedToUTC), of which Hive reads the wall clock of the
  machine's time zone: here that of `writer.time.zone` in source.serde_properties, or of UTC.
- INT96 (Hive, Impala, Spark 2): Hive converts its wall clock from the writer's time zone to UTC and, since 3.1, names
  that zone in the footer (`writer.time.zone`): it is converted back. Without it the wall clock of UTC is read, which is
  right for Impala and for clusters that run in UTC; `writer.time.zone` in source.serde_properties says otherwise for
  files of Hive before 3.1 and of Spark in other zones.
Days before 1582-10-15 are those of the calendar that the footer of Hive or Spark names; writers other than parquet-mr
have always been proleptic Gregorian (calendars.py).

Source: Hive's ParquetRecordReaderBase, NanoTimeUtils and ParquetTimestampUtils, Spark's ParquetReadSupport.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet

from hivemill.components.hive_example_gen.catalog import table_files
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.columnar import BATCH_ROWS, bounded, conformed, target_schema
from hivemill.components.hive_example_gen.formats.data_file import DataFile, translated
from hivemill.components.hive_example_gen.formats.time.calendars import SPARK_VERSION_KEY, Writer, holds_time
from hivemill.components.hive_example_gen.table.spec import TableSpec

# Column chunks are read in pieces of this size, so that memory does not grow with the row group.
_BUFFER_BYTES = 1 << 20
_SPARK_LEGACY_INT96 = "org.apache.spark.legacyINT96"


def read_schema(file: DataFile, spec: TableSpec) -> pa.Schema:
    """The file's own columns. Raises DataNotReadyError."""
    with translated(file, "Parquet"), _open(file) as opened:
        return opened.schema_arrow


def read_batches(file: DataFile, spec: TableSpec, bad: BadRows) -> Iterator[pa.RecordBatch]:
    """The rows of `file`, at most BATCH_ROWS at a time. Raises DataNotReadyError, ConfigError."""
    with translated(file, "Parquet"), _open(file) as opened:
        target, present = target_schema(opened.schema_arrow, spec, file)
        writers = _writers(opened, spec)
        row = 0
        for batch in opened.iter_batches(batch_size=BATCH_ROWS, columns=list(present.values()), use_threads=False):
            dated = _dated(batch, writers, file)
            yield from bounded(conformed(dated, target, present, file, row, bad), spec)
            row += batch.num_rows


def _open(file: DataFile) -> pyarrow.parquet.ParquetFile:
    # INT96 in microseconds: in nanoseconds the year 9999 would overflow.
    source = file.open() if table_files.is_url(file.path) else table_files.local(file.path)
    return pyarrow.parquet.ParquetFile(
        source, buffer_size=_BUFFER_BYTES, pre_buffer=False, coerce_int96_timestamp_unit="us"
    )


def _writers(opened: pyarrow.parquet.ParquetFile, spec: TableSpec) -> dict[str, Writer]:
    """For each column with dates or timestamps, how they were written."""
    stored = opened.metadata.metadata or {}
    metadata = {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in stored.items()}
    writer = Writer.of_metadata(metadata)
    if writer.proleptic is None and not (opened.metadata.created_by or "parquet-mr").startswith("parquet-mr"):
        writer = replace(writer, proleptic=True)
    declared = Writer.declared(spec.serde_properties)
    writer = replace(writer.completed_by(declared), zone_of_instants=declared.zone)
    int96 = _columns_of_int96(opened)
    return {
        field.name: _writer_of_int96(writer, metadata) if field.name in int96 else _writer_of(field, writer)
        for field in opened.schema_arrow
        if holds_time(field.type)
    }


def _writer_of(field: pa.Field, writer: Writer) -> Writer:
    """Spark never changes timestamps without a zone, not even in its legacy mode."""
    is_local = writer.old_timestamps == "refused" and "tz=" not in str(field.type)
    return replace(writer.without_zone, old_timestamps="proleptic" if is_local else writer.old_timestamps)


def _writer_of_int96(writer: Writer, metadata: dict[str, str]) -> Writer:
    """Spark has a legacy mode of its own for INT96."""
    if SPARK_VERSION_KEY not in metadata or metadata[SPARK_VERSION_KEY].startswith("2."):
        return writer
    is_legacy = _SPARK_LEGACY_INT96 in metadata
    return replace(writer, old_timestamps="refused" if is_legacy else "proleptic")


def _columns_of_int96(opened: pyarrow.parquet.ParquetFile) -> frozenset[str]:
    leaves = (opened.schema.column(index) for index in range(len(opened.schema)))
    return frozenset(leaf.path.split(".")[0] for leaf in leaves if leaf.physical_type == "INT96")


def _dated(batch: pa.RecordBatch, writers: dict[str, Writer], file: DataFile) -> pa.RecordBatch:
    for index, field in enumerate(batch.schema):
        if field.name in writers:
            column = writers[field.name].read(batch.column(index), field.name, file)
            batch = batch.set_column(index, field.with_type(column.type), column)
    return batch
