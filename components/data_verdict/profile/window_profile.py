"""The profile of a window: what its rows look like, by day and column, small enough to be kept with every run.

It holds what TensorFlow Data Validation's statistics do not: days apart, hours, what a column says about the label, and
histograms that can be added up and compared (data-validation's ten equal bins are emptied by one outlier).
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from hivemill.common.errors import InfrastructureError
from hivemill.components.data_verdict.profile.column_roles import Kind

VERSION = 1
GROWTH = 1.05
"""Numbers go to buckets whose bounds grow by this factor: 2.5 % exact at any size (DDSketch, Masson et al. 2019)."""
ZERO_BUCKET = 0
_SMALLEST_EXPONENT = 600  # below 1.05 ** -600 = 2e-13 a number is zero
_LOG_GROWTH = math.log(GROWTH)


@dataclasses.dataclass(frozen=True)
class Distribution:
    """One column in some rows. `counts` by bucket (numbers, times) or by value (text); `other` values not in it.

    For a list column `rows` and `missing` are rows, `counts` are elements. `distinct` is 0 for sums of several days,
    where it is not known.
    """

    rows: int = 0
    missing: int = 0
    counts: Mapping[Any, int] = dataclasses.field(default_factory=dict)
    other: int = 0
    distinct: int = 0
    label_auc: float | None = None
    """How well this column alone tells clicks apart, 0.5 to 1; measured on rows other than those it was learnt from."""

    @property
    def present(self) -> int:
        return sum(self.counts.values()) + self.other

    @property
    def missing_share(self) -> float:
        return self.missing / self.rows if self.rows else 0.0

    @property
    def is_whole(self) -> bool:
        """Every value is counted by name."""
        return self.other == 0


@dataclasses.dataclass(frozen=True)
class ProfiledColumn:
    """A column by day. `unseen` is the share of the eval split's values that the train split does not have."""

    kind: Kind
    days: dict[str, Distribution]
    unseen: float | None = None


@dataclasses.dataclass(frozen=True)
class Profile:
    """Days are ISO dates. `rows` counts all rows by day and hour (hour -1: not known), `sampled` and `clicks` those
    that were looked at; `repeated` the share of rows that have an exact copy; `fingerprints` tell rewritten days."""

    splits: dict[str, tuple[str, ...]]
    columns: dict[str, ProfiledColumn]
    rows: dict[str, dict[int, int]]
    sampled: dict[str, dict[int, int]]
    clicks: dict[str, dict[int, int]]
    repeated: dict[str, float] = dataclasses.field(default_factory=dict)
    fingerprints: dict[str, str] = dataclasses.field(default_factory=dict)
    sample_share: float = 1.0
    dependence: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    """By two columns, `a|b`, and day: how much one says about the other, 0 to 1; pairs that say little are left out."""
    thinned: tuple[str, ...] = ()
    """Days with a sample of their negatives."""

    def alike(self, day: str) -> list[str]:
        """The other days that it compares with."""
        return [other for other in self.days if other != day and (other in self.thinned) == (day in self.thinned)]

    @property
    def days(self) -> list[str]:
        return sorted(self.rows)

    @property
    def knows_hours(self) -> bool:
        return any(hour >= 0 for hours in self.rows.values() for hour in hours)

    def day_rows(self, day: str) -> int:
        return sum(self.rows.get(day, {}).values())

    def distribution(self, column: str, days: Iterable[str]) -> Distribution:
        """The column over several days."""
        by_day = self.columns[column].days
        return total(by_day[day] for day in days if day in by_day)

    def to_json(self) -> str:
        document = {"version": VERSION, **dataclasses.asdict(self)}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def total(parts: Iterable[Distribution]) -> Distribution:
    """The sum of distributions of the same column."""
    known = list(parts)
    if len(known) == 1:
        return known[0]
    counts: dict[Any, int] = {}
    for part in known:
        for value, count in part.counts.items():
            counts[value] = counts.get(value, 0) + count
    return Distribution(
        rows=sum(part.rows for part in known),
        missing=sum(part.missing for part in known),
        counts=counts,
        other=sum(part.other for part in known),
    )


def from_json(text: str, place: str) -> Profile:
    """Raises InfrastructureError where the document at `place` is not a profile of this version."""
    try:
        document = json.loads(text)
        if document.pop("version") != VERSION:
            raise ValueError("another version")
        columns = {name: _column(column) for name, column in document.pop("columns").items()}
        hours = {key: _by_hour(document.pop(key)) for key in ("rows", "sampled", "clicks")}
        splits = {split: tuple(days) for split, days in document.pop("splits").items()}
        thinned = tuple(document.pop("thinned"))
        return Profile(columns=columns, splits=splits, thinned=thinned, **hours, **document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InfrastructureError(
            f"{place}: not a data profile of version {VERSION}: {error}",
            hint="Remove the file: the run then judges without a comparison, and writes a new one.",
        ) from error


def buckets_of(values: np.ndarray) -> np.ndarray:
    """int32 bucket of each finite number; the order of buckets is the order of numbers."""
    numbers = np.asarray(values, np.float64)
    size = np.abs(numbers)
    with np.errstate(divide="ignore"):
        exponent = np.ceil(np.log(size) / _LOG_GROWTH - 1e-9)
    rank = np.maximum(exponent, -_SMALLEST_EXPONENT) + _SMALLEST_EXPONENT + 1
    rank = np.where(exponent < -_SMALLEST_EXPONENT, 0, rank)
    return (np.sign(numbers) * np.minimum(rank, 30_000)).astype(np.int32)


def upper_bound(bucket: int) -> float:
    """The largest number of a bucket, 0 for the bucket of zero."""
    if bucket == ZERO_BUCKET:
        return 0.0
    if bucket < 0:
        return -(GROWTH ** (-bucket - 2 - _SMALLEST_EXPONENT))
    return GROWTH ** (bucket - 1 - _SMALLEST_EXPONENT)


def shifted(distribution: Distribution, steps: int) -> Distribution:
    """The distribution with every number times GROWTH ** steps."""
    counts: dict[int, int] = {}
    for bucket, count in distribution.counts.items():
        moved = bucket + (steps if bucket > 0 else -steps if bucket < 0 else 0)
        counts[moved] = counts.get(moved, 0) + count
    return dataclasses.replace(distribution, counts=counts)


def date_of(day: str) -> datetime.date:
    return datetime.date.fromisoformat(day)


def _column(document: dict[str, Any]) -> ProfiledColumn:
    numeric = document["kind"] in ("number", "time")
    days = {}
    for day, one in document["days"].items():
        counts = {int(key) if numeric else key: count for key, count in one["counts"].items()}
        days[day] = Distribution(**{**one, "counts": counts})
    return ProfiledColumn(document["kind"], days, document["unseen"])


def _by_hour(document: dict[str, Any]) -> dict[str, dict[int, int]]:
    return {day: {int(hour): count for hour, count in hours.items()} for day, hours in document.items()}
