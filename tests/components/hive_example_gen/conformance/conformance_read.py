"""A table of the suite as Hivemill reads it, in plain values that compare with Spark's (conformance_expected.py)."""

from __future__ import annotations

import datetime
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from hivemill.components.hive_example_gen.convert import convert_partition
from hivemill.components.hive_example_gen.formats import reader
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.options import BadRowOptions, SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.window import WindowPlan, plan_window
from hivemill.components.hive_example_gen.rows.flatten import flatten
from tests.components.hive_example_gen.conformance.conformance_tables import DAY, Table

# Hive reads NULL where a value does not parse; by default Hivemill sets such rows aside.
AS_HIVE = BadRowOptions(values="null", max_share=1.0)


def source_of(folder: Path, table: Table, *, exclude: tuple[str, ...] = ()) -> SourceOptions:
    return SourceOptions(
        table=str(folder / "tables" / table.name),
        ddl=str(folder / f"{table.name}.hql"),
        serde_properties=table.read_properties,
        exclude_columns=tuple(name for name in exclude if name in (table.read_columns or table.columns)),
        bad_rows=AS_HIVE,
    )


def planned(source: SourceOptions, folder: Path) -> WindowPlan:
    window = WindowOptions(train_days=1, validation_days=0)
    return plan_window(source, window, datetime.date.fromisoformat(DAY), str(folder / "partitions"))


def batches_of(folder: Path, source: SourceOptions, bad: BadRows | None = None) -> Iterator[pa.RecordBatch]:
    """The batches of all partitions of the day, before they are flattened."""
    for partition in planned(source, folder).splits["eval"]:
        for file in partition.files:
            data_file = DataFile.of(source.place, file.path)
            yield from reader.read_batches(data_file, partition.spec, bad or BadRows(AS_HIVE))


def found_rows(folder: Path, source: SourceOptions, bad: BadRows | None = None) -> list[dict]:
    rows = []
    for batch in batches_of(folder, source, bad):
        batch.validate(full=True)
        columns = {name: _plain_column(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
        rows += [{name: values[index] for name, values in columns.items()} for index in range(batch.num_rows)]
    return rows


def flat_rows(folder: Path, source: SourceOptions) -> list[dict]:
    """The rows as flat features; absent ones are left out."""
    rows = []
    for batch in batches_of(folder, source):
        rows += [_present(row) for row in flatten(batch).to_pylist()]
    return rows


def converted_examples(folder: Path, source: SourceOptions) -> list[dict]:
    """The features of the tf.Examples that a run would write of the day, in the order of the shards."""
    rows = []
    for partition in planned(source, folder).splits["eval"]:
        record = convert_partition(partition, source.place, source.bad_rows, str(folder / "partitions"))
        for shard in record.shards:
            path = folder / "partitions" / partition.fingerprint / shard.name
            batch = ExamplesToRecordBatchDecoder().DecodeBatch(_records(gzip.decompress(path.read_bytes())))
            rows += [_present(row) for row in batch.to_pylist()]
    return rows


def _records(data: bytes) -> list[bytes]:
    """Of a TFRecord file: length (8 bytes), its checksum (4), the record, its checksum (4)."""
    found, place = [], 0
    while place < len(data):
        size = int.from_bytes(data[place : place + 8], "little")
        found.append(data[place + 12 : place + 12 + size])
        place += 16 + size
    return found


def _present(row: dict) -> dict:
    return {
        name: [repr(value) if isinstance(value, float) else value for value in values]
        for name, values in row.items()
        if values is not None
    }


def _plain_column(column: pa.Array) -> list:
    convert = _converter(column.type)
    return [None if value is None else convert(value) for value in column.to_pylist()]


def _converter(kind: pa.DataType) -> Callable:
    """To what spark_writes_conformance.py makes of the same value."""
    types = pa.types
    if types.is_list(kind):
        return _each(_converter(kind.value_type))
    if types.is_map(kind):
        key, item = _converter(kind.key_type), _optional(_converter(kind.item_type))
        return lambda pairs: [{"key": key(k), "value": item(v)} for k, v in pairs]
    if types.is_struct(kind):
        fields = {field.name: _optional(_converter(field.type)) for field in kind}
        return lambda value: {name: convert(value[name]) for name, convert in fields.items()}
    if types.is_floating(kind):
        return lambda value: {"float": repr(value)}
    if types.is_decimal(kind):
        return str
    if types.is_binary(kind):
        return bytes.hex
    if types.is_timestamp(kind):
        return timestamp_text
    if types.is_date(kind):
        return datetime.date.isoformat
    return lambda value: value


def _each(convert: Callable) -> Callable:
    convert = _optional(convert)
    return lambda values: [convert(value) for value in values]


def _optional(convert: Callable) -> Callable:
    return lambda value: None if value is None else convert(value)


def timestamp_text(value: datetime.datetime) -> str:
    """As Spark casts it to text: no fraction, or one without zeros at its end."""
    text = value.isoformat(sep=" ", timespec="microseconds")
    return text.rstrip("0").rstrip(".") if "." in text else text
