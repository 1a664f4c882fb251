"""Rows that cannot be read: counted by cause, kept aside with file and position, and refused above a share.

A reader calls `BadRows.add` and leaves the row out. What makes a whole file untrustworthy (a truncated archive, a file
that changes while it is read) is no bad row but a DataNotReadyError.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Literal

from components.hive_example_gen.options import BadRowOptions

Cause = Literal["encoding", "column_count", "value", "structure"]
"""encoding: bytes that are not UTF-8; column_count: too few or too many columns; value: text that is not of the
column's type; structure: a line that is no JSON, CSV row or match of the regex, or a broken record of a binary file."""

KEPT_PER_PARTITION = 10_000
"""So many are written down one by one; all of them are counted."""
EXCERPT_BYTES = 4096


@dataclass(frozen=True)
class BadRow:
    """`row` counts from 1 in its file; `raw` is at most EXCERPT_BYTES of it, undecodable bytes as \\xNN."""

    file: str
    row: int
    cause: Cause
    message: str
    column: str | None
    raw: str

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    def __str__(self) -> str:
        place = f"{self.file}: row {self.row}" + (f", column {self.column!r}" if self.column else "")
        return f"{place}: {self.message}"


@dataclass
class BadRows:
    """The bad rows of one partition, as its files are read.

    Attributes:
        counts: rows left out, by cause.
        notes: rows that were read as Hive reads them although something was wrong with them (`short_row`, `long_row`,
            `value_as_null`), by what it was.
        kept: the first KEPT_PER_PARTITION rows left out.
    """

    options: BadRowOptions = field(default_factory=BadRowOptions)
    counts: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    kept: list[BadRow] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def add(
        self, file: str, row: int, cause: Cause, message: str, raw: bytes | str, *, column: str | None = None
    ) -> None:
        """Counts a row that is left out; `file` is the DataFile's name, `row` counts from 1."""
        self.counts[cause] = self.counts.get(cause, 0) + 1
        if len(self.kept) < KEPT_PER_PARTITION:
            text = raw[:EXCERPT_BYTES]
            shown = text if isinstance(text, str) else text.decode("utf-8", "backslashreplace")
            self.kept.append(BadRow(file, row, cause, message, column, shown))

    def note(self, what: str, rows: int = 1) -> None:
        if rows:
            self.notes[what] = self.notes.get(what, 0) + rows
