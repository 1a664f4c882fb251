"""Guesses `source.path_format` from the folder names of a table whose day is no single key."""

from __future__ import annotations

from collections.abc import Sequence

from hivemill.components.hive_example_gen.catalog.partition_names import DEFAULT_PARTITION
from hivemill.components.hive_example_gen.table.path_format import level_patterns

_NAMES = {
    "%Y": ("year", "yyyy", "yr", "y"),
    "%m": ("month", "mm", "mon"),
    "%d": ("day", "dd", "d", "dayofmonth"),
    "%H": ("hour", "hh", "hr", "h"),
}
_KEYS = (
    "%Y%m%d%H",
    "%Y%m%d%H%M",
    "%Y-%m-%d-%H",
    "%Y-%m-%d-%H-%M",
    "%Y-%m-%d_%H",
    "%Y-%m-%d",
    "%Y%m%d",
)
_UNNAMED = ("%Y", "%m", "%d", "%H")


def guess(levels: Sequence[Sequence[str]]) -> str | None:
    """The format that all folder names fit, None where none does. `levels` from the table's folder down."""
    candidates = ["/".join(parts) for parts in (_by_name(levels), _by_place(levels)) if parts]
    candidates += [_key(levels[0], key) for key in _KEYS if len(levels) == 1]
    return next((each for each in candidates if _fits(each, levels)), None)


def _by_name(levels: Sequence[Sequence[str]]) -> list[str] | None:
    """`year=%Y/month=%m/…` where each level is named after a part of the date."""
    found = []
    for names in levels:
        column = names[-1].partition("=")[0]
        part = next((part for part, words in _NAMES.items() if column.lower() in words), None)
        if part is None:
            return None
        found.append(f"{column}={part}")
    return found


def _by_place(levels: Sequence[Sequence[str]]) -> list[str]:
    """`%Y/%m/%d/%H`, as Firehose and Kafka Connect write it."""
    return list(_UNNAMED[: len(levels)])


def _key(names: Sequence[str], key: str) -> str:
    column, equals, _ = names[-1].rpartition("=")
    return f"{column}{equals}{key}"


def _fits(path_format: str, levels: Sequence[Sequence[str]]) -> bool:
    try:
        patterns = level_patterns(path_format)
    except ValueError:
        return False
    if len(patterns) != len(levels):
        return False
    return all(
        pattern.fullmatch(name)
        for pattern, names in zip(patterns, levels, strict=True)
        for name in names
        if not name.endswith(f"={DEFAULT_PARTITION}")
    )
