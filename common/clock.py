"""The time as documents have it."""

from __future__ import annotations

import datetime


def utc_now() -> str:
    """`2026-11-16T03:00:00+00:00`."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
