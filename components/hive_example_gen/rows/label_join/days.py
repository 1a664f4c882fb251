"""The days of both tables that a day of impressions has to do with.

With the times of a day in [0:00 - slack, 24:00 + slack): the clicks of an impression lie in the days up to `within`
later, the impressions that can take a click from it in those days too (`last`) or up to `within` earlier (`first`).
"""

from __future__ import annotations

import datetime

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.rows.label_join import times
from hivemill.components.hive_example_gen.rows.label_join.options import LabelJoinOptions

Day = datetime.date


def days_of_clicks(options: LabelJoinOptions, day: Day) -> list[Day]:
    """The days whose clicks can belong to impressions of `day`."""
    slack = 2 * options.slack_micros
    return _around(day, _days(slack), _days(slack + options.within_micros))


def days_of_impressions(options: LabelJoinOptions, day: Day) -> list[Day]:
    """The days whose impressions can take a click from one of `day`; none for `take: every`."""
    slack = 2 * options.slack_micros
    reach = _days(slack + options.within_micros)
    if options.take == "every":
        return []
    return _around(day, _days(slack), reach) if options.take == "last" else _around(day, reach, _days(slack))


def days_with_clicks_of(options: LabelJoinOptions, day: Day) -> list[Day]:
    """The days whose impressions clicks of `day` can belong to."""
    slack = 2 * options.slack_micros
    return _around(day, _days(slack + options.within_micros), _days(slack))


def _days(micros: int) -> int:
    """Whole days that hold so many microseconds."""
    return -(-micros // times.DAY_MICROS)


def _around(day: Day, before: int, after: int) -> list[Day]:
    try:
        return [day + datetime.timedelta(days=offset) for offset in range(-before, after + 1)]
    except OverflowError as error:
        raise ConfigError(f"label.join: the days around {day} leave the calendar") from error
