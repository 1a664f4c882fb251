"""Turns what pydantic says about a config into messages that name the rule, the value and the nearest known key."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from hivemill.common.text import did_you_mean, nearest
from hivemill.pipeline.config.yaml_source import Mistake, Path, Tree, dotted, shown

_MAPPING = "must be a section: indented lines of `key: value`"
_RULES = {
    "missing": "is required and missing",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list, like [a, b]",
    "list_type": "must be a list, like [a, b]",
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "none_required": "cannot be set here; leave it out",
    "string_too_short": "must have at least {min_length} character(s)",
    "string_too_long": "must have at most {max_length} character(s)",
    "string_pattern_mismatch": "must match {pattern}",
    "too_short": "must have at least {min_length} entry or entries",
    "too_long": "must have at most {max_length} entries",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
}


def mistakes_of(error: ValidationError, tree: Tree, root: type[BaseModel]) -> list[Mistake]:
    """All errors of one validation, in the order of the file; the alternatives of a union are one mistake."""
    grouped: dict[Path, list[dict[str, Any]]] = {}
    for each in error.errors(include_url=False):
        grouped.setdefault(_path(each, tree.data), []).append(each)
    mistakes = []
    for path, errors in grouped.items():
        rules = list(dict.fromkeys(_rule(each, path, tree.data, root) for each in errors))
        received = "" if errors[0]["type"] in _WITHOUT_VALUE else f"; received {shown(errors[0]['input'])}"
        mistakes.append(Mistake(tree.place_of(path) or "", path, " or ".join(rules) + received + _quote_hint(errors)))
    return mistakes


_REPLACED = {
    "window.missing": "it is `window.incomplete` now, and its value `ignore` is `shrink`",
    "training.early_stopping": "`training.plateau` took its place, by the validation logloss: remove the key, or set "
    "`plateau: null` where it was null",
}
_WITHOUT_VALUE = ("missing", "extra_forbidden", "union_tag_not_found", "value_error")


def _path(error: dict[str, Any], data: Any) -> Path:
    """The path in the user's data. pydantic's has the tags of unions and `[key]` in between; they are dropped."""
    path: list[str | int] = []
    here = data
    for index, part in enumerate(error["loc"]):
        last = index == len(error["loc"]) - 1
        if isinstance(here, dict) and (part in here or (last and error["type"] == "missing")):
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            continue
        path.append(part)
    if error["type"] == "union_tag_invalid":
        path.append("type")
    return tuple(path)


def _rule(error: dict[str, Any], path: Path, data: Any, root: type[BaseModel]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(path, data, root)
    if kind == "value_error":
        return str(context["error"])
    if kind in ("literal_error", "union_tag_invalid"):
        return _one_of(error, context)
    if kind == "union_tag_not_found":
        return f"needs a `type`, one of {', '.join(_tags(_annotation(path, data, root)))}"
    return _RULES[kind].format(**context) if kind in _RULES else error["msg"]


def _one_of(error: dict[str, Any], context: dict[str, Any]) -> str:
    allowed = context.get("expected") or context.get("expected_tags")
    names = [name.strip(" '") for name in allowed.replace(" or ", ",").split(",") if name.strip(" '")]
    received = error["input"].get("type") if isinstance(error["input"], dict) else error["input"]
    best = nearest(str(received), names)
    return f"must be one of {', '.join(names)}" + (f" (did you mean `{best}`?)" if best else "")


def _quote_hint(errors: list[dict[str, Any]]) -> str:
    wants_text = errors[0]["type"] == "string_type" and len(errors) == 1
    is_scalar = isinstance(errors[0]["input"], (bool, int, float))
    return ": put it in quotes" if wants_text and is_scalar else ""


def _unknown_key(path: Path, data: Any, root: type[BaseModel]) -> str:
    if dotted(path) in _REPLACED:
        return f"unknown key; {_REPLACED[dotted(path)]}"
    known = known_keys(path[:-1], data, root)
    key = str(path[-1])
    best = nearest(key, known)
    elsewhere = [dotted(other) for other in _all_keys(root) if other[-1] == key]
    if elsewhere and best != key and (best is None or key in {each.rsplit(".", 1)[-1] for each in elsewhere}):
        return f"unknown key; did you mean `{elsewhere[0]}`?"
    return f"unknown key; {did_you_mean(key, known)}"


def known_keys(path: Path, data: Any, root: type[BaseModel]) -> list[str]:
    """The keys that the section at `path` may have."""
    options = _options_class(_annotation(path, data, root), _at(path, data))
    return list(options.model_fields) if options else []


def _annotation(path: Path, data: Any, root: type[BaseModel]) -> Any:
    """The type of what is at `path`."""
    annotation: Any = root
    here = data
    for part in path:
        options = _options_class(annotation, here)
        annotation = options.model_fields[str(part)] if options else _item_type(annotation)
        here = here[part] if isinstance(here, (dict, list)) else None
    return annotation


def _at(path: Path, data: Any) -> Any:
    for part in path:
        data = data[part] if isinstance(data, (dict, list)) else None
    return data


def _tags(annotation: Any) -> list[str]:
    """The values of `type` among the alternatives of a union."""
    return [tag for each in members(annotation) for tag in typing.get_args(each.model_fields["type"].annotation)]


def members(annotation: Any) -> list[Any]:
    """The alternatives of a type, `Annotated` and unions taken apart."""
    if isinstance(annotation, FieldInfo):
        annotation = annotation.annotation
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return members(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [each for argument in typing.get_args(annotation) for each in members(argument)]
    return [annotation]


def _options_class(annotation: Any, data: Any) -> type[BaseModel] | None:
    classes = [each for each in members(annotation) if isinstance(each, type) and issubclass(each, BaseModel)]
    if len(classes) > 1 and isinstance(data, dict):
        tagged = [each for each in classes if data.get("type") in typing.get_args(each.model_fields["type"].annotation)]
        return tagged[0] if tagged else None
    return classes[0] if classes else None


def _item_type(annotation: Any) -> Any:
    for each in members(annotation):
        if typing.get_origin(each) in (dict, tuple, list):
            arguments = typing.get_args(each)
            return arguments[1] if typing.get_origin(each) is dict else arguments[0]
    return None


def _all_keys(options: type[BaseModel], above: Path = ()) -> Iterator[Path]:
    """Every key of the fixed sections (not of the entries of mappings such as features)."""
    for name, field in options.model_fields.items():
        yield (*above, name)
        for each in members(field):
            if isinstance(each, type) and issubclass(each, BaseModel):
                yield from _all_keys(each, (*above, name))
