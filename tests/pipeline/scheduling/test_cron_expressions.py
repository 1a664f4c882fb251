"""Cron expressions: what is refused, and that systemd starts at the very times that cron does."""

import datetime
import shutil
import subprocess

import pytest

from hivemill.pipeline.scheduling.cron import CronExpression, zone

EXPRESSIONS = [
    "0 6 * * MON",
    "30 6 1 * *",
    "*/20 5-7 * * 1-5",
    "0 3 1 * MON,THU",  # day-of-month or day-of-week
    "15 0 28-31 FEB,DEC *",
    "5,35 23 */10 * SUN",  # a star in day-of-month: and
    "0 2 * * *",  # does not exist on one day of the year
]


@pytest.mark.parametrize("text", EXPRESSIONS)
@pytest.mark.parametrize("timezone", ["UTC", "Asia/Shanghai"])
def test_systemd_starts_when_cron_does(text, timezone):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here")
    expression = CronExpression(text)
    after = datetime.datetime(2026, 11, 15, 12, 34, tzinfo=zone(timezone))
    ours = [time.astimezone(datetime.timezone.utc) for time in expression.next_times(after, 12)]
    theirs = sorted({time for line in expression.on_calendar(timezone) for time in _by_systemd(line, after)})
    assert theirs[:12] == ours


def _by_systemd(line, after):
    base = after.astimezone(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    command = ["systemd-analyze", "calendar", "--iterations=12", f"--base-time={base}", line]
    printed = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"TZ": "UTC", "LC_ALL": "C"}
    ).stdout
    found = [text.split(": ", 1)[1] for text in printed.splitlines() if "Next elapse" in text or "Iter. #" in text]
    naive = [datetime.datetime.strptime(text, "%a %Y-%m-%d %H:%M:%S UTC") for text in found]
    return [time.replace(tzinfo=datetime.timezone.utc) for time in naive]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("0 6 * *", "five fields"),
        ("0 0 6 * * MON", "five fields"),
        ("@weekly", "five fields"),
        ("60 6 * * *", "minute"),
        ("0 6 * * 7", "Kubernetes refuses 7"),
        ("0 6 * * 5-7", "Kubernetes refuses 7"),
        ("0 6 L * *", "day-of-month"),
        ("0 6 * * 1#2", "day-of-week"),
        ("0 6 ? * *", "day-of-month"),
        ("5/10 6 * * *", "minute"),
        ("0 6 * * MON;reboot", "day-of-week"),
        ("0 6 31 FEB *", "day-of-month"),
        ("0 22-6 * * *", "hour"),
    ],
)
def test_what_the_schedulers_do_not_read_alike_is_refused(text, rule):
    with pytest.raises(ValueError, match=rule):
        CronExpression(text)


def test_a_step_of_seven_is_no_sunday():
    assert CronExpression("0 6 * * */7").numeric == "0 6 * * */7"


def test_names_are_numbers_where_only_they_are_promised():
    assert CronExpression("0 6 1 jan-MAR mon,Thu").numeric == "0 6 1 1-3 1,4"


def test_next_starts_follow_the_timezone_through_the_change_of_clocks():
    times = CronExpression("0 6 * * *").next_times(
        datetime.datetime(2026, 10, 24, 0, 0, tzinfo=zone("Europe/Vienna")), 2
    )
    assert [time.astimezone(datetime.timezone.utc).hour for time in times] == [4, 5]
    assert [time.hour for time in times] == [6, 6]


@pytest.mark.parametrize("name", ["Vienna", "../etc/passwd", "", "UTC+25"])
def test_unknown_timezone(name):
    with pytest.raises(ValueError, match="IANA"):
        zone(name)
