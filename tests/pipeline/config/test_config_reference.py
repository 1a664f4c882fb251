"""docs/config.md is what the types say."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from hivemill.components import features
from hivemill.pipeline.config.reference import reference
from hivemill.pipeline.config.schema import PipelineConfig

DOCS = Path(__file__).parents[3] / "docs" / "config.md"


def test_the_committed_page_is_the_generated_one():
    assert DOCS.read_text(encoding="utf-8") == reference(), (
        "run: python -m hivemill.pipeline.config.reference > docs/config.md"
    )


def test_every_key_is_on_the_page():
    text = reference()
    sections = [f.annotation for f in PipelineConfig.model_fields.values() if isinstance(f.annotation, type)]
    classes = [each for each in sections if issubclass(each, BaseModel)]
    classes += [
        features.CategoricalFeature,
        features.NumericFeature,
        features.MultivalentFeature,
        features.CrossFeature,
    ]
    assert len(classes) >= 14
    for each in classes:
        for key in each.model_fields:
            assert f"| `{key}` |" in text or key == "type"


def test_limits_and_defaults_are_told():
    text = reference()
    assert "| `epochs` | whole number > 0 | `40` |" in text
    assert "| `dropout` | number >= 0, < 1 | `0.2` |" in text
    assert "| `table` | text or null | `null` |" in text
    assert "| `columns` | list of text, at least 2 | required |" in text
    assert "| `field_delimiter` | text, one character |" in text
