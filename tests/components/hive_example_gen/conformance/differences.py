"""Where Hivemill reads other values than Spark 4.0 with the SerDes of Hive 2.3, each with its reason.

Hive's own behaviour wins, that of Hive 3.1 and later where versions differ. What is not listed here must be equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """`hive` gives Hive's rows from Spark's; it fails where Spark's value is no longer another one."""

    why: str
    hive: Callable[[list[dict]], list[dict]]


def cells(why: str, column: str, values: dict[int, object]) -> Difference:
    """Other values of one column, by row."""

    def hive(rows: list[dict]) -> list[dict]:
        changed = [dict(row) for row in rows]
        for index, value in values.items():
            assert changed[index][column] != value, f"row {index}, {column}: Spark reads {value!r} too"
            changed[index][column] = value
        return changed

    return Difference(why, hive)


def as_null(why: str, column: str, value: str) -> Difference:
    """NULL wherever Spark reads `value`."""

    def hive(rows: list[dict]) -> list[dict]:
        assert any(row[column] == value for row in rows), f"{column}: Spark reads {value!r} nowhere"
        return [{**row, column: None} if row[column] == value else row for row in rows]

    return Difference(why, hive)


def without(why: str, *left_out: int) -> Difference:
    """Rows that Hivemill sets aside as bad."""

    def hive(rows: list[dict]) -> list[dict]:
        assert len(rows) > max(left_out)
        return [row for index, row in enumerate(rows) if index not in left_out]

    return Difference(why, hive)


def stripped(rows: list[dict], columns: set[str]) -> list[dict]:
    """CHAR(n) of every table: Spark pads to n when it writes; to Hive that is no part of the value (HiveChar)."""
    return [
        {name: value.rstrip(" ") if name in columns and value is not None else value for name, value in row.items()}
        for row in rows
    ]


_BLANKS = "Hive 3 ignores blanks around decimals, dates and timestamps; Hive 2.3 reads NULL"
_TINY = "Hive 3 reads a decimal below its smallest step as 0; Hive 2.3 as NULL"
_CALENDAR = "Hive 3.1 reads NULL for what is no time of day; Hive 2.3 counts on: 25:00 is 1:00 of the next day"
_NO_DAY = "Hive 4 reads NULL for a day that the calendar lacks; older versions count on: February 30 is March 2"
_SHORT = "Hive 3.1 and later read a day alone as its midnight, and a T before the time; Hive 2.3 reads NULL"
_HEADERS = "Hive leaves out skip.header.line.count and skip.footer.line.count lines of each file; Spark ignores both"
_QUOTE = "A quote that is never closed: Hive reads NULL for the rest of the row; Hivemill sets the row aside"
_DEFAULT_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_NO_VALUE = (
    "The default partition holds the rows whose value was NULL or empty: NULL here, for every format and type. Hive "
    "(and Spark through Hive's SerDes) shows the folder's name for string columns"
)
_ENCODING = "Bytes that are not UTF-8: Hive shows replacement characters; Hivemill sets the row aside"

DIFFERENCES: dict[str, list[Difference]] = {
    "odd_numbers": [
        cells(_BLANKS, "price", {1: "1.00", 2: "1.00", 53: "1.00"}),
        cells(_BLANKS, "exact", {row: "1.000000000000000000" for row in (1, 2, 53)}),
        cells(_TINY, "price", {42: "0.00"}),
        cells(_TINY, "exact", {42: "0E-18"}),
    ],
    "odd_numbers_nested": [
        cells(_BLANKS, "price", {row: ["1.00", "1.00", "2.00"] for row in (1, 2, 53)}),
        cells(_TINY, "price", {42: ["1.00", "0.00", "2.00"]}),
    ],
    "odd_dates": [cells(_BLANKS, "day", {3: "2026-01-02", 4: "2026-01-02"}), cells(_NO_DAY, "day", {17: None})],
    **{f"places_{kind}": [as_null(_NO_VALUE, "place", _DEFAULT_PARTITION)] for kind in ("text", "avro")},
    **{f"hours_{kind}": [as_null(_NO_VALUE, "hour", _DEFAULT_PARTITION)] for kind in ("text", "avro")},
    "odd_timestamps": [
        cells(_CALENDAR, "at", {13: None}),
        cells(_NO_DAY, "at", {18: None}),
        cells(_SHORT, "at", {19: "2026-01-02 00:00:00", 20: "2026-01-02 03:04:05"}),
    ],
    "not_utf8": [without(_ENCODING, 1, 2)],
    "headers": [without(_HEADERS, 0, 1, 4, 5, 6, 8)],
    "csv": [without(_QUOTE, 11)],
    "csv_sequence": [without(_QUOTE, 3)],
    "csv_written": [without(_QUOTE, 3, 4, 5)],
}
