"""Whether a day is as big as days before it: the arithmetic, without any access to files.

A day is held against the median of the same weekday in the last weeks (weekends differ), or, while a table is too
young for that, of all days in them. Too few days give no judgement rather than a wrong one.
"""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hivemill.common.amounts import share, size
from hivemill.components.hive_example_gen.options import CompletenessOptions

MIN_EARLIER_DAYS = 3
_WEEKDAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
Measure = Literal["bytes", "rows"]


@dataclass(frozen=True)
class DaySize:
    """A day as it lies there; what nobody knows of it is None."""

    num_bytes: int | None
    num_rows: int | None = None


@dataclass(frozen=True)
class SizeJudgement:
    """One measure of one day against the median of earlier ones.

    Attributes:
        partition: the day's folder.
        num_days: how many earlier days the median is of.
        reference: the same in words: `4 Sundays in the last 4 weeks`.
        min_share: what the day must reach of the median.
    """

    partition: str
    day: datetime.date
    measure: Measure
    value: int
    median: float
    num_days: int
    reference: str
    min_share: float

    @property
    def share(self) -> float:
        return self.value / self.median if self.median else 1.0

    @property
    def is_small(self) -> bool:
        return self.value < self.min_share * self.median

    def document(self) -> dict[str, Any]:
        derived = {"day": self.day.isoformat(), "share": self.share, "is_small": self.is_small, "words": str(self)}
        return {**asdict(self), **derived}

    def __str__(self) -> str:
        relation = "<" if self.is_small else ">="
        bound = f"{share(self.min_share)} of the median {self._amount(self.median)} of {self.reference}"
        return f"{self.partition}: {self._amount(self.value)} {relation} {bound} (it has {share(self.share)})"

    def _amount(self, value: float) -> str:
        return size(value) if self.measure == "bytes" else f"{value:,.0f} rows"


def earlier_days(days: Sequence[datetime.date], options: CompletenessOptions) -> list[datetime.date]:
    """The days before `days` (oldest first, without gaps) that their medians are of; none where nothing is judged."""
    if options.min_share_of_median is None:
        return []
    first = days[0].toordinal()
    return [datetime.date.fromordinal(day) for day in range(max(1, first - 7 * options.median_weeks), first)]


def judge(
    sizes: Mapping[datetime.date, DaySize],
    days: Sequence[datetime.date],
    options: CompletenessOptions,
    folder_of: Callable[[datetime.date], str],
) -> tuple[SizeJudgement, ...]:
    """The judgements of `days`, by bytes and, where they are known, by rows; a day without a size has none.

    Args:
        sizes: of the days to judge and of those before them; a day that is not there is no reference either.
    """
    if options.min_share_of_median is None:
        return ()
    found = []
    for day in days:
        earlier, which = _reference(day, sizes, options.median_weeks)
        for measure in ("bytes", "rows"):
            value = _value(sizes.get(day), measure)
            values = [known for one in earlier if (known := _value(one, measure)) is not None]
            if value is not None and len(values) >= MIN_EARLIER_DAYS:
                middle = statistics.median(values)
                reference = f"{len(values)} {which}"
                at_least = options.min_share_of_median
                found.append(
                    SizeJudgement(folder_of(day), day, measure, value, middle, len(values), reference, at_least)
                )
    return tuple(found)


def _reference(day: datetime.date, sizes: Mapping[datetime.date, DaySize], weeks: int) -> tuple[list[DaySize], str]:
    span = f"the last {weeks} weeks" if weeks > 1 else "the last week"
    earlier = {past: one for past, one in sizes.items() if 0 < (day - past).days <= 7 * weeks}
    same_weekday = [one for past, one in earlier.items() if past.weekday() == day.weekday()]
    if len(same_weekday) >= MIN_EARLIER_DAYS:
        return same_weekday, f"{_WEEKDAYS[day.weekday()]} in {span}"
    return list(earlier.values()), f"days in {span}"


def _value(one: DaySize | None, measure: str) -> int | None:
    if one is None:
        return None
    return one.num_bytes if measure == "bytes" else one.num_rows
