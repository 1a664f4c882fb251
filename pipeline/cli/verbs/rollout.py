"""The verbs `rollout start step status abort` and `rollback`: how a pushed version reaches everybody, or goes."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hivemill.common.errors import ConfigError, HivemillError
from hivemill.pipeline.cli.output import Output, add_verb, say, table

if TYPE_CHECKING:
    from hivemill.pipeline.config.schema import PipelineConfig
    from hivemill.serving.rollout.controller import Outcome, RolloutMachine
    from hivemill.serving.rollout.metrics import RolloutMetrics
    from hivemill.serving.rollout.model_server import ModelServers
    from hivemill.serving.rollout.state import Rollout
    from hivemill.serving.store.mirror import StoreMirror
    from hivemill.serving.store.model_store import ModelStore


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    rollout = verbs.add_parser("rollout", help="give a pushed version a growing share of the traffic")
    actions = rollout.add_subparsers(metavar="ACTION", required=True)
    summary = "put a version under the label canary, at the first percentage"
    verb = add_verb(actions, "start", start, summary, "hivemill rollout start --why 'better offline'", common)
    verb.add_argument("version", nargs="?", type=_version, metavar="VERSION", help="default: the newest one")
    verb.add_argument("--again", action="store_true", help="though it was taken back before")
    verb.add_argument("--auto", action="store_true", help="for schedules: nothing new to start is no error")
    _add_common(verb)
    summary = "take the next percentage, where time, sample and guardrails allow it"
    verb = add_verb(actions, "step", step, summary, "hivemill rollout step --auto", common)
    verb.add_argument("--auto", action="store_true", help="for schedules: waiting is no error, red aborts")
    verb.add_argument("--metrics", type=Path, metavar="FILE", help="what both variants did (default: rollout.metrics)")
    _add_common(verb)
    summary = "show where the rollout stands, what its guardrails say and what the server has loaded"
    verb = add_verb(actions, "status", status, summary, "hivemill rollout status --json", common)
    verb.add_argument("--metrics", type=Path, metavar="FILE", help="what both variants did (default: rollout.metrics)")
    summary = "give all traffic back to stable"
    _add_common(add_verb(actions, "abort", abort, summary, "hivemill rollout abort --why 'too slow'", common))
    summary = "go back to the last stable version: abort a running rollout, or undo the last promotion"
    _add_common(add_verb(verbs, "rollback", rollback, summary, "hivemill rollback --why 'complaints'", common))


def start(arguments: argparse.Namespace, output: Output) -> int:
    with _machine(arguments) as (machine, store, config):
        idle = _nothing_to_start(machine, store, config) if arguments.auto else None
        outcome = idle or machine.start(arguments.version, arguments.why, arguments.again)
        return _show(output, store, outcome)


def step(arguments: argparse.Namespace, output: Output) -> int:
    with _machine(arguments) as (machine, store, config):
        try:
            outcome = _stepped(arguments, machine, store, config)
        except HivemillError as error:
            _tell(arguments, store, config, error.message)
            raise
        _tell(arguments, store, config, outcome.message)
        return _show(output, store, outcome)


def _stepped(
    arguments: argparse.Namespace, machine: RolloutMachine, store: ModelStore, config: PipelineConfig
) -> Outcome:
    ended = machine.end_interrupted()
    if arguments.auto and not (ended.rollout and ended.rollout.is_running()):
        return dataclasses.replace(ended, message=f"No rollout of {store.model} is running.")
    for note in ended.warnings:
        print(f"note: {note}", file=sys.stderr)
    metrics = _metrics(arguments.metrics, config, _running(store))
    return machine.step(metrics, arguments.why, arguments.auto)


def _tell(arguments: argparse.Namespace, store: ModelStore, config: PipelineConfig, message: str) -> None:
    """Where nobody looks, the alerts do."""
    if arguments.auto:
        from hivemill.pipeline.alerts import rollouts

        for report in rollouts.tell(config, store, message):
            failed = f": {report['error']}" if report["error"] else ""
            say(f"alert `{report['event']}` to {report['channel']}: {report['state']}{failed}")


def abort(arguments: argparse.Namespace, output: Output) -> int:
    with _machine(arguments) as (machine, store, _):
        return _show(output, store, machine.abort(arguments.why))


def rollback(arguments: argparse.Namespace, output: Output) -> int:
    with _machine(arguments) as (machine, store, _):
        return _show(output, store, machine.rollback(arguments.why))


def status(arguments: argparse.Namespace, output: Output) -> int:
    """Changes nothing and always ends well: what cannot be told is a note."""
    from hivemill.serving.rollout.state import rollout_of

    config = _config(arguments)
    store = _store(config)
    rollout = rollout_of(store.state().rollout)
    notes: list[str] = []
    judgement = None
    if rollout is not None and rollout.is_running():
        judgement = _judgement(arguments.metrics, config, rollout, notes)
    document = {**_document(store, rollout), "judgement": judgement, "server": _loaded(config, store, notes)}
    document |= {"approval": config.rollout.approval, "notes": notes}
    output.show(document, _status_text(document))
    return 0


def _nothing_to_start(machine: RolloutMachine, store: ModelStore, config: PipelineConfig) -> Outcome | None:
    """Why a schedule starts nothing now; None where it starts."""
    ended = machine.end_interrupted()
    state = store.state()
    newest = max(store.versions(), default=None)
    reasons = {
        "a rollout is running": bool(ended.rollout and ended.rollout.is_running()),
        "rollout.approval is manual": config.rollout.approval == "manual",
        "there is no stable version yet": "stable" not in state.labels,
        "the newest version is stable": newest == state.labels.get("stable"),
        f"version {newest} was taken back before": str(newest) in state.rejected,
    }
    reason = next((reason for reason, holds in reasons.items() if holds), None)
    return dataclasses.replace(ended, message=f"Nothing is started: {reason}.") if reason else None


def _add_common(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--why", metavar="TEXT", help="for the audit log")
    verb.add_argument(
        "--without-server",
        action="store_true",
        help="ask no server whether the version is loaded; one that polls models.config follows in its own time",
    )


@contextlib.contextmanager
def _machine(arguments: argparse.Namespace) -> Iterator[tuple[RolloutMachine, ModelStore, PipelineConfig]]:
    from hivemill.serving.rollout.controller import RolloutMachine

    config = _config(arguments)
    store = _store(config)
    with _server(config, arguments.without_server) as server:
        yield RolloutMachine(store, config.rollout, server, _mirror(config, store)), store, config


@contextlib.contextmanager
def _server(config: PipelineConfig, without: bool) -> Iterator[ModelServers | None]:
    from hivemill.serving.rollout.model_server import ModelServers

    if without:
        yield None
        return
    if config.rollout.server is None:
        raise ConfigError(
            "rollout.server is not set, so nobody can say whether a version is loaded before its label moves",
            hint="Set it to the model server's gRPC address, host:port; or give --without-server: labels then move "
            "unasked, and requests may fail until the server has followed models.config.",
        )
    with ModelServers(config.rollout.addresses(), credentials=config.rollout.credentials()) as servers:
        yield servers


def _mirror(config: PipelineConfig, store: ModelStore) -> StoreMirror | None:
    if config.store.mirror is None:
        return None
    from hivemill.serving.store.mirror import StoreMirror

    return StoreMirror(store, config.store.mirror)


def _metrics(given: Path | None, config: PipelineConfig, rollout: Rollout) -> RolloutMetrics:
    from hivemill.serving.rollout.metrics import read_metrics

    if given is not None:
        return read_metrics(given)
    if config.rollout.metrics is not None:
        return read_metrics(Path(config.rollout.metrics))
    if config.experiment.log is not None:
        from hivemill.serving.rollout.exposures import metrics_of_log

        return metrics_of_log(rollout, config.experiment)
    raise ConfigError(
        "what did both versions do? Neither rollout.metrics nor experiment.log is set",
        hint="Give a metrics document with --metrics FILE (docs/rollout.md), or set one of the two.",
    )


def _judgement(given: Path | None, config: PipelineConfig, rollout: Rollout, notes: list[str]) -> dict | None:
    import datetime

    from hivemill.serving.rollout import guardrails

    try:
        metrics = _metrics(given, config, rollout)
    except HivemillError as error:
        notes.append(error.message)
        return None
    now = datetime.datetime.now(datetime.timezone.utc)
    refusal = guardrails.refusal(rollout, metrics, config.rollout, now)
    if refusal:
        notes.append(refusal)
        return None
    return guardrails.judge(rollout, metrics, config.rollout, now).to_document()


def _loaded(config: PipelineConfig, store: ModelStore, notes: list[str]) -> dict[str, str] | None:
    if config.rollout.server is None:
        notes.append("rollout.server is not set")
        return None
    try:
        with _server(config, False) as server:
            states = server.states(store.model)
    except HivemillError as error:
        notes.append(error.message)
        return None
    return {str(version): f"{one.state} {one.error}".rstrip() for version, one in sorted(states.items())}


def _running(store: ModelStore) -> Rollout:
    from hivemill.serving.rollout.state import rollout_of

    rollout = rollout_of(store.state().rollout)
    if rollout is None or not rollout.is_running():
        raise ConfigError(f"no rollout of {store.model} is running", hint="`hivemill rollout start` begins one.")
    return rollout


def _show(output: Output, store: ModelStore, outcome: Outcome) -> int:
    judgement = outcome.judgement.to_document() if outcome.judgement else None
    document = {
        **_document(store, outcome.rollout),
        "message": outcome.message,
        "judgement": judgement,
        "notes": list(outcome.warnings),
    }
    lines = [outcome.message, *(f"note: {warning}" for warning in outcome.warnings), *_judgement_lines(judgement)]
    output.show(document, "\n".join(lines))
    return 0


def _document(store: ModelStore, rollout: Rollout | None) -> dict[str, Any]:
    state = store.state()
    return {
        "store": store.place,
        "model": store.model,
        "labels": dict(state.labels),
        "rollout": dataclasses.asdict(rollout) if rollout else None,
        "pending": (state.pending or {}).get("action"),
    }


def _status_text(document: dict[str, Any]) -> str:
    rollout = document["rollout"]
    lines = [f"No rollout of {document['model']} yet; `hivemill rollout start` begins one."]
    if rollout:
        lines = [
            f"Version {rollout['canary']}: {rollout['state']}, {rollout['percent']} % of the users since "
            f"{rollout['step_since_utc']}; back to {rollout['stable']}." + (f" {rollout['why']}" * bool(rollout["why"]))
        ]
    if document["pending"]:
        lines.append(f"An interrupted {document['pending']} is ended by the next rollout command.")
    lines.append("Labels: " + ", ".join(f"{label} {version}" for label, version in document["labels"].items()))
    for version, state in (document["server"] or {}).items():
        lines.append(f"Server: version {version} is {state}")
    lines += _judgement_lines(document["judgement"]) + [f"note: {note}" for note in document["notes"]]
    return "\n".join(lines)


def _judgement_lines(judgement: dict[str, Any] | None) -> list[str]:
    if judgement is None:
        return []
    rows = [(each["name"], each["colour"], each["message"]) for each in judgement["findings"]]
    return [table(("GUARDRAIL", "SAYS", "BECAUSE"), rows)]


def _config(arguments: argparse.Namespace) -> PipelineConfig:
    from hivemill.pipeline.config import loader as config

    return config.load(arguments.config, arguments.set).config


def _store(config: PipelineConfig) -> ModelStore:
    from hivemill.serving.store.bucket import open_store

    return open_store(config.places().store, config.model_name())


def _version(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a version as `hivemill models` lists them; received {text!r}")
    return int(text)
