"""The verb `models`: what the model store holds."""

from __future__ import annotations

import argparse
from typing import Any

from hivemill.common.errors import ConfigError
from hivemill.pipeline.cli.output import Output, add_verb, table

_METRICS = ("auc", "logloss", "calibration")


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    summary = "list the versions in the model store: labels, metrics and the run that each came from"
    verb = add_verb(verbs, "models", models, summary, "hivemill models --json", common)
    actions = verb.add_subparsers(metavar="ACTION")
    summary = "bring the copy in store.mirror up to the store; what was interrupted goes on"
    add_verb(actions, "sync", sync, summary, "hivemill models sync", common)


def models(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.pipeline.config import loader
    from hivemill.serving.store.bucket import open_store

    loaded = loader.load(arguments.config, arguments.set)
    store = open_store(loaded.config.places().store, loaded.config.model_name())
    labels = store.labels()
    versions = [_document(store, version, labels) for version in store.versions()]
    state = store.state()
    document = {"store": store.place, "model": store.model, "labels": labels, "versions": versions}
    document |= {"rollout": state.rollout, "rejected": dict(state.rejected)}
    header = ("VERSION", "LABELS", *(metric.upper() for metric in _METRICS), "CREATED", "RUN")
    text = table(header, [_row(each) for each in versions]) if versions else _empty(store)
    output.show(document, "\n".join([text, *_rollout_lines(document)]))
    return 0


def sync(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.pipeline.config import loader
    from hivemill.serving.store.bucket import open_store
    from hivemill.serving.store.mirror import StoreMirror

    loaded = loader.load(arguments.config, arguments.set).config
    if loaded.store.mirror is None:
        raise ConfigError("store.mirror is not set, so there is no copy", hint="docs/rollout.md says what it is for.")
    store = open_store(loaded.places().store, loaded.model_name())
    if not store.versions():
        raise ConfigError(_empty(store))
    mirror = StoreMirror(store, loaded.store.mirror)
    done = mirror.sync()
    lines = [*(f"uploaded {key}" for key in done.uploaded), *(f"removed {key}" for key in done.removed)]
    document = {"mirror": mirror.base_path, "uploaded": done.uploaded, "removed": done.removed}
    output.show(document, "\n".join([*lines, f"{mirror.base_path} is as the store."]))
    return 0


def _document(store: Any, version: int, labels: dict[str, int]) -> dict[str, Any]:
    names = sorted(label for label, labelled in labels.items() if labelled == version)
    return {**store.record(version), "model_version": version, "labels": names, "path": store.place_of(version)}


def _rollout_lines(document: dict[str, Any]) -> list[str]:
    """Where a rollout stands, and which versions were taken back."""
    rollout = document["rollout"]
    running = rollout and rollout["state"] == "running"
    lines = [f"Version {rollout['canary']} is rolled out: {rollout['percent']} % of the users."] if running else []
    return lines + [f"Version {version} was taken back: {why}" for version, why in document["rejected"].items()]


def _row(each: dict[str, Any]) -> tuple[Any, ...]:
    metrics = each.get("metrics") or {}
    values = (metrics.get(metric) for metric in _METRICS)
    return (
        each["model_version"],
        ",".join(each["labels"]) or None,
        *values,
        each.get("created_utc"),
        each.get("run_id"),
    )


def _empty(store: Any) -> str:
    return f"No version of {store.model} in {store.place} yet; `hivemill run --date D` pushes the first."
