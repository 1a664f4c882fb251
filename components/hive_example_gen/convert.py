"""Converts one partition into GZIP TFRecord shards in the cache of converted partitions.

Imports neither TensorFlow nor TFX: a Beam worker starts in under a second. The summary's statistics need TensorFlow
Data Validation; it is imported where they are requested, by the pipeline's own process, which has it already.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from hivemill.common.errors import DataCorruptError, DataNotReadyError
from hivemill.common.storage.atomic import cannot_write
from hivemill.components.hive_example_gen.cache import crash_guard, partition_record
from hivemill.components.hive_example_gen.cache.base import UnfinishedEntry, ensure
from hivemill.components.hive_example_gen.cache.entries import store_at
from hivemill.components.hive_example_gen.cache.partition_record import PartitionRecord, Shard
from hivemill.components.hive_example_gen.cache.quarantine import QuarantineWriter
from hivemill.components.hive_example_gen.cache.tfrecord import TFRecordWriter
from hivemill.components.hive_example_gen.catalog.hiveserver2.query import read_day
from hivemill.components.hive_example_gen.catalog.listing import DayQuery
from hivemill.components.hive_example_gen.formats import reader
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile, translated
from hivemill.components.hive_example_gen.options import BadRowOptions
from hivemill.components.hive_example_gen.planning.window import PlannedPartition
from hivemill.components.hive_example_gen.rows.feature_agreement import FeatureAgreement
from hivemill.components.hive_example_gen.rows.flatten import FeatureKind, flatten
from hivemill.components.hive_example_gen.rows.projection import check_unchanged
from hivemill.components.hive_example_gen.rows.steps import RowSteps
from hivemill.components.hive_example_gen.summary import kept
from hivemill.components.hive_example_gen.summary.builder import Summariser
from hivemill.components.hive_example_gen.summary.request import SummaryRequest
from hivemill.components.hive_example_gen.table.columns import all_kinds, with_partition_values
from hivemill.components.hive_example_gen.table.spec import TableSpec

# Uncompressed; several shards of a big partition let readers work in parallel.
SHARD_BYTES = 256 << 20

rows_converted = 0
"""Rows converted in this process so far, for live progress."""
_counting = threading.Lock()


def convert_partition(
    partition: PlannedPartition,
    table: str,
    bad_rows: BadRowOptions,
    partitions_path: str,
    request: SummaryRequest | None = None,
) -> PartitionRecord:
    """The record of the converted partition, found in the cache or made now; with a summary where one is requested.

    Raises:
        DataNotReadyError: a file cannot be read as declared, or changed since the plan.
        DataCorruptError: a file is damaged.
        ConfigError: a column does not fit in tf.Example.
        InfrastructureError: the disk is full, or what is kept cannot be written. Nothing half-written is left visible.
    """
    store = store_at(partitions_path)

    def make(entry: UnfinishedEntry) -> PartitionRecord:
        key = partition.fingerprint
        with crash_guard.noted(partition, table, partitions_path), QuarantineWriter(entry.folder) as aside:
            bad = BadRows(bad_rows, keep=aside.add)
            with (
                RowSteps(partition.rules, table, partition.files, partition.spec, partitions_path, bad) as steps,
                kept.written_beside(store, key, entry.folder, request) as summariser,
            ):
                return _Conversion(partition, table, entry, bad, steps, summariser).run()

    record = ensure(store, partition_record.PARTITION, partition.fingerprint, make)
    if request is not None:
        try:
            kept.ensure(store, record, request)
        except OSError as error:
            raise cannot_write(store.scratch_place, error) from error
    return record


@dataclass
class _Conversion:
    partition: PlannedPartition
    table: str
    entry: UnfinishedEntry
    bad: BadRows
    steps: RowSteps
    summariser: Summariser | None = None
    shards: list[Shard] = field(default_factory=list)
    kinds: dict[str, FeatureKind] = field(default_factory=dict)
    agreement: FeatureAgreement = field(default_factory=FeatureAgreement)
    dropped_nulls: dict[str, int] = field(default_factory=dict)
    present_columns: set[str] = field(default_factory=set)

    @property
    def spec(self) -> TableSpec:
        return self.partition.spec

    def run(self) -> PartitionRecord:
        batches = self._batches()
        more = True
        while more:
            more = self._write_shard(batches)
        self.steps.save(self.entry.folder)
        declared = self.spec.schema.names if self.spec.schema else ()
        return PartitionRecord(
            fingerprint=self.partition.fingerprint,
            partition=self.partition.name,
            rows=sum(shard.rows for shard in self.shards),
            shards=tuple(self.shards),
            features={name: (kind.dtype, kind.multivalent) for name, kind in self.kinds.items()},
            meanings={name: kind.meaning for name, kind in self.kinds.items()},
            absent_columns=tuple(name for name in declared if name not in self.present_columns),
            dropped_nulls=dict(sorted(self.dropped_nulls.items())),
            rows_read=self.bad.good_rows,
            bad_rows=dict(sorted(self.bad.counts.items())),
            row_notes=dict(sorted(self.bad.notes.items())),
            step_counts=self.steps.counts,
        )

    def _write_shard(self, batches: Iterator[pa.RecordBatch]) -> bool:
        """Writes the next shard; False when the batches came to their end before it was full."""
        path = self.entry.shard(len(self.shards))
        encoder = RecordBatchToExamplesEncoder()
        full = False
        with TFRecordWriter(path) as writer:
            for batch in batches:
                records = encoder.encode(batch)
                writer.write(records)
                if self.summariser is not None:
                    self.summariser.add(batch, records)
                _count(batch.num_rows)
                if full := writer.num_bytes >= SHARD_BYTES:
                    break
        if writer.num_records:
            self.shards.append(Shard(path.name, writer.num_records, path.stat().st_size))
            self.entry.done(path)
        else:
            path.unlink()
        return full

    def _batches(self) -> Iterator[pa.RecordBatch]:
        if self.partition.query is not None:
            yield from self._answered(self.partition.query)
        for source in self.partition.files:
            file = DataFile.of(self.table, source.path)
            check_unchanged(file, source)
            try:
                yield from self._read(file)
            except (DataNotReadyError, DataCorruptError):
                check_unchanged(file, source)  # a file that shrank looks broken; that it shrank is what to say
                raise
            check_unchanged(file, source)

    def _read(self, file: DataFile) -> Iterator[pa.RecordBatch]:
        schema, present = reader.columns_of(file, self.spec)
        self.present_columns |= present
        if schema is not None:
            self._check_kinds(all_kinds(schema, self.spec) | self.partition.rules.added_kinds, file)
        self.steps.check(file)
        self.bad.start_file()
        yield from self._converted(reader.read_batches(file, self.steps.read_spec, self.bad), file)

    def _answered(self, query: DayQuery) -> Iterator[pa.RecordBatch]:
        """The rows of a day that a server gives."""
        named = DataFile("", self.partition.name)
        schema = self.spec.schema or pa.schema([])
        self.present_columns |= set(schema.names)
        self._check_kinds(all_kinds(schema, self.spec) | self.partition.rules.added_kinds, named)
        yield from self._converted(read_day(query, self.steps.read_spec, self.partition.name), named)

    def _converted(self, batches: Iterator[pa.RecordBatch], file: DataFile) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self.bad.good_rows += batch.num_rows
            batch = with_partition_values(batch, self.partition.name, self.partition.values, self.spec)
            batch = self.steps.apply(batch, file.name)
            if batch.num_rows:
                yield self._flattened(batch, file)

    def _flattened(self, batch: pa.RecordBatch, file: DataFile) -> pa.RecordBatch:
        with translated(file, "tf.Example"):  # e.g. an unsigned integer beyond int64
            return flatten(batch, self.dropped_nulls)

    def _check_kinds(self, kinds: dict[str, FeatureKind], file: DataFile) -> None:
        for name, kind in kinds.items():
            self.agreement.add(name, kind, file.name)
            self.kinds.setdefault(name, kind)


def _count(rows: int) -> None:
    global rows_converted
    with _counting:
        rows_converted += rows
