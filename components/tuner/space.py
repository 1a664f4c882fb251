"""The search space: values for keys of `model`, `training` and `rates`, and the options that they make."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from hivemill.common.options import Options
from hivemill.components.trainer.options import ModelOptions, RateOptions, TrainingOptions

SECTIONS: dict[str, type[Options]] = {"model": ModelOptions, "training": TrainingOptions, "rates": RateOptions}
Values = dict[str, Any]
Sections = dict[str, dict[str, Any]]  # of SECTIONS, as plain data


def sections_of(model: ModelOptions, training: TrainingOptions, rates: RateOptions) -> Sections:
    """The options as plain data, by section."""
    return {
        "model": model.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "rates": rates.model_dump(mode="json"),
    }


def choices(space: Mapping[str, Sequence[Any]], sections: Sections) -> dict[str, list[str]]:
    """For each key its values as JSON, each once, the config's own first."""
    texts = {key: [_text(value_at(sections, key)), *map(_text, values)] for key, values in space.items()}
    return {key: list(dict.fromkeys(each)) for key, each in texts.items()}


def with_values(sections: Sections, values: Mapping[str, Any]) -> Sections:
    """A copy with `values` (by dotted key) in it. Raises ValidationError where the options refuse one."""
    changed = copy.deepcopy(sections)
    for key, value in values.items():
        *way, last = key.split(".")
        here = changed
        for part in way:
            here = here[part]
        here[last] = value
    return {name: SECTIONS[name].model_validate(changed[name]).model_dump(mode="json") for name in SECTIONS}


def value_at(sections: Sections, key: str) -> Any:
    """Raises KeyError where there is no such key."""
    here: Any = sections
    for part in key.split("."):
        if not isinstance(here, dict):
            raise KeyError(key)
        here = here[part]
    return here


def mistakes(space: Mapping[str, Sequence[Any]], sections: Sections) -> Iterator[tuple[str, str]]:
    """(key, what is wrong with it or its values): keys that do not exist, values that the options refuse."""
    for key, values in space.items():
        if key.partition(".")[0] not in SECTIONS or "." not in key:
            yield key, f"must be a key of {', '.join(SECTIONS)}, like training.learning_rate"
            continue
        try:
            value_at(sections, key)
        except KeyError:
            yield key, "is not a key of the config; docs/config.md lists them"
            continue
        if not values:
            yield key, "needs at least one value"
        for value in values:
            problem = _problem(sections, key, value)
            if problem:
                yield key, f"{problem}; received {_text(value)}"


def _problem(sections: Sections, key: str, value: Any) -> str | None:
    try:
        with_values(sections, {key: value})
    except ValidationError as error:
        return error.errors()[0]["msg"]
    return None


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
