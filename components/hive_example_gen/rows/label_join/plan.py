"""Which days of both tables the labels of a window need, and what is not there of them.

A run for date D needs the clicks, and for `take: last` the impressions, of the days after D that `within` reaches into
(days.py). What is not there of them is reported like what is not there of the window itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hivemill.common.errors import ConfigError
from hivemill.common.storage.atomic import fingerprint
from hivemill.components.hive_example_gen.catalog.listing import PartitionListing
from hivemill.components.hive_example_gen.options import SourceOptions
from hivemill.components.hive_example_gen.planning.availability import Triage
from hivemill.components.hive_example_gen.planning.completeness import SizeJudgement
from hivemill.components.hive_example_gen.planning.table_days import Survey
from hivemill.components.hive_example_gen.rows.label_join import times
from hivemill.components.hive_example_gen.rows.label_join.build import (
    INDEX_VERSION,
    DayIndex,
    IndexedPartition,
    KeyColumns,
)
from hivemill.components.hive_example_gen.rows.label_join.days import Day, days_of_clicks, days_of_impressions
from hivemill.components.hive_example_gen.rows.label_join.labels import PartitionJoin
from hivemill.components.hive_example_gen.rows.label_join.options import LabelJoinOptions
from hivemill.components.hive_example_gen.table.spec import CONVERTER_VERSION, TableSpec

Surveyor = Callable[[SourceOptions, Sequence[Day]], Survey]


@dataclass(frozen=True)
class JoinPlan:
    """The joins of a window.

    Attributes:
        joins: what labels the impressions of each day of the window.
        incomplete_days: days of the window whose labels lack clicks, because a click day is not there as a whole.
        missing, late, empty: what is not there, clicks with the prefix `clicks: `.
        sizes: judgements of click days, and of days of impressions beside the window.
        newest_clicks: partition that tells the columns of clicks; None where there is none.
    """

    joins: dict[Day, PartitionJoin]
    incomplete_days: frozenset[Day]
    missing: tuple[str, ...]
    late: tuple[str, ...]
    empty: tuple[str, ...]
    sizes: tuple[SizeJudgement, ...]
    notes: tuple[str, ...]
    newest_clicks: IndexedPartition | None


def plan_join(
    options: LabelJoinOptions,
    source: SourceOptions,
    spec: TableSpec,
    window: Mapping[Day, Sequence[PartitionListing]],
    surveyed: Surveyor,
) -> JoinPlan:
    """What the labels of the days of `window` need.

    Args:
        source, spec: of the impressions.
        window: the partitions of impressions that are there, of every day of the window.
        surveyed: looks at days of a source.

    Raises ConfigError, DataNotReadyError as `surveyed` does.
    """
    _check_readable_twice(options, source)
    planner = _Planner(options, source, spec, surveyed)
    clicks = planner.clicks(sorted({day for each in window for day in days_of_clicks(options, each)}))
    impressions = planner.impressions(window, clicks)
    joins = {
        day: PartitionJoin(
            columns=planner.columns_of_impressions(day),
            within=options.within_micros,
            take=options.take,
            clicks=tuple(clicks[each] for each in days_of_clicks(options, day) if each in clicks),
            impressions=tuple(impressions[each] for each in days_of_impressions(options, day) if each in impressions),
        )
        for day in window
    }
    return planner.plan(joins, clicks)


def _check_readable_twice(options: LabelJoinOptions, source: SourceOptions) -> None:
    if options.clicks.query is not None:
        raise ConfigError(
            "label.join.clicks.query: clicks cannot come from a query, only from a table",
            hint="Join in the query of the impressions instead, or write the clicks to a table.",
        )
    if source.query is not None and options.take != "every":
        raise ConfigError(
            f"label.join.take: {options.take} reads the impressions twice, which source.query does not allow",
            hint="Set label.join.take: every where keys do not repeat, or join in the query.",
        )


class _Planner:
    def __init__(self, options: LabelJoinOptions, source: SourceOptions, spec: TableSpec, surveyed: Surveyor):
        self.options = options
        self.source = source
        self.spec = spec
        self.surveyed = surveyed
        self.of_clicks: Survey | None = None
        self.beside: Survey | None = None

    def clicks(self, days: Sequence[Day]) -> dict[Day, DayIndex]:
        """The indexes of the click days that are there."""
        self.of_clicks = self.surveyed(self.options.clicks, days)
        of_days = self.of_clicks.ready.items()
        return {day: self._index("clicks", self.of_clicks.spec, day, found) for day, found in of_days if found}

    def impressions(
        self, window: Mapping[Day, Sequence[PartitionListing]], clicks: Mapping[Day, DayIndex]
    ) -> dict[Day, DayIndex]:
        """The indexes of the days whose impressions count, those beside the window among them."""
        needed = sorted({day for each in window for day in days_of_impressions(self.options, each)})
        beside = [day for day in needed if day not in window]
        ready = {day: list(window[day]) for day in needed if day in window}
        if beside:
            self.beside = self.surveyed(self.source, beside)
            ready |= self.beside.ready
        return {
            day: self._index(
                "impressions",
                self.spec,
                day,
                ready[day],
                tuple(clicks[each] for each in days_of_clicks(self.options, day) if each in clicks),
            )
            for day in needed
            if ready[day]
        }

    def columns_of_impressions(self, day: Day) -> KeyColumns:
        return self._columns(self.options.keys, self.options.impression_time, day)

    def plan(self, joins: dict[Day, PartitionJoin], clicks: Mapping[Day, DayIndex]) -> JoinPlan:
        of_clicks = self.of_clicks
        assert of_clicks is not None
        absent, seen = of_clicks.incomplete_days, of_clicks.triage
        beside = self.beside.triage if self.beside else Triage(self.source)
        return JoinPlan(
            joins=joins,
            incomplete_days=frozenset(day for day in joins if absent & set(days_of_clicks(self.options, day))),
            missing=(*map(_of_clicks, seen.missing), *beside.missing),
            late=(*map(_of_clicks, seen.late), *beside.late),
            empty=(*map(_of_clicks, seen.empty), *beside.empty),
            sizes=(
                *(dataclasses.replace(one, partition=_of_clicks(one.partition)) for one in of_clicks.sizes),
                *(self.beside.sizes if self.beside else ()),
            ),
            notes=(*map(_of_clicks, of_clicks.notes), *(self.beside.notes if self.beside else ())),
            newest_clicks=clicks[max(clicks)].partitions[-1] if clicks else None,
        )

    def _columns(self, keys: tuple[str, ...], time: str, day: Day) -> KeyColumns:
        start, slack = times.day_start(day), self.options.slack_micros
        return KeyColumns(keys, time, self.options.time_unit, start - slack, start + times.DAY_MICROS + slack)

    def _index(
        self,
        table: Literal["clicks", "impressions"],
        spec: TableSpec,
        day: Day,
        found: Sequence[PartitionListing],
        clicks: tuple[DayIndex, ...] = (),
    ) -> DayIndex:
        of_clicks = table == "clicks"
        source = self.options.clicks if of_clicks else self.source
        index = DayIndex(
            table=table,
            place=source.place,
            day=day,
            partitions=tuple(_partition(each, spec, source) for each in found),
            columns=self._columns(self.options.keys_of_clicks, self.options.click_time, day)
            if of_clicks
            else self.columns_of_impressions(day),
            bad_rows=source.bad_rows,
            deduplicate_by=() if of_clicks else source.deduplicate_by,
            within=self.options.within_micros,
            clicks=clicks,
            fingerprint="",
        )
        return dataclasses.replace(index, fingerprint=fingerprint(*_identity(index)))


def _partition(found: PartitionListing, spec: TableSpec, source: SourceOptions) -> IndexedPartition:
    own = spec.for_partition(source, found.definition) if found.definition else spec
    return IndexedPartition(found.name, found.files, own)


def _identity(index: DayIndex) -> list[Any]:
    """What the index's content depends on; for clicks not the limit, so that another limit reads them only once."""
    return [
        index.table,
        INDEX_VERSION,
        CONVERTER_VERSION,
        dataclasses.asdict(index.columns),
        index.bad_rows.model_dump(exclude={"max_share"}),
        index.deduplicate_by,
        [
            [each.name, each.spec.model_dump(), [[file.path, file.num_bytes, file.modified_ns] for file in each.files]]
            for each in index.partitions
        ],
        [index.within, [each.fingerprint for each in index.clicks]] if index.table == "impressions" else None,
    ]


def _of_clicks(name: str) -> str:
    return f"clicks: {name}"
