"""Options of `model`, `training` and `rates` with some values changed, by dotted key. Imports no TensorFlow."""

from __future__ import annotations

import copy
from collections.abc import Mapping
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


def mistake(sections: Sections, key: str, value: Any) -> str | None:
    """What is wrong with a value for a key: there is no such key, or the options refuse the value."""
    if key.partition(".")[0] not in SECTIONS or "." not in key:
        return f"must be a key of {', '.join(SECTIONS)}, like training.learning_rate"
    try:
        value_at(sections, key)
        with_values(sections, {key: value})
    except KeyError:
        return "is not a key of the config; docs/config.md lists them"
    except ValidationError as error:
        return f"{error.errors()[0]['msg']}; received {value!r}"
    return None
