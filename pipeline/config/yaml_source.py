"""hivemill.yaml as plain data in which every key still knows the line, environment variable or option it came from.

Scalars follow the core schema of YAML 1.2, not 1.1: `no` and `off` are text (a country, a device), `1e-4` is a number,
`2026-11-15` is text. Source: YAML 1.2.2 specification, section 10.3.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from hivemill.common.text import shortened

Path = tuple["str | int", ...]

_NULL = re.compile(r"(?:null|Null|NULL|~|)")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)")
_INT = re.compile(r"[-+]?[0-9]{1,100}|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_PLAIN_TAG = "tag:yaml.org,2002:"
_SHOWN_CHARACTERS = 60


@dataclasses.dataclass(frozen=True)
class Mistake:
    """One thing wrong in the config: where (`place`: file:line or override), which key, the rule and the value."""

    place: str
    path: Path
    message: str

    def __str__(self) -> str:
        key = f"{dotted(self.path)}: " if self.path else ""
        return f"{self.place}: {key}{self.message}"


@dataclasses.dataclass
class Tree:
    """Plain data (mappings, lists, scalars) with the place that each key or item was given at."""

    data: Any
    places: dict[Path, str]
    mistakes: list[Mistake] = dataclasses.field(default_factory=list)

    def place_of(self, path: Path) -> str | None:
        """Where `path`, or the nearest thing around it that was given, comes from."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return None

    def set(self, path: Path, value: Any, place: str) -> None:
        """Replaces what is at `path`; mappings on the way are made. Raises KeyError(path of a scalar on the way)."""
        for known in [known for known in self.places if known[: len(path)] == path]:
            del self.places[known]
        here = self.data
        for depth, part in enumerate(path[:-1], start=1):
            if isinstance(here, dict) and here.get(part) is None:
                here[part] = {}
                self.places[path[:depth]] = place
            here = _child(here, part, path[:depth])
        _put(here, path, value)
        self.places.update(dict.fromkeys((path + below for below in _paths(value)), place))


def dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


def shown(value: Any) -> str:
    """A value as it is quoted in a message: JSON, cut to a readable length."""
    return shortened(json.dumps(value, ensure_ascii=False, default=str), _SHOWN_CHARACTERS)


def parse(text: str, name: str) -> Tree:
    """The document `text` of file `name`. What is wrong with it is in `mistakes`: syntax, tags, duplicate keys."""
    tree = Tree({}, {(): f"{name}:1"})
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        tree.mistakes.append(_syntax_mistake(error, text, name))
        return tree
    except RecursionError:
        tree.mistakes.append(Mistake(name, (), "the file is nested too deeply"))
        return tree
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        tree.mistakes.append(Mistake(f"{name}:{line}", (), f"the character {chr(error.character)!r} is not allowed"))
        return tree
    if node is None:
        tree.mistakes.append(Mistake(name, (), "the file is empty; `hivemill init DIR` writes a complete one"))
    elif not isinstance(node, yaml.MappingNode):
        rule = "the file must be a mapping: lines of `key: value`"
        tree.mistakes.append(Mistake(f"{name}:{node.start_mark.line + 1}", (), rule))
    else:
        tree.data = _Builder(tree, name).build(node, ())
    return tree


def parse_value(text: str) -> Any:
    """The value of an override, read as YAML. Raises ValueError where it is none."""
    tree = parse(f"value: {text}" if "\n" not in text else f"value:\n  {text}", "value")
    if tree.mistakes:
        raise ValueError(tree.mistakes[0].message)
    return tree.data["value"]


MAX_VALUES = 100_000
"""An alias of aliases of aliases makes billions of values out of some hundred bytes."""


class _Builder:
    """Turns composed nodes into data, and notes places and mistakes on the way."""

    def __init__(self, tree: Tree, name: str):
        self._tree, self._name = tree, name
        self._open: list[yaml.Node] = []
        self._built = 0

    def build(self, node: yaml.Node, path: Path) -> Any:
        self._built += 1
        if self._built == MAX_VALUES:
            self._mistake(
                node, path, f"the file has more than {MAX_VALUES:,} values, counting those of aliases (*name)"
            )
        if self._built >= MAX_VALUES:
            return None
        if any(node is outer for outer in self._open):
            self._mistake(node, path, "an alias (*name) must not contain itself")
            return None
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return self._sequence(node, path)
            return self._scalar(node, path)
        finally:
            self._open.pop()

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._mistake(key_node, path, "a key must be a single word or text, not a list or mapping")
                continue
            key = key_node.value
            if key == "<<":
                self._mistake(key_node, path, "merge keys (<<) are not supported; write the keys out")
                continue
            if key in data:
                rule = f"the key is given twice; first in line {first_lines[key]}. Keep one of them"
                self._mistake(key_node, (*path, key), rule)
                continue
            first_lines[key] = line
            self._tree.places[(*path, key)] = f"{self._name}:{line}"
            data[key] = self.build(value_node, (*path, key))
        return data

    def _sequence(self, node: yaml.SequenceNode, path: Path) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            self._tree.places[(*path, index)] = f"{self._name}:{item.start_mark.line + 1}"
            items.append(self.build(item, (*path, index)))
        return items

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        if not node.tag.startswith(_PLAIN_TAG):
            self._mistake(node, path, f"the tag {node.tag} is not allowed; write a plain value")
            return None
        if any("\ud800" <= character <= "\udfff" for character in node.value):
            self._mistake(
                node, path, "must be valid Unicode text; half of a surrogate pair (\\ud800 to \\udfff) is none"
            )
            return None
        value = node.value if node.style else _plain(node.value)
        if isinstance(value, float) and not math.isfinite(value):
            self._mistake(node, path, f"must be a finite number; received {node.value}")
            return None
        return value

    def _mistake(self, node: yaml.Node, path: Path, message: str) -> None:
        self._tree.mistakes.append(Mistake(f"{self._name}:{node.start_mark.line + 1}", path, message))


def _plain(text: str) -> Any:
    """A scalar without quotes by the core schema of YAML 1.2."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        prefixed = text[:2] in ("0o", "0x")
        return int(text, 0) if prefixed else int(text)
    if _FLOAT.fullmatch(text):
        return float(
            text.replace(".inf", "inf").replace(".Inf", "inf").replace(".INF", "inf").lower().replace(".nan", "nan")
        )
    return text


def _syntax_mistake(error: yaml.MarkedYAMLError, text: str, name: str) -> Mistake:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    lines = text.splitlines()
    problem = " ".join(part for part in (error.context, error.problem) if part)
    message = f"not valid YAML: {problem}"
    around = lines[max(0, line - 2) : line]
    if any("\t" in each[: len(each) - len(each.lstrip())] for each in around):
        message = "a tab indents this line; YAML indents with spaces only"
        line = next(n for n in (line - 1, line) if n >= 1 and "\t" in lines[n - 1][: _indent(lines[n - 1])])
    elif "mapping values are not allowed" in problem:
        message += (
            "; put a value that contains `: ` in quotes, and check the indentation of this line and the one above"
        )
    elif "expected <block end>" in problem or "could not find expected ':'" in problem:
        message += "; check that the lines of a section are indented alike and that each key ends with `: `"
    elif "cannot start any token" in problem:
        message += "; put a value that begins with such a character in quotes, as in date_format: '%Y%m%d'"
    elif "single document" in problem:
        message = "only one document is allowed; remove the `---` lines"
    return Mistake(f"{name}:{line}", (), message)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _child(here: Any, part: str | int, path: Path) -> Any:
    if isinstance(here, dict):
        return here[part]
    if isinstance(here, list) and isinstance(part, str) and part.isdecimal() and int(part) < len(here):
        return here[int(part)]
    raise KeyError(path[:-1])


def _put(here: Any, path: Path, value: Any) -> None:
    if isinstance(here, dict):
        here[path[-1]] = value
    elif isinstance(here, list) and str(path[-1]).isdecimal() and int(path[-1]) < len(here):
        here[int(path[-1])] = value
    else:
        raise KeyError(path[:-1])


def _paths(value: Any) -> Iterator[Path]:
    """The paths of a value and of everything in it, relative to it."""
    yield ()
    children: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        for below in _paths(child):
            yield (key, *below)
