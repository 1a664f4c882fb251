"""The config as the containers of a cluster see it, and what cannot work in them. Needs no kfp."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import yaml

from hivemill.common.errors import ConfigError
from hivemill.pipeline.config import loader as config_module
from hivemill.pipeline.config.loader import LoadedConfig
from hivemill.pipeline.config.schema import PipelineConfig

_HINT_SERVER = "Set metadata.backend to mysql, and host and user: pods on several machines cannot share a SQLite file."


def config_inside(loaded: LoadedConfig) -> LoadedConfig:
    """The config as containers see it: overrides and environment of now are in it, relative paths are on the volume."""
    text = yaml.safe_dump(loaded.tree.data, sort_keys=False, allow_unicode=True, width=120)
    place = Path(loaded.config.kubeflow.mount_path) / loaded.path.name
    return config_module.load(place, environment={}, text=text)


def check(config: PipelineConfig) -> None:
    """Raises ConfigError for what cannot work in containers; `config` is the one inside of them."""
    options = config.kubeflow
    if options.image is None:
        raise ConfigError("kubeflow.image is needed: the image of all containers", hint="docs/kubeflow.md builds it.")
    if config.metadata.backend != "mysql":
        rule = f"metadata.backend must be mysql for Kubeflow; received {config.metadata.backend}"
        raise ConfigError(rule, hint=_HINT_SERVER)
    for key, place in (("root", config.root), ("source.table", config.source.table)):
        if place is not None and "://" not in place and not _is_below(place, options.mount_path):
            rule = f"{key}: containers see the volume at {options.mount_path} only; received {place}"
            raise ConfigError(rule, hint="Write it relative, or below kubeflow.mount_path.")


def needs_volume(config: PipelineConfig) -> bool:
    """Whether a container reads or writes below the volume: its root, or a table, is a folder."""
    clicks = config.label.join.clicks.table if config.label.join else None
    serving = config.data_verdict.serving_log.table if config.data_verdict.serving_log else None
    tables = (config.source.table, clicks, serving)
    return any(place is not None and "://" not in place for place in (config.root, *tables))


def _is_below(place: str, folder: str) -> bool:
    return PurePosixPath(folder) in (PurePosixPath(place), *PurePosixPath(place).parents)


def kubernetes_name(name: str) -> str:
    return "".join(each if each.isascii() and each.isalnum() else "-" for each in name.lower()).strip("-")
