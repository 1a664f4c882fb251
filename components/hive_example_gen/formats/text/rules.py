"""The delimiters, escapes and formats of a table with a text SerDe, from its options and SerDe properties.

Source: LazySerDeParameters (collectSeparators), AbstractEncodingAwareSerDe.
"""

from __future__ import annotations

import codecs

import numpy as np

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.formats.text import escapes
from hivemill.components.hive_example_gen.formats.text.values import TextRules, levels_of
from hivemill.components.hive_example_gen.formats.time.timestamp_formats import TimestampFormats
from hivemill.components.hive_example_gen.table.hive_types import parse_type
from hivemill.components.hive_example_gen.table.spec import TableSpec

# After the three that a table can choose; those that text is likely to hold are left out (Hive's own list).
_FURTHER = tuple(bytes([code]) for code in (*range(4, 9), 11, *range(14, 27), *range(28, 32), *range(128, 256)))
_LEVELS = 8
_EXTENDED_LEVELS = 24
ENCODING = "serialization.encoding"


def rules_of(spec: TableSpec) -> TextRules:
    """Raises ConfigError: types nested deeper than there are delimiters, or properties that cannot be honoured."""
    text, properties = spec.text, spec.serde_properties
    chosen = (text.field_delimiter, text.collection_delimiter, text.map_key_delimiter)
    levels = (*(bytes([ord(delimiter)]) for delimiter in chosen), *_FURTHER)[: _num_levels(properties)]
    _check_depth(spec, len(levels))
    escape = ord(text.escape_char) if text.escape_char is not None else None
    null = text.null_text.encode()
    if escape is not None:
        _check_escape(escape, levels[:3])
        null = escapes.marked(np.frombuffer(null, np.uint8), escape).tobytes()
    return TextRules(
        levels=levels,
        null=null,
        escape=escape,
        takes_rest=properties.get("serialization.last.column.takes.rest", "").lower() == "true",
        timestamps=TimestampFormats.of(properties.get("timestamp.formats")),
    )


def encoding_of(spec: TableSpec) -> str | None:
    """Python's codec for `serialization.encoding`; None for UTF-8. Raises ConfigError."""
    name = spec.serde_properties.get(ENCODING)
    if not name:
        return None
    try:
        codec = codecs.lookup(name).name
        splits_at_line_feed = "\n".encode(codec) == b"\n" and "A".encode(codec) == b"A"
    except (LookupError, UnicodeError):
        splits_at_line_feed, codec = False, ""
    if not splits_at_line_feed:
        raise ConfigError(
            f"{ENCODING} {name!r} is not supported",
            hint="Supported are encodings that contain ASCII: UTF-8, ISO-8859-1, windows-1252, GBK, Big5, Shift_JIS, "
            "EUC-KR, ... Hive splits rows at the byte 10, so UTF-16 does not work there either.",
        )
    return None if codec in ("utf-8", "ascii") else codec


def _num_levels(properties: dict[str, str]) -> int:
    if properties.get("hive.serialization.extend.additional.nesting.levels", "").lower() == "true":
        return 3 + len(_FURTHER)
    extended = properties.get("hive.serialization.extend.nesting.levels", "").lower() == "true"
    return _EXTENDED_LEVELS if extended else _LEVELS


def _check_depth(spec: TableSpec, levels: int) -> None:
    for name, hive_type in (spec.layout or {}).items():
        needed = 1 + levels_of(parse_type(hive_type))
        if needed > levels:
            raise ConfigError(
                f"column {name!r} is nested so deep that {needed} delimiters are needed; the table has {levels}",
                hint="Hive reads up to 8, 24 with hive.serialization.extend.nesting.levels = true.",
            )


def _check_escape(escape: int, delimiters: tuple[bytes, ...]) -> None:
    if escape >= 0x80 or any(delimiter[0] >= 0x80 for delimiter in delimiters[1:]):
        raise ConfigError(
            "ESCAPED BY is supported with ASCII characters only, for itself and for the delimiters inside of columns"
        )
    if bytes([escape]) in delimiters or escape in (10, 13):
        raise ConfigError(f"ESCAPED BY {chr(escape)!r} is also a delimiter")
