"""Hive's properties of text SerDes as TextOptions. Source: LazySerDeParameters, LazyUtils.getByte."""

from __future__ import annotations

from collections.abc import Mapping

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.options import TextOptions
from hivemill.components.hive_example_gen.table.serdes import Serde

NULL_FORMAT = "serialization.null.format"
# In Hive's order of preference; `colelction.delim` is Hive's own spelling, the other that of newer versions.
_PROPERTIES = {
    "field_delimiter": ("field.delim", "serialization.format"),
    "collection_delimiter": ("colelction.delim", "collection.delim"),
    "map_key_delimiter": ("mapkey.delim",),
    "escape_char": ("escape.delim",),
}
_OF_MULTI_DELIMIT = {
    "collection_delimiter": ("collection.delim",),
    "map_key_delimiter": ("mapkey.delim",),
    "escape_char": ("escape.delim",),
}
# Of org.openx.data.jsonserde.JsonSerDe, whose class has the name of Hive's: they rename keys.
_OPENX = ("mapping.", "dots.in.keys", "case.insensitive")


def text_options(text: TextOptions, properties: Mapping[str, str], serde: Serde | None = None) -> TextOptions:
    """The options by which LazySimpleSerDe reads; what the config says itself (`text`) goes before the properties.

    MultiDelimitSerDe reads its field.delim itself, and knows `collection.delim` in the right spelling only.

    Raises ConfigError for a delimiter of more than one byte.
    """
    named = {}
    for option, keys in (_PROPERTIES if serde != "multi_delimit" else _OF_MULTI_DELIMIT).items():
        key = next((key for key in keys if properties.get(key)), None)
        if key is not None:
            named[option] = delimiter_of(key, properties[key])
    if NULL_FORMAT in properties:
        named["null_text"] = properties[NULL_FORMAT]
    given = text.model_dump(include=text.model_fields_set)
    options = TextOptions(**{**named, **given})
    _check(options)
    return options


def delimiter_of(what: str, value: str) -> str:
    """A delimiter as Hive reads it: a decimal number from -128 to 127 is the byte's code. Raises ConfigError."""
    digits = value[1:] if value[:1] in ("-", "+") else value
    if digits.isascii() and digits.isdecimal() and -128 <= int(value) < 128:
        return chr(int(value) & 0xFF)
    if len(value) != 1 or ord(value) > 0xFF:
        raise ConfigError(
            f"{what}: a delimiter must be one byte, found {value!r}",
            hint="Hive would use the first alone; MultiDelimitSerDe takes several (source.serde: multi_delimit).",
        )
    return value


def check_json(serde: Serde | None, properties: Mapping[str, str]) -> None:
    """Raises ConfigError for properties of another JSON SerDe, which would give other columns than Hive's."""
    for key in properties if serde == "json" else ():
        if key.lower().startswith(_OPENX) and (key.lower(), properties[key].lower()) not in (
            ("dots.in.keys", "false"),
            ("case.insensitive", "true"),
        ):
            raise ConfigError(
                f"property {key!r} of org.openx.data.jsonserde.JsonSerDe is not supported",
                hint="Rows are read as by Hive's own JsonSerDe: keys are column names, in any case.",
            )


def _check(options: TextOptions) -> None:
    delimiters = options.model_dump(include=set(_PROPERTIES), exclude_none=True)
    for name, delimiter in delimiters.items():
        if ord(delimiter) > 0xFF or delimiter in "\n\r":
            raise ConfigError(f"source.text.{name} must be one byte, and no line end, found {delimiter!r}")
