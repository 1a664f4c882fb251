"""The run date of a command: a day, or a word that means one at the time of the start.

A run for D reads days up to and including D. A start at a moment T belongs to the interval that ends with the last day
that is over at T in `schedule.timezone`, as a scheduler's data interval does: on Monday 06:00 that is Sunday. For
`scheduled`, T is when the start was due, not when it happened, so that a retry after midnight, or a start that is made
up for on Tuesday, has the date of its own week.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable

from hivemill.common.clock import parse_day
from hivemill.common.errors import DataNotReadyError
from hivemill.pipeline.config.loader import LoadedConfig
from hivemill.pipeline.runs import plan
from hivemill.pipeline.scheduling import cron

SCHEDULED, YESTERDAY, LAST_COMPLETE = "scheduled", "yesterday", "last-complete"
_EARLY_SECONDS = 60  # by which the clock of the scheduler may be ahead of ours
Say = Callable[[str], None]


def resolve(
    text: str, loaded: LoadedConfig, say: Say, now: datetime.datetime | None = None, option: str = "--date"
) -> datetime.date:
    """The day that `text` means: `2026-11-15`, `scheduled`, `yesterday` or `last-complete`.

    `scheduled` is the last day that was over when schedule.cron was due last; `yesterday` the last that is over now;
    `last-complete` the newest day up to yesterday whose window is ready.

    Raises:
        ConfigError: for any other text. DataNotReadyError: where no day is ready within schedule.max_days_back.
    """
    if text not in (SCHEDULED, YESTERDAY, LAST_COMPLETE):
        return day(text, option)
    if text == SCHEDULED:
        return last_day_over(loaded.config.schedule.timezone, _last_due(loaded, now))
    yesterday = last_day_over(loaded.config.schedule.timezone, now)
    if text == YESTERDAY:
        return yesterday
    return _last_complete(loaded, yesterday, say)


def day(text: str, option: str = "--date") -> datetime.date:
    """Raises ConfigError for what is no day of the calendar."""
    words = f"`{SCHEDULED}`, `{YESTERDAY}` or `{LAST_COMPLETE}` (docs/schedules.md)"
    return parse_day(text, option, f"Write a day that exists, like 2026-11-15, or {words}.")


def last_day_over(timezone: str, now: datetime.datetime | None = None) -> datetime.date:
    """The day before today in `timezone`."""
    now = now or datetime.datetime.now(datetime.timezone.utc)
    return now.astimezone(cron.zone(timezone)).date() - datetime.timedelta(days=1)


def _last_due(loaded: LoadedConfig, now: datetime.datetime | None) -> datetime.datetime:
    schedule = loaded.config.schedule
    now = (now or datetime.datetime.now(datetime.timezone.utc)) + datetime.timedelta(seconds=_EARLY_SECONDS)
    return cron.CronExpression(schedule.cron).last_time(now.astimezone(cron.zone(schedule.timezone)))


def _last_complete(loaded: LoadedConfig, yesterday: datetime.date, say: Say) -> datetime.date:
    first_reason: DataNotReadyError | None = None
    days = loaded.config.schedule.max_days_back
    for back in range(days):
        candidate = yesterday - datetime.timedelta(days=back)
        try:
            plan.make_plan(loaded, candidate).window.check()
        except DataNotReadyError as error:
            first_reason = first_reason or error
            continue
        if back:
            say(f"{yesterday} is not complete ({first_reason.message.splitlines()[0]}); the last that is: {candidate}")
        return candidate
    raise DataNotReadyError(
        f"none of the {days} days up to {yesterday} is complete; {yesterday}: {first_reason.message}",
        hint="`hivemill plan --date D` shows what a day lacks; schedule.max_days_back says how far to look.",
    )
