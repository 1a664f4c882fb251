"""Options of the data verdict (`data_verdict:` in hivemill.yaml)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from common.options import Options


class DataVerdictOptions(Options):
    schema_path: str | None = Field(
        None, description="A curated schema.pbtxt; without it the schema is inferred from the training split."
    )
    on_anomaly: Literal["red", "amber"] = Field("red", description="red stops the run; amber goes on and says so.")
