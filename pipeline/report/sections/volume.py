"""Rows by day and hour against what was usual: `volume` of verdict.json, and the rows of its table. No HTML here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field

from hivemill.pipeline.documents.base import Document
from hivemill.pipeline.report.sections import numbers

MAX_DAYS = 21
HOURS = tuple(f"{hour:02}" for hour in range(24))


class VolumeDay(Document):
    split: str = ""
    rows: int | None = None
    click_rate: float | None = None


class Volume(Document):
    """`hours` and `usual_hours` by day and hour (`00` to `23`); the latter for the days that were judged."""

    days: dict[str, VolumeDay] = Field({})
    hours: dict[str, dict[str, float]] = Field({})
    usual_hours: dict[str, dict[str, float]] = Field({})


@dataclass(frozen=True)
class Hour:
    hour: str
    usual: float
    now: float

    @property
    def surprise(self) -> float:
        """Distance in standard errors of a count."""
        return abs(self.now - self.usual) / math.sqrt(max(self.usual, 1))

    @property
    def words(self) -> str:
        return f"{self.hour} h: {numbers.count(self.now)}, usual {numbers.count(self.usual)}"


@dataclass(frozen=True)
class DayVolume:
    """`hours` is empty where the table has no hours, or nothing to compare with."""

    date: str
    split: str
    rows: str
    usual: str
    click_rate: str
    hours: tuple[Hour, ...]

    @property
    def farthest(self) -> Hour | None:
        return max(self.hours, key=lambda one: one.surprise, default=None)


def day_volumes(volume: Volume) -> list[DayVolume]:
    """The days that were judged, else all of them, in order."""
    days = volume.usual_hours or volume.days
    return [_day(volume, day, volume.days[day]) for day in sorted(days) if day in volume.days]


def _day(volume: Volume, date: str, day: VolumeDay) -> DayVolume:
    usual = volume.usual_hours.get(date, {})
    return DayVolume(
        date=date,
        split=day.split,
        rows=numbers.count(day.rows),
        usual=numbers.count(sum(usual.values())) if usual else numbers.MISSING,
        click_rate=numbers.percent(day.click_rate),
        hours=_hours(usual, volume.hours.get(date, {})),
    )


def _hours(usual: Mapping[str, float], now: Mapping[str, float]) -> tuple[Hour, ...]:
    return tuple(Hour(hour, usual.get(hour, 0), now.get(hour, 0)) for hour in HOURS) if usual else ()
