"""Options of Vertex AI (`vertex:` in hivemill.yaml): what the containers of a run get.

Not those of `kubeflow`: Vertex has no volume, no Secrets and no node selectors, and accelerators have other names.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from hivemill.common.options import Options
from hivemill.pipeline.metadata.options import PASSWORD_VARIABLE
from hivemill.pipeline.orchestrators.kubeflow.options import ALL_STEPS, Cpu, Memory, VariableName

LabelKey = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
LabelValue = Annotated[str, Field(pattern=r"^[a-z0-9_-]{0,63}$")]


class VertexStepOptions(Options):
    """What one container may use. A value that is left out is that of `default`, then Vertex AI's own."""

    cpu: Cpu | None = Field(None, description="CPUs that its machine has at least, like `8`.")
    memory: Memory | None = Field(None, description="Memory that its machine has at least, like `32Gi`.")
    accelerator: str | None = Field(
        None,
        description="Vertex AI's name of its GPUs, like `NVIDIA_TESLA_T4`.",
        pattern=r"^[A-Z][A-Z0-9_]+$",
    )
    accelerators: PositiveInt | None = Field(None, description="How many of them.")

    @model_validator(mode="after")
    def _accelerators_are_whole(self):
        if (self.accelerator is None) != (self.accelerators is None):
            raise ValueError("accelerator and accelerators go together")
        return self

    def over(self, default: VertexStepOptions) -> VertexStepOptions:
        """These values where given, else those of `default`."""
        given = {name: value for name, value in self if value is not None}
        return default.model_copy(update=given)


class VertexOptions(Options):
    image: str | None = Field(
        None,
        description="Image of all containers, by digest or tag; the Dockerfile makes it. With it, Vertex AI keeps the "
        "metadata, and `metadata` may be left out.",
        min_length=1,
    )
    environment: dict[VariableName, str] = Field({}, description="Further environment variables, not secret.")
    labels: dict[LabelKey, LabelValue] = Field({}, description="Labels of the job, beside TFX's own.")
    steps: dict[str, VertexStepOptions] = Field(
        {ALL_STEPS: VertexStepOptions(cpu="4", memory="16G")},
        description="What containers may use, by node; `default` is for those not named.",
    )

    @model_validator(mode="after")
    def _no_secret(self):
        if PASSWORD_VARIABLE in self.environment:
            raise ValueError(f"{PASSWORD_VARIABLE} is a secret, and of no use: Vertex AI keeps the metadata")
        return self

    def step(self, node_id: str) -> VertexStepOptions:
        """What the container of a node may use."""
        default = self.steps.get(ALL_STEPS, VertexStepOptions())
        return self.steps.get(node_id, default).over(default)
