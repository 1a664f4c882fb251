"""The time as documents have it."""

from __future__ import annotations

import datetime
from typing import Any

from hivemill.common.errors import ConfigError


def utc_now() -> str:
    """`2026-11-16T03:00:00+00:00`."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def parse_day(text: str, what: str, hint: str | None = None) -> datetime.date:
    """The day that `text` names. Raises ConfigError, which calls it `what`, for what is no day of the calendar."""
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        hint = hint or "Write a day that exists, like 2026-11-15."
        raise ConfigError(f"{what} must be YYYY-MM-DD; received {text!r}", hint=hint) from None


def seconds_since(time_utc: Any) -> int | None:
    """How long ago `utc_now` said it, by this host's clock: 0 where the clock was set back since; None for no time."""
    try:
        since = datetime.datetime.fromisoformat(time_utc)
    except (TypeError, ValueError):
        return None
    return max(0, round((datetime.datetime.now(datetime.timezone.utc) - since).total_seconds()))
