"""The search space: values for keys of `model`, `training` and `rates`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hivemill.components.trainer.option_changes import Sections, mistake, value_at


def choices(space: Mapping[str, Sequence[Any]], sections: Sections) -> dict[str, list[str]]:
    """For each key its values as JSON, each once, the config's own first."""
    texts = {key: [_text(value_at(sections, key)), *map(_text, values)] for key, values in space.items()}
    return {key: list(dict.fromkeys(each)) for key, each in texts.items()}


def mistakes(space: Mapping[str, Sequence[Any]], sections: Sections) -> Iterator[tuple[str, str]]:
    """(key, what is wrong with it or its values): keys that do not exist, values that the options refuse."""
    for key, values in space.items():
        if not values:
            yield key, "needs at least one value"
        found = (mistake(sections, key, value) for value in values)
        yield from ((key, message) for message in dict.fromkeys(found) if message)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
