"""Wall clocks of time zones, a whole column at a time, as java.time and as java.util.TimeZone have them.

By Python's zoneinfo. Arrow's own conversion knows no rules, only the changes that the system's files list: in the best
case up to 2037, so that a summer of 2040 is one hour wrong, and where those files are the small ones up to 2007.

java.util.TimeZone, by which ORC's Java library and everything around java.sql.Timestamp count, differs for what lies
before 1900: it then takes the zone's present standard time, not the local mean time of old.
Source: sun.util.calendar.ZoneInfo (getOffsets) and ZoneInfoFile (UTC1900) of OpenJDK 17.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from hivemill.common.errors import InfrastructureError

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DAY = 86_400
_SYSTEM = Path("/usr/share/zoneinfo")


def _seconds(year: int) -> int:
    return int((datetime(year, 1, 1, tzinfo=timezone.utc) - _EPOCH).total_seconds())


_FIRST, _LAST = _seconds(1800), _seconds(2037)
_PRESENT = _seconds(2025)
_JAVA_FIRST = _seconds(1900)
_FOUR_CENTURIES = 146_097 * _DAY  # after these the calendar, and so each rule, begins anew


def database() -> Path:
    """The folder of time zones for libraries in C++: TZDIR, else the system's, else that of the package tzdata.

    ORC's library ends the process where a zone's file is not there; so it is told (TZDIR) where the package is. Raises
    InfrastructureError.
    """
    folder = Path(os.environ.get("TZDIR", _SYSTEM))
    if (folder / "GMT").is_file():
        return folder
    found = importlib.util.find_spec("tzdata")
    if found is None or not found.submodule_search_locations:
        raise InfrastructureError(f"this machine has no time zones in {folder}", hint="Install tzdata.")
    folder = Path(found.submodule_search_locations[0]) / "zoneinfo"
    os.environ["TZDIR"] = str(folder)
    return folder


def is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; a path that leads out of the database; a folder of it
        return False
    return True


def wall_clock(instants: np.ndarray, zone: str) -> np.ndarray:
    """Seconds since 1970 in UTC (int64) to those that the clocks of `zone` show. Raises ZoneInfoNotFoundError."""
    changes, offsets = _table(zone)
    found = offsets[np.searchsorted(changes, instants, side="right")]
    later = instants >= _LAST
    if later.any():
        found[later] = _offsets_after(instants[later], zone)
    return instants + found


def java_wall_clock(instants: np.ndarray, zone: str) -> np.ndarray:
    """The same by java.util.TimeZone."""
    return np.where(instants < _JAVA_FIRST, instants + _standard_offset(zone), wall_clock(instants, zone))


def _offsets_after(instants: np.ndarray, zone: str) -> np.ndarray:
    """One by one: few columns reach so far, and mostly with one value that means "never"."""
    inside = _LAST + (instants - _LAST) % _FOUR_CENTURIES
    distinct, places = np.unique(inside, return_inverse=True)
    return np.array([_offset(int(instant), ZoneInfo(zone)) for instant in distinct], np.int64)[places]


@functools.cache
def _table(zone: str) -> tuple[np.ndarray, np.ndarray]:
    """The instants from 1800 to 2037 at which the offset changes, and the offset before, between and after them."""
    rules = ZoneInfo(zone)
    changes: list[int] = []
    offsets = [_offset(_FIRST, rules)]
    for day in range(_FIRST, _LAST, _DAY):
        while (offset := _offset(day + _DAY, rules)) != offsets[-1]:
            changes.append(_first_change(changes[-1] if changes else _FIRST, day + _DAY, offsets[-1], rules))
            offsets.append(_offset(changes[-1], rules))
            if offsets[-1] == offset:
                break
    return np.array(changes, np.int64), np.array(offsets, np.int64)


def _first_change(before: int, after: int, offset: int, rules: ZoneInfo) -> int:
    """The first second with another offset than `offset`, which holds at `before` and no longer at `after`."""
    before = max(before, after - _DAY)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(middle, rules) == offset:
            before = middle
        else:
            after = middle
    return after


def _offset(instant: int, rules: ZoneInfo) -> int:
    moment = (_EPOCH + timedelta(seconds=instant)).astimezone(rules)
    offset = moment.utcoffset()
    assert offset is not None
    return round(offset.total_seconds())


@functools.cache
def _standard_offset(zone: str) -> int:
    """Of the present: the smallest one, because Java counts Ireland's and Morocco's winters as standard time."""
    changes, offsets = _table(zone)
    return int(offsets[np.searchsorted(changes, _PRESENT) :].min())
