"""From the winner of a search to lines of hivemill.yaml: the user's own text with the values changed, nothing else."""

from __future__ import annotations

import difflib
import json
from typing import Any

import yaml

from hivemill.common.errors import ConfigError
from hivemill.pipeline.config import yaml_source


def changed_text(text: str, values: dict[str, Any], name: str) -> str:
    """`text` with `values` by dotted key; comments, order and all other lines stay. Raises ConfigError where it cannot
    be changed so (the value is behind a YAML alias, say)."""
    tree = yaml_source.parse(text, name)
    changed = text
    for key, value in values.items():
        path = tuple(key.split("."))
        changed = _with_value(changed, path, _shown(value))
        tree.set(path, value, name)
    made = yaml_source.parse(changed, name)
    if made.mistakes or made.data != tree.data:
        words = ", ".join(f"{key}: {_shown(value)}" for key, value in values.items())
        raise ConfigError(f"{name}: the values cannot be put into this file", hint=f"Set them by hand: {words}")
    return changed


def diff(before: str, after: str, name: str) -> str:
    """Unified, as `patch` and `git apply` read it; empty where nothing changes."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _with_value(text: str, path: tuple[str, ...], shown: str) -> str:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for depth, part in enumerate(path):
        if not isinstance(node, yaml.MappingNode):
            return _replaced(text, node, _flow(path[depth:], shown))  # `training:` with nothing behind it
        below = next((value for key, value in node.value if key.value == part), None)
        if below is None:
            return _inserted(text, node, path[depth:], shown)
        node = below
    return _replaced(text, node, shown)


def _replaced(text: str, node: yaml.Node, shown: str) -> str:
    start, end = node.start_mark.index, _end(node)
    space = " " if text[:start].endswith(":") and not shown.startswith("\n") else ""
    before = text[:start].rstrip() if shown.startswith("\n") else text[:start]
    return before + space + shown + text[end:]


def _end(node: yaml.Node) -> int:
    """Where the value ends in the text. YAML has the end of a block at the next token, behind comments."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _inserted(text: str, node: yaml.MappingNode, path: tuple[str, ...], shown: str) -> str:
    start, is_root = node.start_mark.index, node.start_mark.column == 0 and not node.flow_style
    if node.flow_style:
        comma = ", " if node.value else ""
        return f"{text[: start + 1]}{_entry(path, shown)}{comma}{text[start + 1 :]}"
    if is_root:
        end = "" if text.endswith("\n") else "\n"
        return f"{text}{end}\n{_entry(path, shown)}\n"
    return f"{text[:start]}{_entry(path, shown)}\n{' ' * node.start_mark.column}{text[start:]}"


def _entry(path: tuple[str, ...], shown: str) -> str:
    value = _flow(path[1:], shown)
    return f"{path[0]}:{value}" if value.startswith("\n") else f"{path[0]}: {value}"


def _flow(path: tuple[str, ...], shown: str) -> str:
    for part in reversed(path):
        shown = f"{{{part}: {shown}}}"
    return shown


def _shown(value: Any) -> str:
    """JSON, which is YAML; a list of mappings with one on each line."""
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return "".join(f"\n  - {json.dumps(one, ensure_ascii=False)}" for one in value)
    return json.dumps(value, ensure_ascii=False)
