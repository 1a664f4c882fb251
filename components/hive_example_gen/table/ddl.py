"""Reads `CREATE TABLE … PARTITIONED BY … ROW FORMAT … STORED AS …`: columns, delimiters and format of a Hive table.

Only what decides how files are read is kept; what cannot be honoured (other SerDes, storage handlers) is refused,
because reading on would give wrong rows. Source: Apache Hive language manual, DDL.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hivemill.common.errors import ConfigError
from hivemill.common.storage import object_store
from hivemill.components.hive_example_gen.table.definition import TableDefinition
from hivemill.components.hive_example_gen.table.hive_types import parse_type
from hivemill.components.hive_example_gen.table.serdes import (
    FORMATS_BY_INPUT_CLASS,
    FORMATS_BY_KEYWORD,
    SERDES_BY_CLASS,
    simple_name,
)
from hivemill.components.hive_example_gen.table.text_properties import delimiter_of

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
      | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<quoted>`(?:[^`]|``)+`)
      | (?P<word>[\w$]+)
      | (?P<mark>[^\w\s])""",
    re.VERBOSE | re.DOTALL,
)
_DELIMITERS = {
    "fields": "field.delim",
    "collection": "colelction.delim",  # as Hive's own DDL spells it
    "map": "mapkey.delim",
    "escaped": "escape.delim",
}
_Known = TypeVar("_Known")


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


def read_ddl(path: str | Path) -> TableDefinition:
    """The one CREATE TABLE of a .hql file, which may be at a URL. Raises ConfigError naming file and line."""
    try:
        text = object_store.file_bytes(path).decode("utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"source.ddl: cannot read {path}: {error}",
            hint="It must be a UTF-8 file with the output of SHOW CREATE TABLE.",
        ) from error
    return parse_ddl(text, str(path))


def parse_ddl(text: str, name: str = "DDL") -> TableDefinition:
    """The one CREATE TABLE of `text`; other statements are skipped. Raises ConfigError naming `name` and line."""
    creations = [s for s in _statements(_tokens(text, name)) if _creates_table(s)]
    if len(creations) != 1:
        raise ConfigError(
            f"{name} holds {len(creations)} CREATE TABLE statements; source.ddl needs exactly one",
            hint="Write the output of SHOW CREATE TABLE into a file of its own.",
        )
    return _Parser(creations[0], name).create_table()


def _tokens(text: str, name: str) -> list[_Token]:
    tokens, line = [], 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind == "mark" and match[0] in "'\"`":
            raise ConfigError(f"{name}, line {line}: a quote {match[0]} is never closed")
        if kind != "space":
            tokens.append(_Token(kind, match[0], line))
        line += match[0].count("\n")
    return tokens


def _statements(tokens: list[_Token]) -> list[list[_Token]]:
    statements: list[list[_Token]] = [[]]
    for token in tokens:
        if token.text == ";":
            statements.append([])
        else:
            statements[-1].append(token)
    return [statement for statement in statements if statement]


def _creates_table(statement: list[_Token]) -> bool:
    words = [token.text.lower() for token in statement[:4]]
    return words[0] == "create" and "table" in words


class _Parser:
    def __init__(self, tokens: list[_Token], name: str):
        self.tokens = tokens
        self.name = name
        self.place = 0

    def create_table(self) -> TableDefinition:
        while not self.accept("table"):
            self.advance()
        if self.accept("if"):
            self.expect("not")
            self.expect("exists")
        table = self.identifier()
        while self.accept("."):
            table = self.identifier()
        definition = TableDefinition(table, self.column_list())
        clauses = self.clauses(definition)
        while self.place < len(self.tokens):
            word = self.advance()
            if word.text.lower() not in clauses:
                raise self.error(word, f"unexpected {word.text!r}")
            clauses[word.text.lower()]()
        shared = definition.columns.keys() & definition.partition_columns.keys()
        if shared:
            raise ConfigError(f"{self.name}: column {min(shared)!r} is also a partition column")
        return definition

    def clauses(self, definition: TableDefinition) -> dict[str, Callable[[], None]]:
        return {
            "comment": lambda: self.string() and None,
            "location": lambda: self.string() and None,
            "tblproperties": lambda: definition.table_properties.update(self.properties()),
            "partitioned": lambda: self.partitioned(definition),
            "clustered": self.clustered,
            "row": lambda: self.row_format(definition),
            "with": lambda: self.serde_properties(definition),  # some tools write it after STORED AS
            "stored": lambda: self.stored(definition),
        }

    def column_list(self) -> dict[str, str]:
        columns: dict[str, str] = {}
        self.expect("(")
        while True:
            token = self.current()
            name = self.identifier().lower()  # Hive's metastore keeps names in lower case, quoted or not
            if name in columns:
                raise self.error(token, f"column {name!r} is defined twice")
            columns[name] = self.type(name)
            if self.accept("comment"):
                self.string()
            if not self.accept(","):
                break
        self.expect(")")
        return columns

    def type(self, column: str) -> str:
        first, parts, depth = self.current(), [], 0
        while depth or self.current().text.lower() not in (",", ")", "comment"):
            token = self.advance()
            depth += {"<": 1, "(": 1, ">": -1, ")": -1}.get(token.text, 0)
            if depth and token.text.lower() == "comment" and self.current().kind == "string":
                self.advance()  # a struct's field may carry a comment of its own
                continue
            parts.append(token.text)
        text = "".join(parts)
        try:
            parse_type(text)
        except ConfigError as error:
            raise self.error(first, f"column {column!r}: {error.message}", error.hint) from error
        return text

    def partitioned(self, definition: TableDefinition) -> None:
        self.expect("by")
        definition.partition_columns = self.column_list()

    def clustered(self) -> None:
        """Buckets do not change how a file is read."""
        while not self.accept("buckets"):
            self.advance()

    def row_format(self, definition: TableDefinition) -> None:
        self.expect("format")
        if self.accept("serde"):
            token = self.current()
            self.set_serde(definition, token, self.string())
            if self.accept("with"):
                self.serde_properties(definition)
            return
        self.expect("delimited")
        definition.format = definition.format or "text"
        while self.current_word() in ("fields", "collection", "map", "lines", "null", "escaped"):
            self.delimiter(definition)

    def delimiter(self, definition: TableDefinition) -> None:
        token = self.advance()
        word = token.text.lower()
        for expected in {"collection": ["items"], "map": ["keys"]}.get(word, []):
            self.expect(expected)
        if word != "escaped":
            self.expect("defined" if word == "null" else "terminated")
        self.expect("as" if word == "null" else "by")
        text = self.string()
        if word == "null":
            definition.serde_properties["serialization.null.format"] = text
        elif word == "lines":
            self.lines_end(token, text)
        else:
            definition.serde_properties[_DELIMITERS[word]] = self.character(token, text)

    def lines_end(self, token: _Token, text: str) -> None:
        if text not in ("\n", "10"):
            raise self.error(token, f"LINES TERMINATED BY {text!r}: Hive itself supports '\\n' only")

    def serde_properties(self, definition: TableDefinition) -> None:
        self.expect("serdeproperties")
        definition.serde_properties.update(self.properties())

    def stored(self, definition: TableDefinition) -> None:
        if self.current_word() == "by":
            raise self.error(self.current(), "STORED BY (a storage handler: HBase, Iceberg, ...) is not supported")
        self.expect("as")
        if self.accept("inputformat"):
            token = self.current()
            definition.format = self.known(token, FORMATS_BY_INPUT_CLASS, simple_name(self.string()))
            self.expect("outputformat")
            self.string()
            return
        token = self.advance()
        file_format, serde = self.known(token, FORMATS_BY_KEYWORD, token.text.lower())
        definition.format = file_format
        definition.serde = definition.serde or serde

    def set_serde(self, definition: TableDefinition, token: _Token, java_class: str) -> None:
        file_format, serde = self.known(token, SERDES_BY_CLASS, simple_name(java_class))
        definition.format = definition.format or file_format
        definition.serde = serde

    def known(self, token: _Token, table: Mapping[str, _Known], name: str) -> _Known:
        if name not in table:
            raise self.error(token, f"{token.text} is not supported; known are {', '.join(table)}")
        return table[name]

    def character(self, token: _Token, text: str) -> str:
        """Kept as it is written; a number is the byte's code."""
        try:
            delimiter_of(token.text.upper(), text)
        except ConfigError as error:
            raise self.error(token, error.message, error.hint) from error
        return text

    def properties(self) -> dict[str, str]:
        properties = {}
        self.expect("(")
        while not self.accept(")"):
            key = self.string()
            self.expect("=")
            properties[key] = self.string()
            self.accept(",")
        return properties

    def current(self) -> _Token:
        if self.place < len(self.tokens):
            return self.tokens[self.place]
        raise self.error(self.tokens[-1], "the statement ends too early")

    def current_word(self) -> str:
        return self.tokens[self.place].text.lower() if self.place < len(self.tokens) else ""

    def advance(self) -> _Token:
        token = self.current()
        self.place += 1
        return token

    def accept(self, word: str) -> bool:
        if self.current_word() == word:
            self.place += 1
            return True
        return False

    def expect(self, word: str) -> _Token:
        token = self.advance()
        if token.text.lower() != word:
            raise self.error(token, f"expected {word.upper()}, found {token.text!r}")
        return token

    def identifier(self) -> str:
        token = self.advance()
        if token.kind == "quoted":
            return token.text[1:-1].replace("``", "`")
        if token.kind != "word":
            raise self.error(token, f"expected a name, found {token.text!r}")
        return token.text

    def string(self) -> str:
        token = self.advance()
        if token.kind != "string":
            raise self.error(token, f"expected a quoted string, found {token.text!r}")
        text = _unescaped(token.text[1:-1])
        more = self.place < len(self.tokens) and self.tokens[self.place].kind == "string"
        return text + self.string() if more else text  # Hive joins adjacent literals: 'it''s'

    def error(self, token: _Token, what: str, hint: str | None = None) -> ConfigError:
        return ConfigError(f"{self.name}, line {token.line}: {what}", hint=hint)


def _unescaped(text: str) -> str:
    """Backslash escapes of a Hive string literal: \\001 (octal), \\u0001, \\t, \\n, \\\\ …; others stay as they are."""

    def replace(match: re.Match[str]) -> str:
        body = match[1]
        if re.fullmatch(r"[0-3][0-7]{2}|u[0-9a-fA-F]{4}|[tnrb0]", body):
            return codecs.decode("\\" + body, "unicode_escape")
        return body if body in "\\'\"" else match[0]

    return re.sub(r"\\([0-3][0-7]{2}|u[0-9a-fA-F]{4}|.)", replace, text, flags=re.DOTALL)
