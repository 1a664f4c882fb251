"""Options of the model store (`store:` in hivemill.yaml)."""

from __future__ import annotations

from pydantic import Field

from common.options import Options


class StoreOptions(Options):
    path: str = Field("models", description="Folder of the model store, relative to `root`.")
    model: str | None = Field(None, description="Name of the model in the store; `name` when left out.")
