"""The section `rollout` of hivemill.yaml: by which steps, after how long, and how good a new version must be."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hivemill.common.options import Options

Percent = Annotated[int, Field(ge=1, le=100)]


class GuardrailOptions(Options):
    """Bounds of what canary may do to users. Red only where chance is no explanation (99.9 %)."""

    max_error_increase: float = Field(
        0.001, ge=0, le=1, description="Most that canary's share of failed requests may be above stable's."
    )
    max_p99_seconds: float = Field(
        0.1, gt=0, description="Largest 99th percentile of canary's latency, in seconds as the client measures it."
    )
    max_p99_ratio: float = Field(1.5, ge=1, description="Most that this percentile may be of stable's.")
    max_calibration_error: float = Field(
        0.25, gt=0, lt=1, description="Most that canary's mean prediction / click rate may differ from 1, as a factor."
    )
    max_ctr_loss: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Relative loss of CTR that is accepted at any time: red where the whole interval is below it.",
    )
    max_ctr_loss_at_end: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="Relative loss of CTR that must be ruled out (the interval's lower end) before canary gets all.",
    )


class RolloutOptions(Options):
    server: str | None = Field(
        None,
        description="gRPC address of the model server, host:port; several replicas with commas between. Labels move "
        "only once all of them have the version loaded.",
    )
    server_reads: Literal["store", "mirror"] = Field(
        "store",
        description="Where these servers read versions: the store's folder, at the same path as here, or store.mirror.",
    )
    tls_ca_file: str | None = Field(
        None,
        description="PEM file of the authority that signed the servers' certificates; given, connections are encrypted "
        "and the servers' names checked. Plain text when left out.",
    )
    tls_cert_file: str | None = Field(
        None, description="PEM file of this client's certificate, where the servers ask for one."
    )
    tls_key_file: str | None = Field(None, description="PEM file of its private key.")
    percentages: tuple[Percent, ...] = Field(
        (1, 5, 25, 50, 100), description="Canary's share of the users at each step, rising; the last is 100."
    )
    min_hours: float = Field(24, ge=0, description="Least time at each step.")
    min_impressions: int = Field(1000, ge=1, description="Least impressions of canary at each step.")
    approval: Literal["manual", "automatic"] = Field(
        "manual",
        description="manual: `rollout step --auto` only watches, and aborts when red; a person takes each step. "
        "automatic: it takes the steps too.",
    )
    on_invalid_sample: Literal["wait", "abort"] = Field(
        "wait",
        description="What happens where the users of both variants may not be compared (a wrong sample ratio, users in "
        "both, one user with much of the traffic): the rollout never goes on; abort takes it back.",
    )
    metrics: str | None = Field(
        None, description="File with what both variants did (docs/rollout.md), as monitoring or `--metrics` gives it."
    )
    max_metrics_age_hours: float = Field(
        26, gt=0, description="Metrics that end longer ago count as missing: exit code 3."
    )
    load_timeout_seconds: float = Field(600, gt=0, description="Longest time that a server may take to load a version.")
    guardrails: GuardrailOptions = Field(GuardrailOptions(), description="What canary must not do to users.")

    @field_validator("percentages")
    @classmethod
    def _rising_to_all(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or list(value) != sorted(set(value)) or value[-1] != 100:
            raise ValueError("must rise from step to step and end with 100")
        return value

    @field_validator("server")
    @classmethod
    def _addresses(cls, value: str | None) -> str | None:
        for address in (value or "").split(",") if value is not None else ():
            host, _, port = address.strip().rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError("must be host:port, or several with commas between")
        return value

    @model_validator(mode="after")
    def _tls_is_whole(self) -> RolloutOptions:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file go together")
        if self.tls_cert_file and not self.tls_ca_file:
            raise ValueError("tls_cert_file needs tls_ca_file: without it nothing is encrypted")
        return self

    def credentials(self) -> Any:
        """grpc.ChannelCredentials for `server`; None for plain text. Raises ConfigError for files that are wrong."""
        from hivemill.serving import tls

        if self.tls_ca_file is None:
            return None
        return tls.channel_credentials(self.tls_ca_file, self.tls_cert_file, self.tls_key_file)

    def addresses(self) -> list[str]:
        return [address.strip() for address in self.server.split(",")] if self.server else []
