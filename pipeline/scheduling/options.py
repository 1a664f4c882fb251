"""Options of the schedule (`schedule:` in hivemill.yaml): when and where a run starts, never what it makes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from hivemill.common.options import Options
from hivemill.pipeline.orchestrators.kubeflow.options import LabelKey, LabelValue
from hivemill.pipeline.scheduling import cron


def _checked_cron(text: str) -> str:
    return cron.CronExpression(text).text


def _checked_zone(name: str) -> str:
    return cron.zone(name).key


_DnsName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
_Memory = Annotated[str, Field(pattern=r"^[1-9][0-9]*(Mi|Gi)$")]


class KubernetesOptions(Options):
    """What a pod of the CronJob needs to know of the cluster."""

    image: str | None = Field(None, description="The Dockerfile's image, where the cluster finds it.", min_length=1)
    namespace: _DnsName = Field("default", description="Namespace of the CronJob.")
    volume_claim: _DnsName | None = Field(
        None, description="PersistentVolumeClaim for `root`; writable by user 10001. It is there, it is not made."
    )
    mount_path: Annotated[str, Field(pattern=r"^/[^\s:]+$")] = Field("/data", description="Where it is mounted.")
    environment: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = Field(
        {}, description="Variables of the pod, e.g. HIVEMILL__SOURCE__TABLE for a table's place in the pod."
    )
    secrets: tuple[_DnsName, ...] = Field(
        (), description="Secrets whose entries are variables of the pod: addresses of alerts, HIVE_PASSWORD."
    )
    service_account: _DnsName | None = Field(None, description="Its ServiceAccount; the namespace's default if none.")
    node_selector: dict[LabelKey, LabelValue] = Field({}, description="Labels of the nodes that may run it.")


class ScheduleOptions(Options):
    cron: Annotated[str, AfterValidator(_checked_cron)] = Field(
        "0 6 * * MON",
        description="When a run starts: minute hour day-of-month month day-of-week, in `timezone`.",
    )
    timezone: Annotated[str, AfterValidator(_checked_zone)] = Field(
        "UTC", description="IANA name. It says when a run starts and, for the table, when a day is over."
    )
    date: Literal["scheduled", "yesterday", "last-complete"] = Field(
        "scheduled", description="The run date of a start: `run --date` (docs/schedules.md)."
    )
    max_days_back: PositiveInt = Field(7, description="How many days `last-complete` looks back.", le=366)
    start_within_minutes: PositiveInt = Field(
        720, description="A start that was missed (cluster or machine down) is made up for so long."
    )
    max_run_minutes: PositiveInt = Field(480, description="A start that takes longer is stopped; the next one goes on.")
    lock_wait_minutes: float = Field(
        60, ge=0, description="How long a start waits for another run, such as a backfill, to end."
    )
    retries: int = Field(2, ge=0, le=10, description="How often a failed start is tried again.")
    cpu: PositiveFloat = Field(2, description="CPU cores of a run.")
    memory: _Memory = Field("8Gi", description="Memory of a run: request and limit.")
    gpus: int = Field(0, ge=0, description="nvidia.com/gpu of a run, Kubernetes only.")
    kubernetes: KubernetesOptions = Field(KubernetesOptions(), description="For `schedule kubernetes`.")
    user: str | None = Field(
        None, description="The user that a systemd system unit runs as.", pattern=r"^[a-z_][a-z0-9_-]*\$?$"
    )
