"""Options of the alerts (`alerts:` in hivemill.yaml). Secrets are named here, never written here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, model_validator

from hivemill.common.options import Options

Event = Literal["red", "amber", "recovery", "late", "overrun", "aborted", "waiting"]
EVENTS: tuple[Event, ...] = ("red", "amber", "recovery", "late", "overrun", "aborted", "waiting")
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class _Channel(Options):
    events: tuple[Event, ...] = Field(
        EVENTS, description="What is sent here: red, amber, recovery, late, overrun; of rollouts aborted, waiting."
    )


class WebhookChannel(_Channel):
    """A POST of JSON: Hivemill's own document, or what a messenger expects."""

    type: Literal["webhook"]
    preset: Literal["generic", "slack", "feishu", "dingtalk", "wecom"] = Field(
        "generic", description="The form of the message; generic is Hivemill's own document."
    )
    url_env: VariableName = Field(description="Name of the environment variable that holds the address.")
    secret_env: VariableName | None = Field(
        None,
        description="Name of the variable with the signing secret: feishu and dingtalk as they define it, generic as "
        "the header X-Hivemill-Signature (HMAC-SHA256 of the body).",
    )

    @model_validator(mode="after")
    def _preset_signs(self):
        if self.secret_env and self.preset in ("slack", "wecom"):
            raise ValueError(f"{self.preset} has no signature; leave secret_env out")
        return self


class EmailChannel(_Channel):
    """A mail by SMTP."""

    type: Literal["email"]
    host: str = Field(description="The mail server.", min_length=1)
    port: int = Field(587, ge=1, le=65535, description="587 for starttls, 465 for tls, 25 for none, as a rule.")
    security: Literal["starttls", "tls", "none"] = Field("starttls", description="How the connection is protected.")
    sender: str = Field(description="Address that the mail is from.", min_length=3)
    to: Annotated[tuple[str, ...], Field(min_length=1)] = Field(description="Addresses that it goes to.")
    user_env: VariableName | None = Field(None, description="Name of the variable with the user, if one logs in.")
    password_env: VariableName | None = Field(None, description="Name of the variable with the password.")

    @model_validator(mode="after")
    def _password_is_protected(self):
        if (self.user_env is None) != (self.password_env is None):
            raise ValueError("user_env and password_env go together")
        if self.user_env and self.security == "none" and self.host not in _LOCAL_HOSTS:
            raise ValueError("a password needs `security: starttls` or `tls`, unless the server is this machine")
        return self


class CommandChannel(_Channel):
    """A program that gets the generic document on its standard input."""

    type: Literal["command"]
    command: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="The program and its arguments; no shell takes part."
    )


Channel = Annotated[WebhookChannel | EmailChannel | CommandChannel, Field(discriminator="type")]


class AlertOptions(Options):
    channels: tuple[Channel, ...] = Field((), description="Where alerts go; nowhere if empty.")
    max_run_minutes: PositiveFloat | None = Field(
        None, description="A run that takes longer is told of at once, while it goes on; no limit when left out."
    )
    max_rollout_wait_hours: PositiveFloat | None = Field(
        None,
        description="`rollout step --auto` tells of a rollout that is longer at one percentage, whatever it waits for; "
        "no limit when left out. Must be more than rollout.min_hours.",
    )
    attempts: int = Field(4, ge=1, le=10, description="How often a channel is tried.")
    first_wait_seconds: float = Field(1.0, ge=0, le=60, description="Wait after the first failure; doubles each time.")
    timeout_seconds: float = Field(10.0, gt=0, le=120, description="For each try.")
