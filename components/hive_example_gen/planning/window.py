"""Plans the window of a run: which days, which partitions, what is missing, what is converted already.

Pure but for listing and footers: no TensorFlow, no Beam, nothing written. The plan's fingerprint covers the files and
how they are read, so that it decides whether a run has anything to do.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.common.storage.atomic import fingerprint
from hivemill.components.hive_example_gen.cache import partition_record
from hivemill.components.hive_example_gen.catalog import table_files
from hivemill.components.hive_example_gen.catalog.listing import DayQuery, PartitionListing, SourceFile
from hivemill.components.hive_example_gen.options import SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.availability import Triage
from hivemill.components.hive_example_gen.planning.completeness import SizeJudgement
from hivemill.components.hive_example_gen.planning.table_days import survey
from hivemill.components.hive_example_gen.rows.label_join.options import LabelRules
from hivemill.components.hive_example_gen.rows.label_join.plan import JoinPlan, plan_join
from hivemill.components.hive_example_gen.rows.negative_sampling import SAMPLED_SPLITS
from hivemill.components.hive_example_gen.rows.steps import RowRules
from hivemill.components.hive_example_gen.table.spec import CONVERTER_VERSION, TableSpec

_NUM_NAMED = 10


@dataclass(frozen=True)
class PlannedPartition:
    """A partition that will be read. `name` is its folder below the table, `cached` whether it is converted already.

    `spec` says how its files are read, `rules` what happens to its rows before they are written. `query` is set, and
    there are no files, where a server gives its rows.
    """

    split: str
    date: datetime.date
    name: str
    values: tuple[tuple[str, str | None], ...]
    files: tuple[SourceFile, ...]
    spec: TableSpec
    fingerprint: str
    cached: bool
    num_rows: int | None  # known once converted
    query: DayQuery | None = None
    rules: RowRules = field(default_factory=RowRules)

    @property
    def num_bytes(self) -> int:
        return sum(file.num_bytes for file in self.files)


@dataclass(frozen=True)
class WindowPlan:
    """What a run for `date` reads.

    Attributes:
        spec: the table's; its columns are those that every partition is converted to.
        missing, late, empty: names of partitions, or of whole days, that are not read.
        sizes: every judgement of a day's size; `small` are those that failed. Such a day is left out of the splits
            where the window `leaves_out` what is incomplete.
        label: which column is the label; `join` is set where it comes from a second table.
    """

    date: datetime.date
    table: str
    spec: TableSpec
    days: dict[str, tuple[datetime.date, ...]]
    splits: dict[str, tuple[PlannedPartition, ...]]
    missing: tuple[str, ...]
    late: tuple[str, ...]
    empty: tuple[str, ...]
    sizes: tuple[SizeJudgement, ...]
    notes: tuple[str, ...]
    fingerprint: str
    success_file: str | None
    leaves_out: bool
    label: LabelRules | None = None
    join: JoinPlan | None = None

    @property
    def partitions(self) -> tuple[PlannedPartition, ...]:
        return tuple(partition for partitions in self.splits.values() for partition in partitions)

    @property
    def small(self) -> tuple[SizeJudgement, ...]:
        of_join = self.join.sizes if self.join else ()
        return tuple(judgement for judgement in (*self.sizes, *of_join) if judgement.is_small)

    @property
    def incomplete(self) -> dict[str, tuple[str, ...]]:
        """What is not there as it should be, by kind: `missing`, `late`, `empty`, `small`; only kinds that occur."""
        kinds = {"missing": self.missing, "late": self.late, "empty": self.empty, "small": tuple(map(str, self.small))}
        return {kind: names for kind, names in kinds.items() if names}

    @property
    def incomplete_words(self) -> str:
        """`2 missing: dt=…, dt=…; 1 too small: dt=…: 1.2 MiB < 50 % of …`; empty where the window is complete."""
        words = {"late": f"late (no {self.success_file})", "empty": "empty (no rows in any file)", "small": "too small"}
        found = self.incomplete.items()
        return "; ".join(f"{len(names)} {words.get(kind, kind)}: {_named(names)}" for kind, names in found)

    def check(self) -> None:
        """Raises DataNotReadyError naming what is incomplete, unless the window leaves that out, and for a split of
        which nothing is left."""
        if self.incomplete and not self.leaves_out:
            raise DataNotReadyError(
                f"the window for {self.date} is not ready in {self.table}: {self.incomplete_words}",
                hint=_hint(self),
            )
        for split, partitions in self.splits.items():
            if not partitions:
                days = self.days[split]
                span = f"{days[0]} to {days[-1]}" if len(days) > 1 else str(days[0])
                why = f": {self.incomplete_words}" if self.incomplete else ""
                raise DataNotReadyError(
                    f"split {split!r} of the window for {self.date} has no partition at all ({span}){why}",
                    hint=f"Load these days into {self.table}, or choose another date.",
                )


def _hint(plan: WindowPlan) -> str:
    hint = "Load them, choose another date, or set window.incomplete to wait (for them) or shrink (go on without them)."
    return hint + " What is too small: see window.completeness." if plan.small else hint


def plan_window(
    source: SourceOptions,
    window: WindowOptions,
    date: datetime.date,
    partitions_path: str,
    label: LabelRules | None = None,
) -> WindowPlan:
    """The plan for run date `date`; what is not ready is in the plan, `WindowPlan.check` raises for it.

    Args:
        partitions_path: folder or URL of the converted partitions; it need not exist.
        label: needed where the label is joined or negatives are sampled.

    Raises:
        ConfigError: source or DDL are wrong. DataNotReadyError: a folder cannot be read. InfrastructureError: a URL
        does not answer.
    """
    days = window_days(window, date)
    found = survey(source, window, [day for split in days.values() for day in split])
    spec, triage, ready, sizes = found.spec, found.triage, found.ready, found.sizes
    joined = _joined(source, spec, window, ready, label)
    if joined:
        _add_incomplete(triage, joined)
    if window.leaves_out:
        ready = _without_unfit(ready, sizes, joined)

    def planned(split: str, day: datetime.date) -> list[PlannedPartition]:
        rules = _rules(split, day, source, label, joined)
        return [_planned(split, day, each, spec, source, rules) for each in ready[day]]

    splits = _with_what_is_kept(
        {split: [each for day in chosen for each in planned(split, day)] for split, chosen in days.items()},
        partitions_path,
    )
    if not window.leaves_out:
        triage.empty += _empty_results(splits)
    return WindowPlan(
        date=date,
        table=table_files.shown(source.place),
        spec=spec,
        days=days,
        splits=splits,
        missing=tuple(triage.missing),
        late=tuple(triage.late),
        empty=tuple(triage.empty),
        sizes=sizes,
        notes=(*found.notes, *(joined.notes if joined else ())),
        fingerprint=_plan_fingerprint(date, days, splits, triage, (*sizes, *(joined.sizes if joined else ()))),
        success_file=source.success_file,
        leaves_out=window.leaves_out,
        label=label,
        join=joined,
    )


def _empty_results(splits: Mapping[str, Sequence[PlannedPartition]]) -> list[str]:
    """Days for which a server returned no row, to an earlier run that left such days out."""
    return [one.name for one in itertools.chain.from_iterable(splits.values()) if one.query and one.num_rows == 0]


def window_days(window: WindowOptions, date: datetime.date) -> dict[str, tuple[datetime.date, ...]]:
    """The days of each split, oldest first; `validation` is absent when it has none.

    Raises ConfigError where the validation days leave no day to train on.
    """
    if window.validation_days >= window.train_days:
        raise ConfigError(
            f"window.validation_days ({window.validation_days}) must be less than window.train_days "
            f"({window.train_days}): the validation days are the last of the train days"
        )
    span = window.train_days + window.eval_days
    try:
        days = [date - datetime.timedelta(days=back) for back in reversed(range(span))]
    except OverflowError as error:
        raise ConfigError(f"a window of {span} days before {date} begins before the year 1") from error
    held_out = window.train_days - window.validation_days
    splits = {
        "train": days[:held_out],
        "validation": days[held_out : window.train_days],
        "eval": days[window.train_days :],
    }
    return {split: tuple(chosen) for split, chosen in splits.items() if chosen}


def _without_unfit(
    ready: Mapping[datetime.date, list[PartitionListing]], sizes: tuple[SizeJudgement, ...], joined: JoinPlan | None
) -> dict[datetime.date, list[PartitionListing]]:
    """No partitions for a day that is too small, or whose clicks are not all there: clicked ones would count as 0."""
    unfit = {judgement.day for judgement in sizes if judgement.is_small} | (joined.incomplete_days if joined else set())
    return {day: [] if day in unfit else partitions for day, partitions in ready.items()}


def _joined(
    source: SourceOptions,
    spec: TableSpec,
    window: WindowOptions,
    ready: Mapping[datetime.date, list[PartitionListing]],
    label: LabelRules | None,
) -> JoinPlan | None:
    if label is None or label.join is None:
        return None
    return plan_join(label.join, source, spec, ready, lambda of, days: survey(of, window, days))


def _add_incomplete(triage: Triage, joined: JoinPlan) -> None:
    triage.missing += joined.missing
    triage.late += joined.late
    triage.empty += joined.empty


def _rules(
    split: str, day: datetime.date, source: SourceOptions, label: LabelRules | None, joined: JoinPlan | None
) -> RowRules:
    """The eval split is never sampled: the gates judge a model by the days as they are."""
    return RowRules(
        deduplicate_by=source.deduplicate_by,
        sampling=source.sampling if label and split in SAMPLED_SPLITS else None,
        label_column=label.column if label else None,
        join=joined.joins[day] if joined else None,
    )


def _planned(
    split: str,
    day: datetime.date,
    found: PartitionListing,
    table_spec: TableSpec,
    source: SourceOptions,
    rules: RowRules,
) -> PlannedPartition:
    """Not looked for yet among what is kept."""
    spec = table_spec.for_partition(source, found.definition) if found.definition else table_spec
    key = fingerprint(
        CONVERTER_VERSION,
        spec.model_dump(),
        source.bad_rows.model_dump(exclude={"max_share"}),
        found.values,
        [(file.path, file.num_bytes, file.modified_ns) for file in found.files],
        *([found.query.identity] if found.query else []),
        *rules.identity,
    )
    return PlannedPartition(
        split=split,
        date=day,
        name=found.name,
        values=found.values,
        files=found.files,
        spec=spec,
        fingerprint=key,
        cached=False,
        num_rows=None,
        query=found.query,
        rules=rules,
    )


def _with_what_is_kept(
    splits: Mapping[str, Sequence[PlannedPartition]], partitions_path: str
) -> dict[str, tuple[PlannedPartition, ...]]:
    """Asked once for all of them: a URL answers that as quickly as for one."""
    keys = [partition.fingerprint for partitions in splits.values() for partition in partitions]
    kept = partition_record.find_all(partitions_path, keys)

    def known(partition: PlannedPartition) -> PlannedPartition:
        record = kept.get(partition.fingerprint)
        return replace(partition, cached=True, num_rows=record.rows) if record else partition

    return {split: tuple(map(known, partitions)) for split, partitions in splits.items()}


def _plan_fingerprint(
    date: datetime.date,
    days: Mapping[str, Sequence[datetime.date]],
    splits: Mapping[str, Sequence[PlannedPartition]],
    triage: Triage,
    sizes: tuple[SizeJudgement, ...],
) -> str:
    named_days = {split: [day.isoformat() for day in chosen] for split, chosen in days.items()}
    keys = {split: [partition.fingerprint for partition in chosen] for split, chosen in splits.items()}
    small = sorted({judgement.partition for judgement in sizes if judgement.is_small})
    return fingerprint(date.isoformat(), named_days, keys, triage.missing, triage.late, triage.empty, small)


def _named(names: tuple[str, ...]) -> str:
    more = len(names) - _NUM_NAMED
    return ", ".join(names[:_NUM_NAMED]) + (f" and {more} more" if more > 0 else "")


__all__ = ["PlannedPartition", "SourceFile", "TableSpec", "WindowPlan", "plan_window", "window_days"]
