"""Templates to text: escaped, strict about names, self-contained."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from hivemill.pipeline.report.sections import numbers

_TEMPLATES = Path(__file__).with_name("templates")


def render_page(template: str, **values: Any) -> str:
    """The page as valid UTF-8 text, with the style sheet in it."""
    style = Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8"))
    text = _environment().get_template(template).render(style=style, **values)
    return text.encode("utf-8", "replace").decode("utf-8")


@functools.lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (numbers.count, numbers.decimal, numbers.signed, numbers.percent, numbers.size, numbers.duration):
        environment.filters[function.__name__] = function
    environment.globals["missing"] = numbers.MISSING
    return environment
