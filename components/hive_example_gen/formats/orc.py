"""ORC files, stripe by stripe."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.orc

from components.hive_example_gen.bad_rows import BadRows
from components.hive_example_gen.formats.columnar import conformed, target_schema
from components.hive_example_gen.formats.opened import DataFile, translated
from components.hive_example_gen.table_spec import TableSpec


def read_schema(file: DataFile, spec: TableSpec) -> pa.Schema:
    """The file's own columns. Raises DataNotReadyError."""
    with translated(file, "ORC"):
        return pyarrow.orc.ORCFile(file.path).schema


def read_batches(file: DataFile, spec: TableSpec, bad: BadRows) -> Iterator[pa.RecordBatch]:
    """The rows of `file`; memory: one stripe (64 MiB by default). Raises DataNotReadyError, ConfigError."""
    with translated(file, "ORC"):
        opened = pyarrow.orc.ORCFile(file.path)
        target, present = target_schema(opened.schema, spec, file)
        row = 0
        for index in range(opened.nstripes):
            stripe = opened.read_stripe(index, columns=list(present.values()))
            yield from conformed(stripe, target, present, file, row)
            row += stripe.num_rows
