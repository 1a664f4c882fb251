"""Wall clocks by whole columns, against zoneinfo value by value and against what java.util.TimeZone (17) says."""

import datetime
import random
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from hivemill.components.hive_example_gen.formats.time.time_zones import is_zone, java_wall_clock, wall_clock

UTC = datetime.timezone.utc
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)


def _seconds(*moment):
    return int((datetime.datetime(*moment, tzinfo=UTC) - EPOCH).total_seconds())


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"])
def test_as_zoneinfo(zone):
    chooser = random.Random(11)
    spans = [(_seconds(2, 1, 1), _seconds(1800, 1, 1)), (_seconds(1800, 1, 1), _seconds(2037, 1, 1))]
    spans.append((_seconds(2037, 1, 1), _seconds(9999, 1, 1)))
    instants = [chooser.randrange(*span) for span in spans for _ in range(300)]
    rules = ZoneInfo(zone)
    expected = []
    for instant in instants:
        offset = (EPOCH + datetime.timedelta(seconds=instant)).astimezone(rules).utcoffset()
        expected.append(instant + round(offset.total_seconds()))
    assert wall_clock(np.array(instants), zone).tolist() == expected


def test_every_second_around_a_change():
    change = _seconds(2026, 3, 29, 1)  # Berlin: 2:00 becomes 3:00
    instants = np.arange(change - 3, change + 3)
    assert (wall_clock(instants, "Europe/Berlin") - instants).tolist() == [3600] * 3 + [7200] * 3


def test_beyond_the_years_that_files_list():
    """Arrow knows changes up to 2037 only, and is an hour late here."""
    summer = np.array([_seconds(2040, 7, 1, 12)])
    assert (wall_clock(summer, "America/New_York") - summer).tolist() == [-4 * 3600]


@pytest.mark.parametrize(
    ("zone", "moment", "offset"),
    [
        ("America/New_York", (1883, 1, 1), -18_000),  # local mean time is -17,762 there
        ("Asia/Kolkata", (1800, 7, 1), 19_800),
        ("Asia/Shanghai", (1900, 1, 1), 29_143),
        ("Asia/Shanghai", (1899, 12, 31, 23, 59, 59), 28_800),
        ("America/Sao_Paulo", (1913, 6, 1), -11_188),
        ("Europe/Dublin", (1850, 1, 1), 0),
        ("Europe/Berlin", (2050, 7, 1), 7_200),
    ],
)
def test_java_before_1900(zone, moment, offset):
    instant = np.array([_seconds(*moment)])
    assert (java_wall_clock(instant, zone) - instant).tolist() == [offset]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Europe/Berlin", True), ("UTC", True), ("Mars/Base", False), ("../etc/passwd", False), ("Europe", False),
     ("/etc/localtime", False), ("", False)],
)  # fmt: skip
def test_what_is_a_zone(name, expected):
    assert is_zone(name) is expected
