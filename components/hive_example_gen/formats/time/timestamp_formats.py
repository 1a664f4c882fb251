"""`timestamp.formats` of a table: further ways in which its timestamps are written.

Formats are tried in their order, then Hive's own. They are turned into regular expressions that rewrite a value into
Hive's own form, a column at a time. Source: TimestampParser, java.time.format.DateTimeFormatter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.formats.arrays import null_where

_MILLIS = r"^[+-]?[0-9]{1,16}(\.[0-9]*)?$"
_ISO8601 = "yyyy-MM-dd'T'HH:mm:ss'Z'"
_ISO8601_FRACTIONS = r"^([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{1,9})Z$"
_FIELDS = {"y": "1970", "u": "1970", "M": "01", "d": "01", "H": "00", "m": "00", "s": "00", "S": ""}
_ORDER = ("y", "M", "d", "H", "m", "s", "S")
_BETWEEN = ("", "-", "-", " ", ":", ":", ".")


@dataclass(frozen=True)
class TimestampFormats:
    """`rewrites`: pairs of RE2 pattern and replacement; `millis`: a number is milliseconds since 1970."""

    rewrites: tuple[tuple[str, str], ...] = ()
    millis: bool = False

    @classmethod
    def of(cls, text: str | None) -> TimestampFormats:
        """From the property, formats separated by commas (a backslash keeps one). Raises ConfigError."""
        formats = [part.replace("\\,", ",").strip() for part in re.split(r"(?<!\\),", text or "")]
        rewrites: list[tuple[str, str]] = []
        for one in filter(None, formats):
            if one == "iso8601":
                rewrites += [_rewrite(_ISO8601), (_ISO8601_FRACTIONS, r"\1 \2")]
            elif one != "millis":
                rewrites.append(_rewrite(one))
        return cls(tuple(rewrites), "millis" in formats)

    def canonical(self, values: pa.BinaryArray) -> pa.BinaryArray:
        """Values of one of the formats in Hive's own form, others as they are."""
        result = values
        for pattern, replacement in reversed(self.rewrites):
            fits = pc.match_substring_regex(values, pattern)
            if pc.any(fits).as_py():
                written = pc.replace_substring_regex(values, pattern, replacement)
                result = pc.if_else(fits, written, result)
        return self._from_millis(values, result) if self.millis else result

    def _from_millis(self, values: pa.BinaryArray, result: pa.BinaryArray) -> pa.BinaryArray:
        numbers = pc.match_substring_regex(values, _MILLIS)
        if not pc.any(numbers).as_py():
            return result
        whole = pc.replace_substring_regex(values, r"^\+|\..*$", "")
        millis = null_where(whole, pc.invert(numbers)).cast(pa.int64())
        written = millis.cast(pa.timestamp("ms")).cast(pa.string()).cast(pa.binary())
        return pc.if_else(numbers, written, result)


def _rewrite(java: str) -> tuple[str, str]:
    pattern, groups, place = "", {}, 0
    for match in re.finditer(r"'((?:[^']|'')*)'|([A-Za-z])\2*|[^A-Za-z']|'", java):
        place = match.end()
        letter = match[2]
        if letter is None:
            literal = match[0] if match[1] is None else match[1].replace("''", "'") or "'"
            pattern += re.escape(literal)
        elif letter in _FIELDS and letter not in groups:
            groups["y" if letter == "u" else letter] = f"\\{len(groups) + 1}"
            pattern += _digits(letter, len(match[0]), java)
        else:
            raise _unsupported(java, match[0])
    if not groups or place != len(java):
        raise _unsupported(java, java)
    written = ""
    for letter, before in zip(_ORDER, _BETWEEN, strict=True):
        value = groups.get(letter, _FIELDS[letter])
        written += before + value if value else ""
    return f"^{pattern}$", written


def _digits(letter: str, count: int, java: str) -> str:
    if count not in {"y": (1, 4), "u": (1, 4), "S": range(1, 10)}.get(letter, (1, 2)):
        raise _unsupported(java, letter * count)
    if letter in "yu":
        return "([0-9]{4})"
    return f"([0-9]{{{count}}})" if count > 1 or letter == "S" else "([0-9]{1,2})"


def _unsupported(java: str, what: str) -> ConfigError:
    return ConfigError(
        f"timestamp.formats: {what!r} of {java!r} is not supported",
        hint="Supported are millis, iso8601, and y M d H m s S with literal text between them; declare the column as "
        "string otherwise.",
    )
