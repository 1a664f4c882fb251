"""Options of Kubeflow (`kubeflow:` in hivemill.yaml): what the containers of a run get. Secrets are named here only."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from hivemill.common.options import Options
from hivemill.pipeline.metadata.options import PASSWORD_VARIABLE

# As kfp's own rules have them: no decimals in memory.
Cpu = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?m?$", max_length=20)]
Memory = Annotated[str, Field(pattern=r"^[0-9]+(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)?$", max_length=20)]
KubernetesName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)]
ClaimName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)]
LabelKey = Annotated[
    str,
    Field(pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$", max_length=317),
]
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$", max_length=63)]
IMAGE_USER = 10001  # of the Dockerfile
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]
ALL_STEPS = "default"
_TAKEN_PATHS = "/kfp-launcher", "/gcs", "/minio", "/s3", "/etc", "/dev", "/proc", "/sys", "/opt/hivemill"


class StepOptions(Options):
    """What one container may use. A value that is left out is that of `default`."""

    cpu: Cpu | None = Field(None, description="CPUs that it asks for and may use, like `2` or `500m`.")
    memory: Memory | None = Field(None, description="Memory that it asks for and may use, like `8Gi`; whole numbers.")
    accelerator: str | None = Field(
        None, description="Resource name of its GPUs, like `nvidia.com/gpu`.", pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$"
    )
    accelerators: PositiveInt | None = Field(None, description="How many of them.")
    node_selector: dict[LabelKey, LabelValue] | None = Field(
        None, description="Labels of the machines that it may run on."
    )
    tolerated_taint: str | None = Field(
        None, description="Key of a taint that it tolerates, as GPU machines have: `nvidia.com/gpu`.", min_length=1
    )
    timeout_seconds: PositiveInt | None = Field(None, description="After so long it is stopped, and counts as failed.")

    @model_validator(mode="after")
    def _accelerators_are_whole(self):
        if (self.accelerator is None) != (self.accelerators is None):
            raise ValueError("accelerator and accelerators go together")
        return self

    def over(self, default: StepOptions) -> StepOptions:
        """These values where given, else those of `default`."""
        given = {name: value for name, value in self if value is not None}
        return default.model_copy(update=given)


class SecretVariable(Options):
    """An environment variable from a Kubernetes Secret."""

    variable: VariableName = Field(description="Name of the environment variable.")
    secret: KubernetesName = Field(description="Name of the Secret.")
    key: str = Field(description="Key in it.", min_length=1, max_length=253)


class KubeflowOptions(Options):
    image: str | None = Field(
        None, description="Image of all containers, by digest or tag; the Dockerfile makes it.", min_length=1
    )
    volume_claim: ClaimName = Field("hivemill", description="PersistentVolumeClaim (ReadWriteMany) of `root`.")
    mount_path: str = Field(
        "/hivemill", description="Where it is mounted; relative paths of the config are below it.", pattern=r"^/.+"
    )
    metadata_secret: KubernetesName = Field(
        "hivemill-metadata", description="Secret whose key `password` is the password of the metadata server."
    )
    secrets: tuple[SecretVariable, ...] = Field((), description="Further environment variables from Secrets.")
    environment: dict[VariableName, str] = Field({}, description="Further environment variables, not secret.")
    steps: dict[str, StepOptions] = Field(
        {ALL_STEPS: StepOptions(cpu="2", memory="4Gi", timeout_seconds=21_600)},
        description="What containers may use, by node, `begin` and `end`; `default` is for those not named.",
    )
    retries: NonNegativeInt = Field(
        2, description="How often a container that was killed or lost its machine is started again."
    )
    retry_pause_seconds: PositiveInt = Field(60, description="Before the first of them; doubled each time.")
    endpoint: str | None = Field(
        None, description="Address of the Kubeflow Pipelines API, for submit and schedule.", pattern=r"^https?://.+"
    )
    token_variable: VariableName | None = Field(
        None, description="Environment variable with the bearer token for that API."
    )
    namespace: KubernetesName | None = Field(None, description="Profile namespace of a multi-user Kubeflow.")
    experiment: str = Field("hivemill", description="Experiment that the runs belong to.", min_length=1)
    service_account: KubernetesName | None = Field(
        None, description="Service account of the containers; the default of Kubeflow when left out."
    )

    @field_validator("mount_path")
    @classmethod
    def _mount_path_is_free(cls, value: str) -> str:
        """The launcher of Kubeflow Pipelines has folders of its own in each container."""
        taken = next((path for path in _TAKEN_PATHS if f"{value.rstrip('/')}/".startswith(f"{path}/")), None)
        if taken is not None or value.strip("/") in ("", "tmp"):
            raise ValueError(f"must be a folder of its own, not /, not /tmp and not below {', '.join(_TAKEN_PATHS)}")
        return value

    @model_validator(mode="after")
    def _password_is_secret(self):
        if PASSWORD_VARIABLE in self.environment:
            raise ValueError(f"{PASSWORD_VARIABLE} comes from metadata_secret, never from environment")
        return self

    def step(self, node_id: str) -> StepOptions:
        """What the container of a node may use."""
        default = self.steps.get(ALL_STEPS, StepOptions())
        return self.steps.get(node_id, default).over(default)
