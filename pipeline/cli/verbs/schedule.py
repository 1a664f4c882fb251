"""The verbs `schedule ENGINE`: the schedule of the config in the engine's language, printed or installed."""

from __future__ import annotations

import argparse
import datetime
import functools
import importlib
from typing import Any

from hivemill.pipeline.cli.output import Output, add_verb

# Each module has render(Started) -> Rendered and install(Rendered, Started) -> what was done, in lines.
ENGINES = {
    "kubernetes": "hivemill.pipeline.scheduling.kubernetes",
    "systemd": "hivemill.pipeline.scheduling.systemd",
    "cron": "hivemill.pipeline.scheduling.crontab",
    "airflow": "hivemill.pipeline.scheduling.airflow",
    "kubeflow": "hivemill.pipeline.scheduling.kubeflow",
}
_IN_A_CLUSTER = ("kubernetes", "kubeflow")  # where the image knows the command
_SUMMARIES = {
    "kubernetes": "print a CronJob with its ConfigMap; --install applies it with kubectl",
    "systemd": "print a service and its timer; --install writes and enables them",
    "cron": "print a line for crontab; --install puts it there",
    "airflow": "print a DAG file with a sensor on the partitions; --install writes it into Airflow's folder of DAGs",
    "kubeflow": "print the pipeline and its recurring run; --install creates or replaces it on the server",
}


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    schedule = verbs.add_parser(
        "schedule", help="the weekly schedule: print or install it", description="The schedule of the config."
    )
    engines = schedule.add_subparsers(metavar="ENGINE", required=True)
    for name in ENGINES:
        example = f"hivemill schedule {name} --install"
        function = functools.partial(_schedule, name)
        verb = add_verb(engines, name, function, _SUMMARIES[name], example, common)
        verb.add_argument("--install", action="store_true", help="put it in its place, instead of printing it")
        if name not in _IN_A_CLUSTER:
            verb.add_argument(
                "--command",
                metavar="FILE",
                help="hivemill on the machine that runs it (default: that of this environment)",
            )


def _schedule(engine: str, arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.pipeline.config import loader
    from hivemill.pipeline.scheduling.rendered import Started, command_of, next_starts

    module: Any = importlib.import_module(ENGINES[engine])
    loaded = loader.load(arguments.config, arguments.set)
    command = "hivemill" if engine in _IN_A_CLUSTER else command_of(arguments.command)
    started = Started(loaded, tuple(arguments.set), command)
    rendered = module.render(started)
    done = module.install(rendered, started) if arguments.install else []
    starts = next_starts(loaded, datetime.datetime.now(datetime.timezone.utc))
    document = {"version": 1, "engine": engine, "files": rendered.files, "notes": list(rendered.notes)}
    output.show(document | {"installed": done, "next_starts": starts}, _text(rendered.files, done))
    if not output.json:
        _tell(rendered.notes, starts, loaded.config.schedule.date)
    return 0


def _text(files: dict[str, str], done: list[str]) -> str:
    if done:
        return "\n".join(done)
    if len(files) == 1:
        return next(iter(files.values())).rstrip("\n")
    return "\n".join(f"# --- {name}\n{text}" for name, text in files.items()).rstrip("\n")


def _tell(notes: tuple[str, ...], starts: list[dict[str, str]], date: str) -> None:
    from hivemill.pipeline.cli.output import say

    for note in notes:
        say(f"note: {note}")
    for one in starts:
        say(f"next start: {one['start']}, run date {one['date']}" + (" or earlier" if date == "last-complete" else ""))
