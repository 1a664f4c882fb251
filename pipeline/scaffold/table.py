"""The verb's work: partitions, a sample of the newest day, the proposal, and the config that is checked before it is
there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.common.storage.atomic import write_text_atomically
from hivemill.components.hive_example_gen.catalog import catalog, table_files
from hivemill.components.hive_example_gen.catalog.listing import PartitionListing
from hivemill.components.hive_example_gen.formats import reader
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.options import SourceOptions
from hivemill.components.hive_example_gen.rows.flatten import flatten
from hivemill.components.hive_example_gen.table.columns import all_kinds, with_partition_values
from hivemill.components.hive_example_gen.table.spec import TableSpec
from hivemill.pipeline.config import loader as config_module
from hivemill.pipeline.scaffold.columns import facts_of
from hivemill.pipeline.scaffold.config_text import config_text
from hivemill.pipeline.scaffold.partitions import find_partitioning, newest_day_with_rows
from hivemill.pipeline.scaffold.proposal import propose, window_of

SAMPLE_ROWS = 100_000


def write_proposal(
    config: Path, name: str, table: str, ddl: str | None, label: str | None, rows: int = SAMPLE_ROWS
) -> dict[str, Any]:
    """Writes a proposed config for `table` and returns what it says, as a JSON document.

    Args:
        config: the file; it must not exist. table: as source.table, a local one relative to the current folder.
        rows: read at most so many, of the newest day.

    Raises ConfigError, DataNotReadyError, InfrastructureError as planning does.
    """
    given = SourceOptions(**{"table": _absolute(table), **({"ddl": _absolute(ddl)} if ddl else {})})
    partitioning = find_partitioning(given)
    source = partitioning.source(given)
    spec, partitions, notes = newest_day_with_rows(source, partitioning.days)
    bad = BadRows(source.bad_rows)
    schema, sample = _sample(source, spec, partitions, rows, bad)
    if not sample.num_rows:
        raise DataNotReadyError(
            f"{partitions[0].name} holds no row that can be read",
            hint=str(bad.kept[0]) if bad.kept else "Load the newest day again.",
        )
    facts = facts_of(sample, all_kinds(schema, spec))
    proposal = propose(sample, facts, schema, source.date_column, label)
    noted = [*notes, *_noted(bad, sample.num_rows)]
    text = config_text(name, source, window_of(partitioning.days), proposal, partitioning.days, sample.num_rows, noted)
    _check(text)
    write_text_atomically(config, text)
    return {
        "config": str(config),
        "table": table_files.shown(source.place),
        "first_date": partitioning.days[0].isoformat(),
        "last_date": partitioning.days[-1].isoformat(),
        "rows": sample.num_rows,
        "label": proposal.label,
        "user": proposal.user,
        "features": {feature.name: feature.values for feature in proposal.features},
        "left_out": {column.name: column.why for column in proposal.left_out},
        "notes": noted,
    }


def _absolute(path: str) -> str:
    is_local = not table_files.is_url(path) and not path.startswith(catalog.METASTORE)
    return str(Path(table_files.local(path)).absolute()) if is_local else path


def _sample(
    source: SourceOptions, spec: TableSpec, partitions: list[PartitionListing], rows: int, bad: BadRows
) -> tuple[pa.Schema, pa.Table]:
    """The columns, and up to `rows` flattened rows, as many of each partition."""
    schema: pa.Schema | None = None
    batches: list[pa.RecordBatch] = []
    share = max(1, rows // len(partitions))
    for partition in partitions:
        own = spec.for_partition(source, partition.definition) if partition.definition else spec
        taken = 0
        for batch in _batches(source, own, partition, bad):
            schema = schema or batch.schema
            batch = batch.slice(0, share - taken)
            batches.append(flatten(with_partition_values(batch, partition.name, partition.values, own)))
            taken += batch.num_rows
            if taken >= share:
                break
    if schema is None:
        return spec.schema or pa.schema([]), pa.table({})
    return schema, pa.Table.from_batches(batches)


def _batches(
    source: SourceOptions, spec: TableSpec, partition: PartitionListing, bad: BadRows
) -> Iterator[pa.RecordBatch]:
    for file in partition.files:
        opened = DataFile.of(source.place, file.path)
        if reader.columns_of(opened, spec)[0] is None:
            raise ConfigError(
                f"{opened.name} is text, which does not say its columns",
                hint="Give the table's definition with --ddl FILE: the output of SHOW CREATE TABLE.",
            )
        yield from (batch for batch in reader.read_batches(opened, spec, bad) if batch.num_rows)


def _noted(bad: BadRows, rows: int) -> Iterator[str]:
    if bad.total:
        counts = ", ".join(f"{count:,} {cause}" for cause, count in bad.counts.items())
        yield f"{bad.total:,} of {bad.total + rows:,} rows of the sample cannot be read ({counts}), e.g. {bad.kept[0]}"
    for what, count in bad.notes.items():
        yield f"{count:,} rows of the sample: {what.replace('_', ' ')}, read as Hive does"


def _check(text: str) -> None:
    """A proposal that the config's own rules refuse is never written: that would be a defect of ours."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hivemill.yaml"
        path.write_text(text, encoding="utf-8")
        config_module.load(path, environment={})
