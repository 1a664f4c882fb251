"""What the checks look at, and the comparisons that several of them need, made once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from hivemill.components.data_verdict.comparison.columns import ColumnComparison
from hivemill.components.data_verdict.comparison.reference import Baseline, History, ReferenceWindow, usual
from hivemill.components.data_verdict.findings import Severity, ThresholdSource
from hivemill.components.data_verdict.options import Bounds, DataVerdictOptions
from hivemill.components.data_verdict.profile.column_roles import ColumnRoles, Kind
from hivemill.components.data_verdict.profile.window_profile import Distribution, Profile

_AMBER_FACTOR, _RED_FACTOR = 4.0, 8.0
"""A learnt bound is so many times what days usually differ."""
_MIN_DAYS_FOR_IDS = 3
_LOWEST_AMBER, _MIN_KNOWN = 0.25, 5
"""Of a column that hardly ever moves: the amber bound may fall to this share of the default, once so many days or runs
are known. The red one never falls: a change that is small, however rare, is no reason to stop a run."""


@dataclasses.dataclass(frozen=True)
class Learnt:
    """Bounds for one comparison, and where they come from: `source` of amber, and of red if it has no other."""

    amber: float
    red: float
    source: ThresholdSource
    red_source: ThresholdSource | None = None

    def source_of(self, bound: float) -> ThresholdSource:
        return self.red_source if self.red_source and bound == self.red else self.source


@dataclasses.dataclass(frozen=True)
class DriftEvidence:
    """One column against the reference: its worst day, and how many of the judged days are beyond the bound."""

    column: str
    kind: Kind
    day: str
    comparison: ColumnComparison
    bounds: Learnt
    days_beyond: tuple[str, ...]
    before: Distribution
    after: Distribution

    @property
    def is_beyond(self) -> bool:
        return bool(self.days_beyond)


@dataclasses.dataclass(frozen=True)
class WindowEvidence:
    """Statistics and TFDV's anomalies of each split, the schema that judged them, and the profile of the window.

    `profile` is None where only schema and label are to be judged; `baseline` before the first push; `serving` without
    a serving log.
    """

    statistics: Mapping[str, statistics_pb2.DatasetFeatureStatistics]
    anomalies: Mapping[str, anomalies_pb2.Anomalies]
    schema: schema_pb2.Schema
    roles: ColumnRoles
    options: DataVerdictOptions
    profile: Profile | None = None
    baseline: Baseline | None = None
    serving: Profile | None = None
    manifest: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def label_column(self) -> str:
        return self.roles.label

    @property
    def schema_is_inferred(self) -> bool:
        return self.options.schema_path is None

    @property
    def history(self) -> History:
        return self.baseline.history if self.baseline else History()

    @functools.cached_property
    def reference(self) -> ReferenceWindow | None:
        """None where there is nothing to compare with: no profile, or a first window of one or two days."""
        if self.profile is None:
            return None
        if self.baseline is not None:
            return ReferenceWindow(self.baseline.profile, self.profile)
        return ReferenceWindow(self.profile, self.profile) if len(self.profile.days) >= 3 else None

    @functools.cached_property
    def judged_days(self) -> list[str]:
        """The days that the baseline does not have, or has in another state: the others were judged already."""
        if self.profile is None:
            return []
        if self.baseline is None:
            return self.profile.days
        known = self.baseline.profile
        return [
            day
            for day in self.profile.days
            if day not in known.rows or known.fingerprints.get(day) != self.profile.fingerprints.get(day)
        ]

    @functools.cached_property
    def compared_columns(self) -> list[str]:
        """Columns of this window and of the reference that are the same kind of thing in both."""
        if self.profile is None or self.reference is None:
            return []
        before = self.reference.profile.columns
        return [
            name
            for name, column in self.profile.columns.items()
            if name in before and before[name].kind == column.kind and not self.ignores(name)
        ]

    @functools.cached_property
    def drift(self) -> dict[str, DriftEvidence]:
        """Every column that has values, by name; clocks have a check of their own."""
        columns = [name for name in self.compared_columns if self.profile.columns[name].kind != "time"]
        rows = {name: self._drift_row(name) for name in columns}
        return {name: row for name, row in rows.items() if row is not None}

    def ignores(self, column: str) -> bool:
        bounds = self.options.columns.get(column)
        return bounds is not None and bounds.ignore

    def split_of(self, day: str) -> str:
        splits = self.profile.splits if self.profile else {}
        return next((split for split, days in splits.items() if day in days), "")

    def severity(self, column: str | None, value: float, bounds: Learnt | Bounds) -> Severity:
        """Red beyond the red bound, in a column that the model reads; None stands for the table as a whole."""
        may_stop = column is None or self.roles.is_used(column) or column in (self.roles.user, self.roles.label)
        return "red" if value > bounds.red and may_stop and self.options.on_drift == "red" else "amber"

    def drift_bounds(self, column: str) -> Learnt:
        """By config, else the defaults, raised for a column whose days always differ."""
        chosen = self.options.columns.get(column)
        if chosen is not None and chosen.drift is not None:
            return Learnt(chosen.drift.amber, chosen.drift.red, "config")
        known = self.history.drift.get(column, ())
        of_days = self.reference.usual_drift(column) if self.reference else 0.0
        num_known = len(known) + (len(self.reference.profile.days) if self.reference else 0)
        return learnt(self.options.drift, max(of_days, usual(known)), num_known)

    def _can_compare(self, name: str, day: str) -> bool:
        """The most frequent ids of one or two days are so by chance too: they would look lost on any other day."""
        one = self.profile.columns[name].days[day]
        return one.present > 0 and (one.is_whole or len(self.reference.days_for(day)) >= _MIN_DAYS_FOR_IDS)

    def _drift_row(self, name: str) -> DriftEvidence | None:
        column, bounds = self.profile.columns[name], self.drift_bounds(name)
        judged = [day for day in self.judged_days if day in column.days and self._can_compare(name, day)]
        if not judged:
            return None
        by_day = {day: self.reference.drift_of_day(column.kind, name, day, column.days[day]) for day in judged}
        beyond = tuple(day for day, one in by_day.items() if one.value > bounds.amber and one.is_real)
        worst = max(beyond or judged, key=lambda day: by_day[day].value)
        before = self.reference.column(name, worst)
        return DriftEvidence(name, column.kind, worst, by_day[worst], bounds, beyond, before, column.days[worst])


def learnt(given: Bounds, usual_value: float, num_known: int = 0) -> Learnt:
    """The given bounds, or multiples of what is usual where that is more; amber also where it is much less."""
    is_default = given == type(given)()  # options travel as JSON, after which every field is one that was set
    lowest = given.amber * (_LOWEST_AMBER if is_default and num_known >= _MIN_KNOWN else 1.0)
    amber, red = max(lowest, _AMBER_FACTOR * usual_value), max(given.red, _RED_FACTOR * usual_value)
    sources: list[ThresholdSource] = [
        "learnt" if bound != configured else "default" if is_default else "config"
        for bound, configured in ((amber, given.amber), (red, given.red))
    ]
    return Learnt(amber, red, *sources)
