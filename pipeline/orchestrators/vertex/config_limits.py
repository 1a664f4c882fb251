"""What of a config cannot work on Vertex AI, and what has no effect there. Imports no TFX."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hivemill.common.errors import ConfigError
from hivemill.common.storage import urls
from hivemill.common.text import did_you_mean
from hivemill.pipeline.config.loader import RELATIVE_PATHS
from hivemill.pipeline.config.schema import PipelineConfig
from hivemill.pipeline.orchestrators.kubeflow.options import ALL_STEPS
from hivemill.pipeline.orchestrators.vertex.options import VertexOptions

_SCHEME = "gs://"
# Hosts that are another one in each container. Beam's options name them bare, as host:port or within a URL or JSON.
_THIS_MACHINE = re.compile(
    r"(?<![\w.-])(?:localhost|127(?:\.\d{1,3}){3}|0\.0\.0\.0|\[?::1\]?)(?![\w.-])", re.IGNORECASE
)
_NAME = re.compile(r"[a-z][a-z0-9-]{0,127}")
_NO_FOLDER = "containers of Vertex AI share no folder with this machine, nor with each other"
_READ_BY_NODES = ("source", "label", "data_verdict")


def check(config: PipelineConfig) -> None:
    """Raises ConfigError for the first thing in `config` that Vertex AI cannot do."""
    for message, hint in _found(config):
        raise ConfigError(message, hint=hint)


def notes(config: PipelineConfig) -> list[str]:
    """What the config asks for that has no effect on Vertex AI, without being wrong: it may be for other engines."""
    found = []
    if config.alerts.max_run_minutes is not None:
        found.append("alerts.max_run_minutes: nobody watches a job of Vertex AI from here")
    for name in _variables_of_alerts(config):
        if name not in config.vertex.environment:
            found.append(f"alerts: vertex.environment has no {name}, so a job's alerts there are not delivered")
    if config.metadata.backend != "sqlite":
        found.append("metadata: not used; Vertex AI keeps the metadata of its jobs itself")
    if config.runner.name != "local" or config.runner.orchestrator_args:
        found.append("runner.name, runner.orchestrator_args: Vertex AI orders the nodes")
    return found


def _variables_of_alerts(config: PipelineConfig) -> list[str]:
    keys = ("url_env", "secret_env", "user_env", "password_env")
    named = (getattr(channel, key, None) for channel in config.alerts.channels for key in keys)
    return [name for name in named if name is not None]


def check_steps(options: VertexOptions, node_ids: list[str]) -> None:
    """Raises ConfigError for a step that is no node."""
    known = [ALL_STEPS, *node_ids]
    for name in options.steps:
        if name not in known:
            raise ConfigError(f"vertex.steps: there is no node {name!r}; {did_you_mean(name, known)}")


def job_name(config: PipelineConfig) -> str:
    """The config's name as Vertex AI takes one: small letters, digits and `-`. Raises ConfigError."""
    name = re.sub(r"[^a-z0-9]+", "-", config.name.lower()).strip("-")
    if not _NAME.fullmatch(name):
        rule = "name: Vertex AI names its jobs by it, and these begin with a letter"
        raise ConfigError(
            f"{rule}; received {config.name!r}", hint="Begin it with a letter; store.model keeps the model's."
        )
    return name


_Found = Iterator[tuple[str, str]]


def _found(config: PipelineConfig) -> _Found:
    yield from _own(config)
    yield from _places(config)
    yield from _nodes(config)
    yield from _addresses(config)


def _own(config: PipelineConfig) -> _Found:
    if config.vertex.image is None:
        yield "vertex.image is needed: the image of all containers", "docs/vertex.md says how it is made."
    job_name(config)


def _places(config: PipelineConfig) -> _Found:
    if not config.root.startswith(_SCHEME):
        yield (
            f"root must be in {_SCHEME} for Vertex AI: {_NO_FOLDER}; received {config.root}",
            "Like gs://BUCKET/hivemill.",
        )
    for path in RELATIVE_PATHS:
        value = _value(config, path)
        if path[0] in _READ_BY_NODES and value is not None and not urls.is_url(value):
            key = ".".join(path)
            yield (
                f"{key} must be a URL for Vertex AI: {_NO_FOLDER}; received {value}",
                f"Put it into the bucket and write {_SCHEME}….",
            )


def _value(config: PipelineConfig, path: tuple[str, ...]) -> str | None:
    value = config
    for name in path:
        value = getattr(value, name)
        if value is None:
            return None
    return value


def _nodes(config: PipelineConfig) -> _Found:
    if config.serving_check.docker_image:
        yield (
            f"serving_check.docker_image is {config.serving_check.docker_image}, and on Vertex AI there is no Docker",
            "Leave it out: TensorFlow Serving from the image if it is there, else the server in Python.",
        )


def _addresses(config: PipelineConfig) -> _Found:
    for key, value in (
        ("source.table", config.source.table),
        ("source.server", config.source.server),
        *(("runner.beam_args", argument) for argument in config.runner.beam_args),
    ):
        if value is not None and _THIS_MACHINE.search(value):
            yield (
                f"{key} names this machine, which is another one in each container: {urls.shown(value)}",
                "Name an address that the network of Vertex AI reaches.",
            )
