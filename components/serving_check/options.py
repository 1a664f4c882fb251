"""Options of the serving check (`serving_check:` in hivemill.yaml)."""

from __future__ import annotations

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from hivemill.common.options import Options


class ServingCheckOptions(Options):
    """Bounds that no working model on a working machine crosses; null leaves one out."""

    enabled: bool = Field(True, description="Check the exported model in a server before it is pushed.")
    model_server: str | None = Field(
        None,
        description="tensorflow_model_server to check with; the one on PATH if none, and without one the dev server.",
    )
    docker_image: str | None = Field(
        None,
        description="Image with tensorflow_model_server to check with instead, as `tensorflow/serving:2.20.0`; docker "
        "must be here and have it.",
    )
    rows: PositiveInt = Field(256, description="Rows of the eval split that are replayed.")
    max_difference: PositiveFloat | None = Field(
        1e-5, description="Largest difference of a served value to the model's own batch prediction."
    )
    max_p50_ms_1_row: PositiveFloat | None = Field(200.0, description="Median latency of a request with one row.")
    max_p99_ms_1_row: PositiveFloat | None = Field(1000.0, description="99th percentile of the same.")
    max_p50_ms_64_rows: PositiveFloat | None = Field(400.0, description="Median latency of a request with 64 rows.")
    max_p99_ms_64_rows: PositiveFloat | None = Field(2000.0, description="99th percentile of the same.")
    max_memory_mib: PositiveInt | None = Field(8192, description="Peak resident memory of the server's process.")
    max_load_seconds: PositiveFloat | None = Field(
        300.0, description="From the start of the server's process until the model answers."
    )
    latency_seconds: PositiveFloat = Field(1.0, le=60, description="How long latency is measured for each size.")

    @model_validator(mode="after")
    def _one_server(self) -> ServingCheckOptions:
        if self.model_server and self.docker_image:
            raise ValueError("model_server and docker_image are two servers; the check takes one")
        return self
