"""What the window is compared with: the last good one, or, before there is one, its own other days."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hivemill.common.errors import InfrastructureError
from hivemill.components.data_verdict.comparison.columns import ColumnComparison, compare
from hivemill.components.data_verdict.profile import window_profile as profiles
from hivemill.components.data_verdict.profile.column_roles import Kind
from hivemill.components.data_verdict.profile.window_profile import Distribution, Profile, date_of

_USUAL_QUANTILE = 0.75  # of the days' values: a bad day in four does not widen a bound


@dataclasses.dataclass(frozen=True)
class History:
    """Values of earlier good runs: drift and unseen shares by column, rows by day."""

    drift: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    unseen: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    rows: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The window that trained the version labelled `stable`, and what the runs up to then were like."""

    run_id: str
    date: str
    model_version: int
    profile: Profile
    history: History = dataclasses.field(default_factory=History)

    def document(self) -> dict[str, Any]:
        return {"run_id": self.run_id, "date": self.date, "model_version": self.model_version}


def read_baseline(path: str) -> Baseline:
    """Reads what `write_baseline` wrote. Raises InfrastructureError where it cannot be read."""
    try:
        document = json.loads(Path(path).read_text("utf-8"))
        return Baseline(
            run_id=document["run_id"],
            date=document["date"],
            model_version=document["model_version"],
            profile=profiles.from_json(json.dumps(document["profile"]), path),
            history=History(**document["history"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InfrastructureError(
            f"{path}: the baseline of the data verdict cannot be read: {error}", hint="Run again: it is made anew."
        ) from error


@dataclasses.dataclass(frozen=True)
class ReferenceWindow:
    """The days to compare a day with, and how much days differ among themselves."""

    profile: Profile
    now: Profile

    @property
    def is_own(self) -> bool:
        """The window itself, each day against its others: before the first push."""
        return self.profile is self.now

    def days_for(self, day: str) -> list[str]:
        if self.is_own:
            return self.profile.alike(day)
        return [one for one in self.profile.days if (one in self.profile.thinned) == (day in self.now.thinned)]

    def column(self, name: str, day: str) -> Distribution:
        return self.profile.distribution(name, self.days_for(day))

    def drift_of_day(self, kind: Kind, name: str, day: str, now: Distribution) -> ColumnComparison:
        """Against all days, or against the same weekday where that is nearer: a Sunday may be like Sundays only."""
        others = self.days_for(day)
        against_all = compare(kind, self.profile.distribution(name, others), now)
        same = [other for other in others if date_of(other).weekday() == date_of(day).weekday()]
        if not same or len(same) == len(others):
            return against_all
        against_weekday = compare(kind, self.profile.distribution(name, same), now)
        return min(against_all, against_weekday, key=lambda one: one.value)

    @functools.cache  # noqa: B019  (a reference lives as long as one verdict)
    def usual_drift(self, name: str) -> float:
        """What a day of the reference differs from its other days; 0 where there are fewer than three."""
        column = self.profile.columns[name]
        days = self.profile.days
        if len(days) < 3:
            return 0.0
        values = [
            compare(column.kind, self.profile.distribution(name, others), column.days[day]).value
            for day in days
            if day in column.days and (others := self.profile.alike(day))
        ]
        return usual(values)

    def __hash__(self) -> int:
        return id(self)


def usual(values: Sequence[float]) -> float:
    """A high value among those of good days or runs, but not the highest: one of them may have been bad."""
    return float(np.quantile(np.asarray(values, np.float64), _USUAL_QUANTILE)) if len(values) else 0.0
