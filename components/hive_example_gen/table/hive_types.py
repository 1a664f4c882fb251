"""Hive's type strings (`array<struct<a:int>>`, `decimal(10,2)`) as Arrow types.

Source: Apache Hive language manual, "Hive Data Types". Types compare by what Hive reads, so `varchar(n)` and `char(n)`
are Arrow strings here; `text_length` gives their n back to the readers that have to cut.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from hivemill.common.errors import ConfigError

_PRIMITIVES: dict[str, pa.DataType] = {
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}
_TOKEN = re.compile(r"\s*(`(?:[^`]|``)+`|[\w$]+|[<>(),:])")
_BOUNDED_TEXT = re.compile(r"\s*(varchar|char)\s*\(\s*(\d+)\s*\)\s*", re.IGNORECASE)
_MAX_DECIMAL_PRECISION = 38


@functools.lru_cache(maxsize=4096)
def parse_type(text: str) -> pa.DataType:
    """The Arrow type of a Hive type string.

    Raises:
        ConfigError: the text is no Hive type, or one that is not supported (uniontype, intervals, local time zones).
    """
    parser = _Parser(text)
    parsed = parser.type()
    parser.end()
    return parsed


def text_length(text: str) -> tuple[str, int] | None:
    """("varchar", n) or ("char", n) for a bounded text type, None for any other type."""
    match = _BOUNDED_TEXT.fullmatch(text)
    return (match[1].lower(), int(match[2])) if match else None


@dataclass(frozen=True)
class TextBounds:
    """The varchar and char lengths in a type: its own (`kind` and `length`), or those of its parts, in order."""

    kind: str = ""
    length: int = 0
    parts: tuple[TextBounds | None, ...] = ()

    def child(self, index: int) -> TextBounds | None:
        return self.parts[index]

    def cut(self, text: pa.StringArray) -> pa.StringArray:
        """At most `length` characters; the padding of a char is no part of its value."""
        cut = pc.utf8_slice_codeunits(text, 0, self.length)
        return pc.utf8_rtrim(cut, " ") if self.kind == "char" else cut


def text_bounds(text: str) -> TextBounds | None:
    """The lengths of varchar and char anywhere in a Hive type string, None where there is none. Raises ConfigError."""
    return _BoundsParser(text).bounds()


def name_of(data_type: pa.DataType) -> str:
    """The Hive name of an Arrow type, for messages; Arrow's own where Hive has none."""
    if pa.types.is_list(data_type) or pa.types.is_large_list(data_type):
        return f"array<{name_of(data_type.value_type)}>"
    if pa.types.is_map(data_type):
        return f"map<{name_of(data_type.key_type)},{name_of(data_type.item_type)}>"
    if pa.types.is_struct(data_type):
        return "struct<" + ",".join(f"{field.name}:{name_of(field.type)}" for field in data_type) + ">"
    if pa.types.is_decimal(data_type):
        return f"decimal({data_type.precision},{data_type.scale})"
    if pa.types.is_timestamp(data_type):
        return "timestamp"
    return next((name for name, known in _PRIMITIVES.items() if known == data_type), str(data_type))


class _Parser:
    """Recursive descent over the tokens of one type string."""

    def __init__(self, text: str):
        self.text = text
        self.tokens = self._tokens(text)
        self.place = 0

    def _tokens(self, text: str) -> list[str]:
        tokens, place = [], 0
        stripped = text.rstrip()
        while place < len(stripped):
            match = _TOKEN.match(stripped, place)
            if match is None:
                raise self._error(f"unexpected {stripped[place:].strip()[:1]!r}")
            tokens.append(match[1])
            place = match.end()
        return tokens

    def type(self) -> pa.DataType:
        word = self.next("a type").lower()
        if word == "array":
            return pa.list_(self.bracketed(self.type))
        if word == "map":
            return self.bracketed(self.map)
        if word == "struct":
            return self.bracketed(self.struct)
        if word in ("varchar", "char"):
            self.numbers(1)
            return pa.string()
        if word in ("decimal", "dec", "numeric"):
            return self.decimal()
        if word == "double" and self.peek().lower() == "precision":
            self.next("precision")
        if word == "timestamp" and self.peek():
            self.no_time_zone()
        if word not in _PRIMITIVES:
            raise self._error(f"{word!r} is no supported type")
        return _PRIMITIVES[word]

    def bracketed(self, inner: Callable[[], pa.DataType]) -> pa.DataType:
        self.expect("<")
        result = inner()
        self.expect(">")
        return result

    def map(self) -> pa.DataType:
        key = self.type()
        if pa.types.is_nested(key):
            raise self._error("the key of a map must be a primitive type")
        self.expect(",")
        return pa.map_(key, self.type())

    def struct(self) -> pa.DataType:
        fields: list[pa.Field] = []
        while True:
            name = self.next("a field name").strip("`").lower()
            self.expect(":")
            fields.append(pa.field(name, self.type()))
            if self.peek() != ",":
                break
            self.next(",")
        if len({field.name for field in fields}) < len(fields):
            raise self._error("a struct names a field twice")
        return pa.struct(fields)

    def decimal(self) -> pa.DataType:
        numbers = self.numbers(2) if self.peek() == "(" else [10]  # decimal alone is decimal(10,0) in Hive
        precision, scale = numbers[0], numbers[1] if len(numbers) > 1 else 0
        if not (1 <= precision <= _MAX_DECIMAL_PRECISION and 0 <= scale <= precision):
            raise self._error(f"decimal({precision},{scale}) breaks 1 <= precision <= 38, 0 <= scale <= precision")
        return pa.decimal128(precision, scale)

    def numbers(self, at_most: int) -> list[int]:
        self.expect("(")
        numbers = [self.number()]
        while self.peek() == "," and len(numbers) < at_most:
            self.next(",")
            numbers.append(self.number())
        self.expect(")")
        return numbers

    def number(self) -> int:
        word = self.next("a number")
        if not word.isdecimal():
            raise self._error(f"expected a number, found {word!r}")
        return int(word)

    def no_time_zone(self) -> None:
        if self.peek().lower() == "with":
            raise self._error("timestamps with a local time zone are not supported")

    def peek(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def next(self, wanted: str) -> str:
        if self.place == len(self.tokens):
            raise self._error(f"expected {wanted} at its end")
        self.place += 1
        return self.tokens[self.place - 1]

    def expect(self, token: str) -> None:
        found = self.next(repr(token))
        if found != token:
            raise self._error(f"expected {token!r}, found {found!r}")

    def end(self) -> None:
        if self.place < len(self.tokens):
            raise self._error(f"unexpected {self.peek()!r}")

    def _error(self, what: str) -> ConfigError:
        return ConfigError(
            f"Hive type {self.text!r}: {what}",
            hint="Types: tinyint smallint int bigint float double decimal(p,s) boolean string varchar(n) char(n) "
            "binary date timestamp array<T> map<K,V> struct<name:T,...>.",
        )


class _BoundsParser(_Parser):
    """The same walk, for lengths."""

    def bounds(self) -> TextBounds | None:
        word = self.peek().lower()
        if word in ("varchar", "char"):
            self.next("a type")
            return TextBounds(word, self.numbers(1)[0])
        if word in ("array", "map", "struct"):
            self.next("a type")
            parts = self.bracketed(lambda: self.parts(named=word == "struct"))
            return TextBounds(parts=parts) if any(parts) else None
        self.type()
        return None

    def parts(self, named: bool) -> tuple[TextBounds | None, ...]:
        parts: list[TextBounds | None] = []
        while not parts or self.peek() == ",":
            if parts:
                self.next(",")
            if named:
                self.next("a field name")
                self.expect(":")
            parts.append(self.bounds())
        return tuple(parts)
