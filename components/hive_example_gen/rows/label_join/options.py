"""Options of a label that is joined from a second table (`label.join:` in hivemill.yaml)."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from hivemill.common.options import Options
from hivemill.components.hive_example_gen.options import SourceOptions

_MICROS = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_MAX_DAYS = 366
TimeUnit = Literal["s", "ms", "us"]


def micros_of(duration: str) -> int:
    """Microseconds of `90s`, `30m`, `24h` or `7d`. Raises ValueError with the rule."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", duration)
    if not match:
        raise ValueError(f"must be a duration: a whole number and s, m, h or d, like 30m or 24h; received {duration!r}")
    micros = int(match[1]) * _MICROS[match[2]]
    if micros > _MAX_DAYS * _MICROS["d"]:
        raise ValueError(f"must be at most {_MAX_DAYS}d; received {duration!r}")
    return micros


def _checked(duration: str) -> str:
    micros_of(duration)
    return duration


def _positive(duration: str) -> str:
    if not micros_of(duration):
        raise ValueError(f"must be longer than nothing; received {duration!r}")
    return duration


class LabelJoinOptions(Options):
    """The label is whether a click of a second table follows the impression."""

    clicks: SourceOptions = Field(description="The table of clicks: a source of its own, partitioned by date too.")
    keys: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="Columns of the impressions that a click repeats, e.g. [impression_id] or [user_id, item_id]. "
        "Integer, text, boolean, date or timestamp."
    )
    click_keys: tuple[str, ...] | None = Field(
        None, description="Their names in the table of clicks, in the same order, where they differ."
    )
    impression_time: str = Field(description="Column with the time of the impression: timestamp, or an integer.")
    click_time: str = Field(description="Column with the time of the click: timestamp, or an integer.")
    time_unit: TimeUnit | None = Field(
        None, description="What integer times count since 1970-01-01 UTC: s, ms or us. Needed for them only."
    )
    within: Annotated[str, AfterValidator(_positive)] = Field(
        "24h", description="A click later than this after the impression does not count: 30m, 24h, 7d."
    )
    take: Literal["last", "first", "every"] = Field(
        "last",
        description="Which impression of the key gets a click: the last one before it, the first one within the limit, "
        "or every one. Where keys do not repeat, all three agree, and `every` reads the impressions only once.",
    )
    partition_slack: Annotated[str, AfterValidator(_checked)] = Field(
        "0s",
        description="How far a row's time may lie outside the day of its partition, in either direction: 0s, 2h. More "
        "days are then read. Rows further outside are bad rows.",
    )

    @property
    def keys_of_clicks(self) -> tuple[str, ...]:
        return self.click_keys or self.keys

    @property
    def within_micros(self) -> int:
        return micros_of(self.within)

    @property
    def slack_micros(self) -> int:
        return micros_of(self.partition_slack)


class LabelRules(Options):
    """Which column of the converted rows is the label, and the join that makes it, if it is no column of the table."""

    column: str
    join: LabelJoinOptions | None = None
