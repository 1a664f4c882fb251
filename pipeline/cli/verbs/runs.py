"""The verbs `plan run tune runs status report`: what a run would do, runs it or searches its options, and what ran."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

from hivemill.common.errors import ConfigError, DataNotReadyError
from hivemill.pipeline.cli.output import DATE_HELP, Output, add_verb, count, minutes, say, table

_MAX_FINDINGS = 10


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    summary = "show the window, its partitions and what a run would cost; start nothing"
    verb = add_verb(verbs, "plan", plan, summary, "hivemill plan --date 2026-11-15", common)
    _add_date(verb)
    verb = add_verb(
        verbs,
        "run",
        run,
        "run the pipeline for a date; a second run for the same inputs does nothing",
        "hivemill run --date 2026-11-15 --set training.epochs=2",
        common,
    )
    _add_date(verb)
    verb.add_argument("--runner", choices=("local", "beam"), help="instead of runner.name of the config")
    verb.add_argument("--force", action="store_true", help="run all nodes again, though the inputs are the same")
    verb.add_argument(
        "--lock-wait", type=minutes, default=0.0, metavar="MINUTES", help="for another run to end (default: 0)"
    )
    _add_tune(verbs, common)
    verb = add_verb(verbs, "runs", runs, "list the runs with their verdicts", "hivemill runs --limit 10", common)
    verb.add_argument("--limit", type=count, metavar="N", help="the last N only")
    add_verb(verbs, "status", status, "show what runs now and who holds the lock", "hivemill status --json", common)
    verb = add_verb(
        verbs,
        "report",
        report,
        "write the report page of a run and print its path",
        "hivemill report 2026-11-15-1a2b3c4d --open",
        common,
    )
    verb.add_argument("run", nargs="?", metavar="RUN", help="run id; the run started last when left out")
    verb.add_argument("--open", action="store_true", help="open it in the browser")


def plan(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.pipeline.config import loader
    from hivemill.pipeline.runs import plan as planning
    from hivemill.pipeline.scheduling import dates

    loaded = loader.load(arguments.config, arguments.set)
    document = planning.plan(loaded, dates.resolve(arguments.date, loaded, say))
    output.show(document, "" if output.json else planning.render(document))
    return 0 if document["not_ready"] is None else DataNotReadyError.exit_code


def run(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.pipeline.config import loader
    from hivemill.pipeline.root import lock
    from hivemill.pipeline.runs import run as running
    from hivemill.pipeline.scheduling import dates

    loaded = loader.load(arguments.config, arguments.set)
    date = dates.resolve(arguments.date, loaded, say)
    patience = lock.LockOptions(wait_seconds=60 * arguments.lock_wait)
    record = running.run(loaded, date, arguments.runner, arguments.force, lock_options=patience)
    if output.json:
        output.show(record, "")
    if record["exit_code"] and record["error"]:
        output.error(record["error"]["message"], record["error"]["hint"])
    return record["exit_code"]


def tune(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.pipeline.cli.console import Console
    from hivemill.pipeline.config import loader
    from hivemill.pipeline.root import lock
    from hivemill.pipeline.scheduling import dates
    from hivemill.pipeline.tuning import session

    given = {key: getattr(arguments, key) for key in ("trials", "minutes", "workers")}
    budget = [f"tuning.{key}={value}" for key, value in given.items() if value is not None]
    loaded = loader.load(arguments.config, [*arguments.set, *budget])
    date = dates.resolve(arguments.date, loaded, say)
    patience = lock.LockOptions(wait_seconds=60 * arguments.lock_wait)
    document = session.tune(loaded, date, Console(), patience)
    is_accepted = bool(arguments.accept) and session.accept(loaded, document, arguments.accept)
    accepted = arguments.accept if is_accepted else None
    output.show({**document, "accepted": accepted}, _tuning_text(document, accepted, str(loaded.path)))
    return 0


def runs(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.pipeline.root.object_root import place_of
    from hivemill.pipeline.runs.records import list_runs

    root = _root(arguments)
    records = [{**record, "colour": _colour(root, record)} for record in list_runs(root)]
    records = records[-arguments.limit :] if arguments.limit else records
    header = ("RUN", "DATE", "STATE", "VERDICT", "EXIT", "VERSION", "STARTED", "SECONDS")
    rows = [
        (
            record["run_id"],
            record["date"],
            record["state"],
            record["colour"],
            record["exit_code"],
            record["model_version"],
            record["started_utc"],
            _seconds(record),
        )
        for record in records
    ]
    output.show(records, table(header, rows) if rows else f"No runs below {place_of(root)} yet.")
    return 0


def status(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.pipeline.runs import records as history

    root = _root(arguments)
    document = history.status(root)
    output.show(document, _status_text(document, root))
    return 0


def report(arguments: argparse.Namespace, output: Output) -> int:
    import shutil
    import tempfile

    from hivemill.pipeline.report.page import write_report
    from hivemill.pipeline.root import object_root

    root = _root(arguments)
    run_id = _run_id(arguments.run, root)
    object_root.fetch_run(root, run_id)
    page = write_report(root / "runs" / run_id)
    object_root.put_changes(root)
    place = object_root.place_of(page)
    output.show({"run_id": run_id, "path": place}, place)
    if arguments.open:
        if place != str(page):  # the copy goes with this process
            page = Path(shutil.copy(page, Path(tempfile.gettempdir()) / f"hivemill-{run_id}.html"))
        import webbrowser

        webbrowser.open(page.absolute().as_uri())
    return 0


def _add_tune(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    summary = "search better options of model and training on the window of a date, judged by its validation days"
    verb = add_verb(verbs, "tune", tune, summary, "hivemill tune --date 2026-11-15 --minutes 60 --workers 2", common)
    _add_date(verb)
    verb.add_argument("--trials", type=count, metavar="N", help="trainings at most, instead of tuning.trials")
    verb.add_argument("--minutes", type=minutes, metavar="M", help="for all trials, instead of tuning.minutes")
    verb.add_argument("--workers", type=count, metavar="N", help="trials at a time, instead of tuning.workers")
    verb.add_argument(
        "--accept",
        choices=("best", "mean"),
        help="write the change to the best trial, or to the mean, into the config",
    )
    verb.add_argument("--lock-wait", type=minutes, default=0.0, metavar="MINUTES", help="for a run to end (default: 0)")


def _tuning_text(document: dict[str, Any], accepted: str | None, path: str) -> str:
    from hivemill.pipeline.tuning.page import headline, reason

    rows = [
        (
            one["trial"],
            one["state"],
            _rounded(one.get("val_logloss")),
            _rounded(one.get("val_auc")),
            round(one["seconds"]),
        )
        for one in document["trials"]
    ]
    lines = [table(("TRIAL", "STATE", "LOGLOSS", "AUC", "SECONDS"), rows), "", f"{headline(document)}."]
    lines += [reason(document), f"Page: {document['page']}"]
    for which in ("best", "mean"):
        if document[which]["diff"]:
            end = f"{path} is changed." if accepted == which else f"The same with --accept {which} writes it."
            lines += ["", document[which]["diff"], end]
    return "\n".join(lines)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _add_date(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--date", required=True, metavar="D", help=DATE_HELP)


def _root(arguments: argparse.Namespace) -> Path:
    from hivemill.pipeline.config import loader

    return loader.load(arguments.config, arguments.set).config.root_path()


def _colour(root: Path, record: dict[str, Any]) -> str | None:
    """The verdict is that of the last finished attempt; a run that still goes on has none yet."""
    from hivemill.pipeline.runs.records import VERDICT_JSON, RunFolder, read_json

    if record["state"] not in ("succeeded", "failed"):
        return None
    return (read_json(RunFolder(root, record["run_id"]).file(VERDICT_JSON)) or {}).get("colour")


def _seconds(record: dict[str, Any]) -> int | None:
    if not record["finished_utc"]:
        return None
    times = (datetime.datetime.fromisoformat(record[key]) for key in ("started_utc", "finished_utc"))
    started, finished = times
    return round((finished - started).total_seconds())


def _status_text(document: dict[str, Any], root: Path) -> str:
    holder, last = document["lock"], document["last_finished"]
    lines = [f"Nothing runs below {root}."]
    if holder:
        process = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
        since = holder.get("since_utc", "an unknown time")
        age = f" ({_age(holder['age_seconds'])})" if holder.get("age_seconds") is not None else ""
        lines = [f"Run {holder.get('run_id', '?')} holds the lock: {process}, since {since}{age}."]
    lines += _stale_lines(document["stale_lock"])
    if last:
        outcome = f"version {last['model_version']}" if last["model_version"] else f"exit code {last['exit_code']}"
        lines.append(f"Last finished: {last['run_id']}, {last['state']} ({outcome}), {last['finished_utc']}.")
    lines += _verdict_lines(document["verdict"])
    lines += [f"Damaged, and left out: {one}." for one in document["damaged_runs"]]
    failed = [one for one in (last or {}).get("alerts", ()) if one["state"] == "failed"]
    lines += [f"Alert not delivered to {one['channel']}: {one['error']}." for one in failed]
    return "\n".join(lines)


def _stale_lines(card: dict[str, Any] | None) -> list[str]:
    if card is None:
        return []
    from hivemill.pipeline.root.lock import words

    return [f"A dead owner left its lock: {words(card)}. The next run takes it over."]


def _age(seconds: int) -> str:
    """`45 s`, `12 min`, `3 h 5 min`."""
    hours, rest = divmod(seconds // 60, 60)
    return f"{seconds} s" if seconds < 120 else (f"{hours} h {rest} min" if hours else f"{rest} min")


def _verdict_lines(summary: dict[str, Any] | None) -> list[str]:
    """The last verdict in the words of the report and the alert."""
    if summary is None:
        return []
    found = summary["findings"]
    lines = [f"Verdict: {summary['headline']} (exit code {summary['exit_code']})", f"  {summary['reason']}"]
    lines += [f"  {one['severity']}: {one['message']}" for one in found[:_MAX_FINDINGS]]
    more = len(found) - _MAX_FINDINGS
    return lines + ([f"  and {more} more, see the report"] if more > 0 else [])


def _run_id(wanted: str | None, root: Path) -> str:
    from hivemill.common.text import did_you_mean
    from hivemill.pipeline.runs.records import list_runs

    records = list_runs(root)
    if not records:
        raise ConfigError(f"there are no runs below {root}", hint="`hivemill run --date D` makes one.")
    if wanted is None:
        return max(records, key=lambda record: record["started_utc"])["run_id"]
    run_ids = [record["run_id"] for record in records]
    if wanted not in run_ids:
        raise ConfigError(
            f"there is no run {wanted!r} below {root}; {did_you_mean(wanted, run_ids)}",
            hint="`hivemill runs` lists them.",
        )
    return wanted
