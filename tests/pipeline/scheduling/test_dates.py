"""The run date of a command: days, and words that depend on the clock and on the table."""

import datetime

import pytest

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.pipeline.config import loader as config_module
from hivemill.pipeline.scheduling import dates
from tests.support.small_config import small_config

CONFIG = small_config('schedule: {cron: "0 23 * * MON", timezone: Asia/Shanghai, max_days_back: 3}')
# 22:30 in London is the next morning in Shanghai.
NOW = datetime.datetime(2026, 11, 15, 22, 30, tzinfo=datetime.timezone.utc)


@pytest.fixture
def load(tmp_path):
    def loaded(*days: int):
        for day in days:
            folder = tmp_path / "t" / f"dt=2026-11-{day}"
            folder.mkdir(parents=True)
            (folder / "000000_0").write_bytes(b"1\x011\n2\x010\n")
        (tmp_path / "hivemill.yaml").write_text(CONFIG)
        return config_module.load(tmp_path / "hivemill.yaml")

    return loaded


def test_yesterday_is_the_last_day_that_is_over_in_the_timezone_of_the_schedule(load):
    assert dates.resolve("yesterday", load(15), print, NOW) == datetime.date(2026, 11, 15)
    assert dates.last_day_over("UTC", NOW) == datetime.date(2026, 11, 14)
    assert dates.last_day_over("America/Los_Angeles", NOW) == datetime.date(2026, 11, 14)


@pytest.mark.parametrize(
    ("now", "date"),
    [
        ("2026-11-16T22:59:30+08:00", (2026, 11, 15)),  # the scheduler's clock is half a minute ahead
        ("2026-11-16T23:00:05+08:00", (2026, 11, 15)),
        ("2026-11-17T00:40:00+08:00", (2026, 11, 15)),  # a retry after midnight
        ("2026-11-20T09:00:00+08:00", (2026, 11, 15)),  # the machine was off for days
        ("2026-11-16T22:00:00+08:00", (2026, 11, 8)),
        ("2026-11-23T23:00:00+08:00", (2026, 11, 22)),
    ],
)
def test_scheduled_is_the_date_of_the_start_that_was_due_whenever_it_happens(load, now, date):
    moment = datetime.datetime.fromisoformat(now).astimezone(datetime.timezone.utc)
    assert dates.resolve("scheduled", load(), print, moment) == datetime.date(*date)


def test_day_is_over_though_it_had_25_hours():
    """2026-10-25 in Vienna: at 23:30 UTC it is 00:30 of the next day, after the clocks went back."""
    assert dates.last_day_over(
        "Europe/Vienna", datetime.datetime(2026, 10, 25, 22, 30, tzinfo=datetime.timezone.utc)
    ) == (datetime.date(2026, 10, 24))
    assert dates.last_day_over(
        "Europe/Vienna", datetime.datetime(2026, 10, 25, 23, 30, tzinfo=datetime.timezone.utc)
    ) == (datetime.date(2026, 10, 25))


def test_last_complete_goes_back_to_a_day_that_is_ready_and_says_so(load):
    said = []
    assert dates.resolve("last-complete", load(12, 13, 14), said.append, NOW) == datetime.date(2026, 11, 14)
    assert "2026-11-15 is not complete" in said[0] and "2026-11-14" in said[0]


def test_last_complete_says_nothing_where_it_is_yesterday(load):
    said = []
    assert dates.resolve("last-complete", load(14, 15), said.append, NOW) == datetime.date(2026, 11, 15)
    assert said == []


def test_last_complete_gives_up_after_so_many_days(load):
    with pytest.raises(DataNotReadyError, match="none of the 3 days up to 2026-11-15 is complete") as refused:
        dates.resolve("last-complete", load(10, 11), print, NOW)
    assert "max_days_back" in refused.value.hint


@pytest.mark.parametrize("text", ["tomorrow", "2026-11-31", "15.11.2026", ""])
def test_anything_else_is_refused(load, text):
    with pytest.raises(ConfigError, match="YYYY-MM-DD"):
        dates.resolve(text, load(15), print, NOW)
    assert dates.resolve("2026-11-15", load(), print, NOW) == datetime.date(2026, 11, 15)
