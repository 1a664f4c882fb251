"""Options of the click-log generator, with the faults that it can plant on purpose."""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator

from hivemill.common.errors import ConfigError
from hivemill.common.options import Options
from hivemill.data.columns import COLUMNS

NUMERIC_DRIFTS = ("price", "position")
CATEGORICAL_DRIFTS = ("age_band", "gender", "city", "member_level", "category", "brand", "device")
PARTITION_PATTERN = re.compile(r"(\d{4}-\d{2}-\d{2})(?:/(\d{2}))?")


class _Fault(Options):
    """A fault may be written as one string, its fields in order with colons between: `price:2026-11-12:1.5`."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        names, parts = list(cls.model_fields), value.split(":")
        if len(parts) != len(names):
            raise ValueError(f"write it as {':'.join(names)}; got {value!r}")
        return dict(zip(names, parts, strict=True))


class PlantedDrift(_Fault):
    """From day `start` on, a feature has other values."""

    feature: str = Field(description="The column that drifts.")
    start: datetime.date = Field(description="First day with the drift.")
    amount: Annotated[float, Field(gt=0)] = Field(
        description="price, position: the values are multiplied by it; other columns: the share of rows, up to 1, "
        "whose value turns into the next one of the vocabulary."
    )

    @model_validator(mode="after")
    def _feature_can_drift(self) -> PlantedDrift:
        if self.feature not in NUMERIC_DRIFTS + CATEGORICAL_DRIFTS:
            raise ValueError(
                f"{self.feature!r} cannot drift; one of {', '.join(NUMERIC_DRIFTS + CATEGORICAL_DRIFTS)} can"
            )
        if self.feature in CATEGORICAL_DRIFTS and self.amount > 1:
            raise ValueError(f"the amount of a categorical drift is a share of the rows, at most 1; got {self.amount}")
        return self


class SchemaChange(_Fault):
    """From day `start` on, the files have other columns than the table says."""

    kind: Literal["add", "rename", "retype"] = Field(description="What happens to the column.")
    column: str = Field(description="The column, a new one for `add`.")
    to: str = Field(description="rename: the new name; add, retype: the Hive type.")
    start: datetime.date = Field(description="First day with the change.")

    @model_validator(mode="after")
    def _makes_sense(self) -> SchemaChange:
        if (self.column in COLUMNS) == (self.kind == "add"):
            rule = "is a column already" if self.kind == "add" else f"is no column; there are {', '.join(COLUMNS)}"
            raise ValueError(f"cannot {self.kind} {self.column!r}: it {rule}")
        if self.kind == "rename" and self.to in COLUMNS:
            raise ValueError(f"cannot rename {self.column!r} to {self.to!r}: that is a column already")
        if self.kind == "add" and self.to not in ("string", "int", "double"):
            raise ValueError(f"an added column is string, int or double; got {self.to!r}")
        if self.kind == "retype":
            self._check_retype()
        return self

    def _check_retype(self) -> None:
        old = COLUMNS[self.column]
        allowed = {"int": ("bigint", "double", "string"), "bigint": ("double", "string"), "double": ("string",)}
        if self.to not in allowed.get(old, ()):
            choice = ", ".join(allowed.get(old, ())) or "nothing else"
            raise ValueError(f"{self.column!r} is {old} and can turn into {choice}; got {self.to!r}")


class LogFault(_Fault):
    """From day `start` on, the log is written wrongly; the clicks were made before, from the true values."""

    kind: Literal["unit", "swap", "dead", "truncate", "flood", "leak", "bots", "clicks_lost", "volume", "clock"] = (
        Field(description="What goes wrong; `column` and `amount` say where and how much.")
    )
    column: str = Field(
        description="The column; two with a plus for swap; the hour (00 to 23) for clicks_lost; user_id for bots; rows "
        "for volume; request_time for clock."
    )
    start: datetime.date = Field(description="First day; the only one for clicks_lost.")
    amount: float = Field(
        description="unit: factor; swap, dead (an empty string or 0), flood (new values), leak (the value says whether "
        "it was clicked), bots (three users, no clicks), clicks_lost: share of the rows; truncate: number of values "
        "that stay, the others are NULL; volume: factor; clock: hours."
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> LogFault:
        allowed = _FAULTY_COLUMNS[self.kind]
        if not set(self.columns) <= set(allowed) or len(self.columns) != (2 if self.kind == "swap" else 1):
            raise ValueError(f"{self.kind} is possible for {', '.join(allowed)}; got {self.column!r}")
        is_share = self.kind in ("swap", "dead", "flood", "leak", "bots", "clicks_lost")
        if self.kind != "clock" and not 0 < self.amount <= (1 if is_share else 1e9):
            raise ValueError(
                f"the amount of {self.kind} is above 0{' and at most 1' if is_share else ''}; got {self.amount:g}"
            )
        if self.kind == "swap" and len({COLUMNS[column] for column in self.columns}) > 1:
            raise ValueError(f"swap needs two columns of one type; got {self.column!r}")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.column.split("+"))


_WORDS = ("age_band", "gender", "city", "category", "brand", "device")
_FAULTY_COLUMNS = {
    "unit": NUMERIC_DRIFTS,
    "swap": (*_WORDS, "member_level", "position"),
    "dead": (*_WORDS, "member_level", "position"),
    "truncate": _WORDS,
    "flood": _WORDS,
    "leak": (*_WORDS, "member_level", "position"),
    "bots": ("user_id",),
    "clicks_lost": tuple(f"{hour:02}" for hour in range(24)),
    "volume": ("rows",),
    "clock": ("request_time",),
}


class ClickLogOptions(Options):
    """A generated click log. Days and hours are UTC. The same options give the same bytes."""

    start_date: datetime.date = Field(datetime.date(2026, 11, 9), description="First day.")
    days: PositiveInt = Field(7, description="Number of days. A log can be extended by later days.")
    rows_per_day: Annotated[int, Field(ge=24)] = Field(
        30_000, description="Mean over a week, which has exactly seven times as many; quieter on Mondays."
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(1, description="Another seed, another shop.")
    format: Literal["text", "parquet", "orc"] = Field("parquet", description="As Hive writes it.")
    hours: bool = Field(True, description="Hourly partitions below the daily ones; else `hour` is a column.")
    num_users: Annotated[int, Field(ge=10)] = Field(20_000, description="Known users; every day brings new ones.")
    num_items: Annotated[int, Field(ge=100)] = Field(2_000, description="Known items; every day brings new ones.")
    click_rate: Annotated[float, Field(gt=0.001, lt=0.5)] = Field(0.09, description="Mean, about.")
    signal: Annotated[float, Field(ge=0, le=3)] = Field(
        1.0, description="Multiplies all effects on the click; 0 makes it a matter of pure luck."
    )
    drift: tuple[PlantedDrift, ...] = Field((), description="`FEATURE:DAY:AMOUNT` each.")
    faults: tuple[LogFault, ...] = Field(
        (), description="`KIND:COLUMN:DAY:AMOUNT` each: what a broken writer does to the log."
    )
    missing_hours: tuple[str, ...] = Field((), description="Partitions left out: `2026-11-12/07`, or `2026-11-12`.")
    late_partitions: tuple[str, ...] = Field(
        (), description="Partitions with the first half of their rows only and without _SUCCESS; written as above."
    )
    corrupt_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="Share of unreadable rows, text only: wrong number of columns, bad UTF-8, no number."
    )
    schema_changes: tuple[SchemaChange, ...] = Field((), description="`KIND:COLUMN:TO:DAY` each.")

    @property
    def dates(self) -> tuple[datetime.date, ...]:
        return tuple(self.start_date + datetime.timedelta(days=number) for number in range(self.days))

    @field_validator("missing_hours", "late_partitions")
    @classmethod
    def _are_partitions(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            match = PARTITION_PATTERN.fullmatch(name)
            if not match or (match[2] and int(match[2]) > 23):
                raise ValueError(f"a partition is written 2026-11-12/07 (or 2026-11-12 for a whole day); got {name!r}")
            datetime.date.fromisoformat(match[1])
        return names

    @model_validator(mode="after")
    def _fits_together(self) -> ClickLogOptions:
        self._check_partitions()
        if self.corrupt_share and self.format != "text":
            raise ValueError(f"corrupt_share needs `format: text`; {self.format} files cannot hold an unreadable row")
        self._check_schema_changes()
        return self

    def _check_schema_changes(self) -> None:
        for change in self.schema_changes if self.format == "text" else ():
            if change.kind == "rename":
                raise ValueError("schema_changes: text files have no column names, so a rename cannot be seen in them")
            if change.kind == "retype" and change.to in ("string", "bigint"):
                raise ValueError(f"schema_changes: text is the same with {change.column!r} as {change.to}; use double")
        changed = [change.column for change in self.schema_changes]
        if len(set(changed)) < len(changed):
            raise ValueError(f"schema_changes: one change for each column; got {', '.join(changed)}")

    def _check_partitions(self) -> None:
        days = {day.isoformat() for day in self.dates}
        for name in self.missing_hours + self.late_partitions:
            if name[:10] not in days:
                raise ValueError(f"{name} is not among the days {min(days)} to {max(days)}")
            if len(name) > 10 and not self.hours:
                raise ValueError(f"{name} is an hour, but there are no hourly partitions; write {name[:10]}")
        both = set(self.missing_hours) & set(self.late_partitions)
        if both:
            raise ValueError(f"{min(both)} cannot be missing and late at once")


def click_log_options(**values: Any) -> ClickLogOptions:
    """`ClickLogOptions(**values)`, with every mistake as a ConfigError that names the option."""
    try:
        return ClickLogOptions(**values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] != "value_error":
            message += f"; got {first['input']!r}"
        raise ConfigError(
            f"click log{f', option {place}' if place else ''}: {message}",
            hint="`hivemill data generate --help` lists the options.",
        ) from error
