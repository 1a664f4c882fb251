"""`manifest.json` as a typed document: what was read, and what became of the rows."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hivemill.pipeline.documents.base import Document


class PartitionFile(Document):
    path: str = ""
    bytes: int | None = None


class Partition(Document):
    split: str
    partition: str
    files: tuple[PartitionFile, ...] = ()
    rows: int | None = None
    bytes: int | None = None


class Awaited(Document):
    partition: str
    was: str = ""
    waited_seconds: float | None = None


class LatenessEntry(Document):
    """How an incomplete window came to be read."""

    policy: str = ""
    since_utc: str | None = None
    waited_seconds: float | None = None
    awaited: tuple[Awaited, ...] = ()


class Sampling(Document):
    negatives: float
    key: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()


class ClickDay(Document):
    """A day of the table of clicks; `without_impression` is None where the impressions around it are not all read."""

    day: str
    rows: int
    distinct: int | None = None
    without_key: int = 0
    without_time: int = 0
    outside_day: int = 0
    bad_rows: dict[str, int] = Field({})
    without_impression: int | None = None


class LabelJoin(Document):
    keys: tuple[str, ...] = ()
    within: str = ""
    take: str = ""
    clicks: tuple[ClickDay, ...] = ()


class Manifest(Document):
    """`manifest.json`: what was read."""

    date: str | None = None
    table: str | None = None
    window: dict[str, tuple[str, ...]] = Field({})
    partitions: tuple[Partition, ...] = ()
    missing: tuple[Any, ...] = ()
    late: tuple[Any, ...] = ()
    empty: tuple[Any, ...] = ()
    small: tuple[Any, ...] = ()
    rows_read: dict[str, int] = Field({})
    bad_rows: dict[str, dict[str, int]] = Field({})
    row_notes: dict[str, dict[str, int]] = Field({})
    row_steps: dict[str, dict[str, int]] = Field({})
    sampling: Sampling | None = None
    label_join: LabelJoin | None = None
    lateness: LatenessEntry | None = None
    notes: tuple[str, ...] = ()
    num_rows: dict[str, int] = Field({})
    fingerprint: str | None = None
