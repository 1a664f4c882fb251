"""The verb `node`: one process of a run that an orchestrator starts piece by piece (pipeline.runs.stepwise_run)."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hivemill.common.errors import ConfigError
from hivemill.pipeline.cli.output import Output, add_verb

if TYPE_CHECKING:
    from hivemill.pipeline.config.loader import LoadedConfig


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    verb = add_verb(
        verbs,
        "node",
        node,
        "begin a run, launch one node of it, or end it: what a container runs",
        "hivemill node --node Trainer --pipeline hivemill/runs/2026-11-15-1a2b3c4d/pipeline.json",
        common,
    )
    action = verb.add_mutually_exclusive_group(required=True)
    action.add_argument("--begin", action="store_true", help="plan, check and compile the run of --date for --job")
    action.add_argument("--node", metavar="ID", help="launch this node of --pipeline; no config is read")
    action.add_argument("--end", action="store_true", help="make verdict, report and alerts of what --job has begun")
    verb.add_argument("--date", metavar="D", help="with --begin: run date, like 2026-11-15, or `yesterday`")
    verb.add_argument("--job", metavar="J", help="with --begin and --end: name of the orchestrator's run")
    verb.add_argument("--force", action="store_true", help="with --begin: run all nodes again")
    verb.add_argument("--pipeline", metavar="FILE", help="with --node: pipeline.json that --begin wrote")
    verb.add_argument("--pipeline-to", type=Path, metavar="FILE", help="with --begin: where to write that path")
    verb.add_argument("--config-text", metavar="YAML", help="content of the config, instead of the file's")
    verb.add_argument("--overrides", metavar="JSON", help="list of texts like --set's, as one argument")


def node(arguments: argparse.Namespace, output: Output) -> int:
    _check(arguments)
    if arguments.begin:
        return _begin(arguments, output)
    return _end(arguments, output) if arguments.end else _launch(arguments, output)


def _begin(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.common.storage.atomic import write_text_atomically
    from hivemill.pipeline.cli.console import Console
    from hivemill.pipeline.runs import stepwise_run
    from hivemill.pipeline.scheduling import dates

    loaded, console = _loaded(arguments), Console()
    date = dates.resolve(arguments.date, loaded, console.line)
    record = stepwise_run.begin(loaded, date, arguments.job, arguments.force, console)
    if arguments.pipeline_to:
        write_text_atomically(arguments.pipeline_to, record["pipeline"])
    output.show(record, record["pipeline"])
    return 0


def _launch(arguments: argparse.Namespace, output: Output) -> int:
    import dataclasses

    from hivemill.pipeline.cli.console import Console
    from hivemill.pipeline.runs import stepwise_run

    record = stepwise_run.launch(arguments.pipeline, arguments.node, Console())
    if output.json:
        output.show(dataclasses.asdict(record) if record else {"node_id": arguments.node, "state": "skipped"}, "")
    return 0


def _end(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.pipeline.cli.console import Console
    from hivemill.pipeline.runs import stepwise_run

    record = stepwise_run.end(_loaded(arguments), arguments.job, Console())
    if output.json:
        output.show(record, "")
    if record["exit_code"] and record["error"]:
        output.error(record["error"]["message"], record["error"]["hint"])
    return record["exit_code"]


def _check(arguments: argparse.Namespace) -> None:
    """argparse knows no options that go together."""
    needed = {"--begin": ("date", "job"), "--end": ("job",), "--node": ("pipeline",)}
    action = "--begin" if arguments.begin else "--end" if arguments.end else "--node"
    for name in needed[action]:
        if getattr(arguments, name) is None:
            raise ConfigError(f"hivemill node {action} needs --{name}", hint="`hivemill node --help` shows an example.")


def _loaded(arguments: argparse.Namespace) -> LoadedConfig:
    from hivemill.pipeline.config import loader

    return loader.load(arguments.config, [*arguments.set, *_overrides(arguments.overrides)], text=arguments.config_text)


def _overrides(text: str | None) -> list[str]:
    try:
        found: Any = json.loads(text or "[]")
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ConfigError(
            f"--overrides must be a JSON list of texts, like '[\"training.epochs=5\"]'; received {text!r}"
        )
    return found
