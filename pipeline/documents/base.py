"""What the documents of a run folder share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """Unknown keys are left alone: a newer Hivemill may have written the file."""

    model_config = ConfigDict(extra="ignore", frozen=True)
