"""Rows that cannot be read: counted by cause, kept aside with file and position, and refused above a share.

A reader calls `BadRows.add` and leaves the row out. What makes a whole file untrustworthy (a truncated archive, a file
that changes while it is read) is no bad row but a DataNotReadyError.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from hivemill.common.amounts import share
from hivemill.common.errors import DataNotReadyError
from hivemill.components.hive_example_gen.options import BadRowOptions

Cause = Literal["encoding", "column_count", "value", "structure"]
"""encoding: bytes that are not UTF-8; column_count: too few or too many columns; value: text that is not of the
column's type; structure: a line that is no JSON, CSV row or match of the regex, or a broken record of a binary file."""

KEPT_PER_PARTITION = 100_000
"""So many are written down one by one; all of them are counted."""
KEPT_IN_MEMORY = 1_000
EXCERPT_BYTES = 4096
HOPELESS_ROWS, HOPELESS_SHARE = 10_000, 0.1
"""A partition with more bad rows than both is not read to its end: its columns or delimiters must be wrong."""
_NUM_QUOTED = 5
_QUOTED_LETTERS = 60


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

    @classmethod
    def from_json(cls, line: str) -> BadRow:
        """Raises ValueError, TypeError for a damaged line."""
        return cls(**json.loads(line))

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
        kept: the first KEPT_IN_MEMORY rows left out.
        keep: gets the first KEPT_PER_PARTITION rows left out, one by one.
        good_rows: rows of the partition that were read, counted by whoever takes the batches.
    """

    options: BadRowOptions = field(default_factory=BadRowOptions)
    counts: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    kept: list[BadRow] = field(default_factory=list)
    keep: Callable[[BadRow], None] | None = None
    good_rows: int = 0
    _rows_before: int = 0

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def start_file(self) -> None:
        """To be called before each file of a partition: row numbers begin anew."""
        self._rows_before = self.good_rows + self.total

    def add(
        self, file: str, row: int, cause: Cause, message: str, raw: bytes | str, *, column: str | None = None
    ) -> None:
        """Counts a row that is left out; `file` is the DataFile's name, `row` counts from 1.

        Raises DataNotReadyError where so many of the rows up to this one are bad that the rest is not worth reading.
        """
        self.counts[cause] = self.counts.get(cause, 0) + 1
        total = self.total
        if total <= KEPT_PER_PARTITION:
            text = raw[:EXCERPT_BYTES]
            shown = text if isinstance(text, str) else bytes(text).decode("utf-8", "backslashreplace")
            self._keep(BadRow(file, row, cause, message, column, shown))
        if total > HOPELESS_ROWS:
            self._check_hope(total, max(self._rows_before + row, total))

    def note(self, what: str, rows: int = 1) -> None:
        if rows:
            self.notes[what] = self.notes.get(what, 0) + rows

    def _keep(self, row: BadRow) -> None:
        if len(self.kept) < KEPT_IN_MEMORY:
            self.kept.append(row)
        if self.keep is not None:
            self.keep(row)

    def _check_hope(self, total: int, rows: int) -> None:
        if total > max(HOPELESS_SHARE, self.options.max_share) * rows:
            raise DataNotReadyError(
                f"{total:,} of the first {rows:,} rows ({share(total / rows)}) cannot be read, so that the rest is not "
                f"tried: {in_words(self.counts)}{quoted(self.kept)}",
                hint="Are these the table's columns, delimiters and SerDe? See source.ddl, source.columns and "
                "source.text. Or leave these days out of the window.",
            )


def in_words(counts: Mapping[str, int]) -> str:
    """`1,200 value, 34 encoding`, the most frequent first."""
    return ", ".join(f"{count:,} {cause}" for cause, count in sorted(counts.items(), key=lambda item: -item[1]))


def quoted(rows: Iterable[BadRow]) -> str:
    """The first few rows as the further lines of a message."""
    first = [row for row, _ in zip(rows, range(_NUM_QUOTED), strict=False)]
    return "".join(f"\n  {row}; the row begins {_shortened(row.raw)}" for row in first)


def added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of several counts, by name."""
    total: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return dict(sorted(total.items()))


def _shortened(raw: str) -> str:
    return repr(raw) if len(raw) <= _QUOTED_LETTERS else repr(raw[:_QUOTED_LETTERS]) + " …"
