"""What deduplication, sampling and label join demand of the tables' columns, told before anything is converted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from hivemill.common.errors import ConfigError
from hivemill.common.text import did_you_mean
from hivemill.components.hive_example_gen.catalog.listing import SourceFile
from hivemill.components.hive_example_gen.formats import reader
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.options import SourceOptions
from hivemill.components.hive_example_gen.planning.window import WindowPlan
from hivemill.components.hive_example_gen.rows import hashing
from hivemill.components.hive_example_gen.rows.label_join import times
from hivemill.components.hive_example_gen.rows.label_join.options import LabelJoinOptions, TimeUnit
from hivemill.components.hive_example_gen.rows.projection import without_exclusions
from hivemill.components.hive_example_gen.table.columns import partition_fields
from hivemill.components.hive_example_gen.table.hive_types import name_of
from hivemill.components.hive_example_gen.table.spec import TableSpec

Mistake = tuple[tuple[str, ...], str]
"""The key in hivemill.yaml, and the rule that it breaks."""


def check(source: SourceOptions, plan: WindowPlan) -> None:
    """Raises ConfigError for the first of `mistakes`."""
    for path, rule in mistakes(source, plan):
        raise ConfigError(f"{'.'.join(path)}: {rule}")


def mistakes(source: SourceOptions, plan: WindowPlan) -> list[Mistake]:
    """All of them. Opens a file of the newest partition of each table; without a partition there is nothing to check.

    Raises DataNotReadyError where a file cannot be read.
    """
    if not plan.partitions or plan.partitions[-1].query is not None or not _is_needed(source, plan):
        return []
    newest = plan.partitions[-1]
    impressions = _Columns.of(source.place, newest.files, newest.spec)
    found = list(_duplicates_and_sample(source, impressions))
    join = plan.label.join if plan.label else None
    if plan.label and join:
        if impressions.has(plan.label.column):
            rule = f"the table has a column `{plan.label.column}` already; name the joined label otherwise, or remove"
            found.append((("label", "column"), f"{rule} label.join to take the table's"))
        clicks = None
        if plan.join and plan.join.newest_clicks:
            of_clicks = plan.join.newest_clicks
            clicks = _Columns.of(join.clicks.place, of_clicks.files, of_clicks.spec)
        found += _join(join, impressions, clicks)
    return found


def _is_needed(source: SourceOptions, plan: WindowPlan) -> bool:
    return bool(source.deduplicate_by or source.sampling or (plan.label and plan.label.join))


@dataclass(frozen=True)
class _Columns:
    """All columns of a table, excluded ones too; `partition` are those of its folders."""

    table: dict[str, pa.DataType]
    partition: dict[str, pa.DataType]

    @classmethod
    def of(cls, place: str, files: Sequence[SourceFile], spec: TableSpec) -> _Columns:
        whole = without_exclusions(spec)
        schema, _ = reader.columns_of(DataFile.of(place, files[0].path), whole)
        partition = {field.name: field.type for field in partition_fields(whole)}
        return cls({field.name: field.type for field in schema or ()}, partition)

    def has(self, name: str) -> bool:
        return name.lower() in {each.lower() for each in (*self.table, *self.partition)}

    def missing(self, name: str, *, partition: bool) -> str | None:
        """The rule broken where the table lacks the column; `partition`: those of its folders count."""
        if name in self.table or (partition and name in self.partition):
            return None
        if name in self.partition:
            return f"`{name}` is a partition column; rows are told apart by columns of the table"
        return f"has no column `{name}`; {did_you_mean(name, self.table)}"

    def type_of(self, name: str) -> pa.DataType:
        return self.table[name] if name in self.table else self.partition[name]


def _duplicates_and_sample(source: SourceOptions, columns: _Columns) -> Iterator[Mistake]:
    for name in source.deduplicate_by:
        yield from _key(("source", "deduplicate_by"), name, columns, "the table", partition=False)
    for name in source.sampling.key if source.sampling else ():
        yield from _key(("source", "sampling", "key"), name, columns, "the table", partition=True)


def _join(join: LabelJoinOptions, impressions: _Columns, clicks: _Columns | None) -> Iterator[Mistake]:
    of_clicks = ("label", "join", "click_keys" if join.click_keys else "keys")
    for name in join.keys:
        yield from _key(("label", "join", "keys"), name, impressions, "the table of impressions", partition=False)
    yield from _time(("label", "join", "impression_time"), join.impression_time, join.time_unit, impressions)
    if clicks is None:
        return
    for name in join.keys_of_clicks:
        yield from _key(of_clicks, name, clicks, "the table of clicks", partition=False)
    yield from _time(("label", "join", "click_time"), join.click_time, join.time_unit, clicks)
    for left, right in zip(join.keys, join.keys_of_clicks, strict=False):
        if left in impressions.table and right in clicks.table:
            one, other = impressions.table[left], clicks.table[right]
            if _kind(one) and _kind(other) and _kind(one) != _kind(other):
                rule = f"`{left}` is {name_of(one)} in the impressions, `{right}` is {name_of(other)} in the clicks"
                yield of_clicks, f"{rule}; keys must be of one kind. Convert one of them where its table is written"


def _kind(data_type: pa.DataType) -> str | None:
    return hashing.key_kind(data_type)


def _key(path: tuple[str, ...], name: str, columns: _Columns, table: str, *, partition: bool) -> Iterator[Mistake]:
    missing = columns.missing(name, partition=partition)
    if missing:
        yield path, missing if missing.startswith("`") else f"{table} {missing}"
    elif _kind(columns.type_of(name)) is None:
        rule = "a key must be an integer, text, boolean, date or timestamp"
        yield path, f"`{name}` is {name_of(columns.type_of(name))}; {rule}"


def _time(path: tuple[str, ...], name: str, unit: TimeUnit | None, columns: _Columns) -> Iterator[Mistake]:
    missing = columns.missing(name, partition=False)
    if missing:
        table = "clicks" if path[-1] == "click_time" else "impressions"
        yield path, missing if missing.startswith("`") else f"the table of {table} {missing}"
        return
    data_type = columns.table[name]
    if pa.types.is_integer(data_type) and unit is None:
        yield path, f"`{name}` is {name_of(data_type)}: say in label.join.time_unit what it counts, s, ms or us"
    elif not times.is_time(data_type, unit):
        yield path, f"`{name}` is {name_of(data_type)}; a time must be a timestamp, or an integer with time_unit"
