"""How Hive names partitions: `dt=2026-11-15/place=a%3Ab`. Source: Hive's FileUtils and Warehouse.makePartName."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping

from hivemill.common.errors import DataNotReadyError
from hivemill.components.hive_example_gen.options import SourceOptions

DEFAULT_PARTITION = "__HIVE_DEFAULT_PARTITION__"
# What Hive writes as %XX in a partition's folder name (FileUtils.charToEscape).
_ESCAPED = frozenset("\"#%'*/:=?\\\x7f{[]^") | frozenset(map(chr, range(1, 32)))

Values = tuple[tuple[str, str | None], ...]


def escape(value: str) -> str:
    return "".join(f"%{ord(letter):02X}" if letter in _ESCAPED else letter for letter in value)


def unescape(text: str) -> str:
    """Decodes %XX; a percent sign that starts no code stays, as in Hive (FileUtils.unescapePathName)."""
    return re.sub(r"%([0-9a-fA-F]{2})", lambda match: chr(int(match[1], 16)), text)


def date_text(source: SourceOptions, day: datetime.date) -> str:
    """`2026-11-15`: a day as the table's partitions say it."""
    return day.strftime(source.date_format)


def date_folder(source: SourceOptions, day: datetime.date) -> str:
    """`dt=2026-11-15`: the folder of a day as Hive names it."""
    return f"{source.date_column}={escape(date_text(source, day))}"


def value_of(folder: str) -> str | None:
    """The value in `dt=2026-11-15`, None for Hive's default partition."""
    value = folder.partition("=")[2]
    return None if value == DEFAULT_PARTITION else unescape(value)


def name_of(values: Mapping[str, str | None]) -> str:
    """`dt=2026-11-15/hour=07`, as Hive names a partition of these values."""
    return "/".join(f"{c}={DEFAULT_PARTITION if v is None else escape(v)}" for c, v in values.items())


def values_of(name: str, columns: tuple[str, ...]) -> Values:
    """The values in a partition's name, in its order. Raises DataNotReadyError where it has other columns."""
    parts = name.split("/")
    if [part.partition("=")[0].lower() for part in parts] != list(columns):
        raise DataNotReadyError(
            f"partition {name!r} does not have the partition columns of its table, {', '.join(columns)}",
            hint="Repair it in the metastore, or leave its day out of the window.",
        )
    return tuple((column, value_of(part)) for column, part in zip(columns, parts, strict=True))
