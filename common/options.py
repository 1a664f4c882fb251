"""Base of every options class: frozen, typed, and strict about unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """A section of hivemill.yaml. Travels between nodes as `model_dump_json()`, returns by `model_validate_json()`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
