"""A cron expression of five fields: what cron, Kubernetes and Airflow all read alike, and as systemd's OnCalendar."""

from __future__ import annotations

import dataclasses
import datetime
import re
import zoneinfo
from itertools import islice

from cronsim import CronSim, CronSimError

_FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
_TERM = r"(\d{1,2}|[A-Za-z]{3})"
_ITEM = rf"(\*(/\d+)?|{_TERM}(-{_TERM}(/\d+)?)?)"
_PLAIN = re.compile(rf"{_ITEM}(,{_ITEM})*")
_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_SYMBOLIC_DAYS = [day.upper() for day in _WEEKDAYS]
_SYMBOLIC_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_ANY = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


@dataclasses.dataclass(frozen=True)
class CronExpression:
    """`minute hour day-of-month month day-of-week`. Raises ValueError, naming field and rule.

    Left out is what one of the schedulers refuses or reads otherwise: seconds, `@weekly`, `L`, `#`, `?`, a step without
    a range, and 7 for Sunday, which Kubernetes refuses.
    """

    text: str

    def __post_init__(self) -> None:
        fields = self.text.split()
        if len(fields) != len(_FIELDS):
            raise ValueError(f"must have the five fields {' '.join(_FIELDS)}; this has {len(fields)}")
        for name, field in zip(_FIELDS, fields, strict=True):
            if not _PLAIN.fullmatch(field):
                raise ValueError(f"{name} `{field}` must be like `*`, `5`, `1-5`, `*/15`, `MON,THU`")
        if "7" in re.split(r"[,-]", re.sub(r"/\d+", "", fields[4])):
            raise ValueError(f"day-of-week `{fields[4]}` must be 0 to 6 or SUN to SAT; Kubernetes refuses 7")
        try:
            CronSim(self.text, _ANY)
        except CronSimError as error:
            raise ValueError(f"cannot be read: {error}") from error

    @property
    def numeric(self) -> str:
        """With numbers for names: crontab(5) promises names in single values only."""
        fields = self.text.upper().split()
        fields[3] = re.sub("[A-Z]{3}", lambda found: str(_SYMBOLIC_MONTHS.index(found[0]) + 1), fields[3])
        fields[4] = re.sub("[A-Z]{3}", lambda found: str(_SYMBOLIC_DAYS.index(found[0])), fields[4])
        return " ".join(fields)

    def next_times(self, after: datetime.datetime, count: int) -> list[datetime.datetime]:
        """The next `count` times after `after`, in its timezone, as Debian's cron would start them."""
        return list(islice(CronSim(self.text, after), count))

    def last_time(self, before: datetime.datetime) -> datetime.datetime:
        """The last time before `before`, in its timezone."""
        return next(CronSim(self.text, before, reverse=True))

    def on_calendar(self, timezone: str) -> list[str]:
        """systemd's OnCalendar lines. Day-of-month *or* day-of-week, where cron means that, are two lines."""
        parsed = CronSim(self.text, _ANY)
        clock = f"{_list(parsed.hours, 24)}:{_list(parsed.minutes, 60)}:00 {timezone}"
        months = _list(parsed.months, 12)
        days = _list(parsed.days, 31)
        weekdays = sorted({day % 7 for day in parsed.weekdays})
        names = "" if len(weekdays) == 7 else ",".join(_WEEKDAYS[day] for day in weekdays) + " "
        if parsed.day_and:
            return [f"{names}*-{months}-{days} {clock}"]
        return [f"{names}*-{months}-* {clock}", f"*-{months}-{days} {clock}"]


def zone(name: str) -> zoneinfo.ZoneInfo:
    """Raises ValueError for a name that the IANA time zone database lacks."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"must be a name of the IANA time zone database, like Europe/Vienna or UTC; it lacks {name!r}"
        ) from None


def _list(values: set, size: int) -> str:
    return "*" if len(values) == size else ",".join(f"{value:02d}" for value in sorted(values))
