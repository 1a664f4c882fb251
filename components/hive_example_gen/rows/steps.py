"""What happens to the rows of a partition between reading and encoding: deduplication, label, sample, in this order."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from hivemill.common.errors import DataNotReadyError
from hivemill.components.hive_example_gen.cache.entries import store_at
from hivemill.components.hive_example_gen.catalog.listing import SourceFile
from hivemill.components.hive_example_gen.formats import reader
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.options import SamplingOptions
from hivemill.components.hive_example_gen.rows.deduplication import Deduplicator, deduplicator
from hivemill.components.hive_example_gen.rows.flatten import FeatureKind
from hivemill.components.hive_example_gen.rows.label_join.labels import Labeller, PartitionJoin
from hivemill.components.hive_example_gen.rows.negative_sampling import Sampler
from hivemill.components.hive_example_gen.rows.projection import including
from hivemill.components.hive_example_gen.table.spec import TableSpec


@dataclass(frozen=True)
class RowRules:
    """The steps of one partition; the default does nothing.

    Attributes:
        sampling: None in a split that is not sampled.
        label_column: of the converted rows; needed by `sampling` and `join`.
    """

    deduplicate_by: tuple[str, ...] = ()
    sampling: SamplingOptions | None = None
    label_column: str | None = None
    join: PartitionJoin | None = None

    @property
    def identity(self) -> list[Any]:
        """Their part of the partition's fingerprint: empty without any, so that other partitions keep theirs."""
        if not (self.deduplicate_by or self.sampling or self.join):
            return []
        join = self.join
        joined = None
        if join:
            columns = join.columns
            where = [columns.keys, columns.time, columns.time_unit, columns.first, columns.end]
            joined = [where, join.within, join.take, join.fingerprints]
        sampling = self.sampling.model_dump() if self.sampling else None
        return [
            {"deduplicate_by": self.deduplicate_by, "sampling": sampling, "label": self.label_column, "join": joined}
        ]

    @property
    def columns(self) -> frozenset[str]:
        """Columns of the table that the steps read, though the config may exclude them from what is written."""
        sampled = self.sampling.key if self.sampling else ()
        joined = self.join.columns.names if self.join else ()
        label = (self.label_column,) if self.sampling and not self.join and self.label_column else ()
        return frozenset((*self.deduplicate_by, *sampled, *joined, *label))

    @property
    def added_kinds(self) -> dict[str, FeatureKind]:
        """The features that the steps add."""
        column = self.label_column
        return {column: FeatureKind("int64", False, column)} if self.join and column else {}


class RowSteps:
    """The steps at work on one partition. A context manager: it holds files while it works."""

    def __init__(
        self,
        rules: RowRules,
        table: str,
        files: tuple[SourceFile, ...],
        spec: TableSpec,
        partitions_path: str,
        bad: BadRows,
    ):
        self._rules = rules
        self._spec = spec
        self._source = (table, files)
        self._partitions_path = partitions_path
        self._bad = bad
        self._deduplicator: Deduplicator | None = None
        self._labeller: Labeller | None = None
        self._sampler: Sampler | None = None
        self._scratch = contextlib.ExitStack()
        self._place = ("", 0)

    @property
    def read_spec(self) -> TableSpec:
        """The partition's spec with the columns that the steps need."""
        return including(self._spec, self._rules.columns)

    def __enter__(self) -> RowSteps:
        with contextlib.ExitStack() as scratch:
            self._begin(scratch)
            self._scratch = scratch.pop_all()
        return self

    def _begin(self, scratch: contextlib.ExitStack) -> None:
        rules = self._rules
        if rules.deduplicate_by:
            folder = scratch.enter_context(store_at(self._partitions_path).scratch())
            table, files = self._source
            self._deduplicator = deduplicator(table, files, self._spec, rules.deduplicate_by, self._bad.options, folder)
        if rules.join and rules.label_column:
            self._labeller = Labeller(rules.join, rules.label_column, self._partitions_path, self._bad)
        if rules.sampling and rules.label_column:
            self._sampler = Sampler(rules.sampling, rules.label_column)

    def __exit__(self, *_: object) -> None:
        self._scratch.close()

    def check(self, file: DataFile) -> None:
        """Raises DataNotReadyError where the file lacks a column that decides about rows: read as NULL, it would decide
        the same of all of them."""
        needed = self._rules.columns - set(self._spec.partition_columns)
        absent = sorted(needed - reader.columns_of(file, self.read_spec)[1]) if needed else []
        if absent:
            raise DataNotReadyError(
                f"{file.name} has no column {absent[0]!r}, which decides what becomes of its rows",
                hint="Write the file again, leave its day out of the window, or choose other columns in "
                "source.deduplicate_by, source.sampling.key or label.join.",
            )

    def apply(self, batch: pa.RecordBatch, file: str) -> pa.RecordBatch:
        """The rows that are written, with the label, without columns that only the steps needed.

        Args:
            batch: as read with `read_spec`, partition columns too.
            file: its name, for messages.
        """
        first_row = self._first_row(file, batch.num_rows)
        if self._deduplicator:
            batch = self._deduplicator.apply(batch)
        if self._labeller:
            batch = self._labeller.apply(batch, file, first_row)
        if self._sampler:
            batch = self._sampler.apply(batch)
        unwanted = [name for name in batch.schema.names if self._is_unwanted(name)]
        return batch.drop_columns(unwanted) if unwanted else batch

    def save(self, folder: Path) -> None:
        """Puts beside the shards what later runs need of the steps. Raises OSError."""
        if self._labeller:
            self._labeller.save(folder)

    @property
    def counts(self) -> dict[str, int]:
        """Rows by what happened to them: `duplicates` and `negatives_left_out` are not written, `labelled` has a click,
        `without_key` and `without_time` could have none, `negatives_without_key` share the sample's answer. Only of
        the steps that there are."""
        counts: dict[str, int] = {}
        if self._deduplicator:
            counts["duplicates"] = self._deduplicator.duplicates
        if self._labeller:
            counts |= self._labeller.counts
        if self._sampler:
            counts["negatives_left_out"] = self._sampler.left_out
            counts["negatives_without_key"] = self._sampler.without_key
        return counts

    def _is_unwanted(self, name: str) -> bool:
        excluded = {each.lower() for each in self._spec.exclude_columns}
        return name in self._rules.columns and name.lower() in excluded

    def _first_row(self, file: str, num_rows: int) -> int:
        """The number of the batch's first row among the rows of its file that could be read, from 1."""
        name, row = self._place
        row = row if name == file else 0
        self._place = (file, row + num_rows)
        return row + 1
