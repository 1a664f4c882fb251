"""The verbs `backfill` and `unlock`: runs for many dates, and the lock that a dead host left."""

from __future__ import annotations

import argparse
import re
from typing import Any

from hivemill.pipeline.cli.output import Output, add_verb, minutes, say, table


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    summary = "run the pipeline for many dates, the oldest first; the same command again goes on where it stopped"
    example = "hivemill backfill --from 2026-09-06 --to 2026-11-15 --every 7d --dry-run"
    verb = add_verb(verbs, "backfill", backfill, summary, example, common)
    verb.add_argument("--from", dest="first", required=True, metavar="D", help="first run date, like 2026-09-06")
    verb.add_argument("--to", dest="last", required=True, metavar="D", help="last run date; `yesterday` too")
    verb.add_argument("--every", type=_days, default=7, metavar="Nd", help="days between run dates (default: 7d)")
    verb.add_argument(
        "--reprocess",
        choices=("none", "failed", "all"),
        default="failed",
        help="of dates that ran with the same inputs: none of them, those that failed (default), or all, forced",
    )
    verb.add_argument("--dry-run", action="store_true", help="show what would be run, and run nothing")
    verb.add_argument("--keep-going", action="store_true", help="go on with later dates after one that failed")
    verb.add_argument("--runner", choices=("local", "beam"), help="instead of runner.name of the config")
    verb.add_argument(
        "--lock-wait", type=minutes, default=60.0, metavar="MINUTES", help="for another run to end (default: 60)"
    )
    summary = "remove the lock that a dead process left; refuse while its owner lives"
    verb = add_verb(verbs, "unlock", unlock, summary, "hivemill unlock --dead-host node-17", common)
    verb.add_argument("--dead-host", metavar="HOST", help="the owner's host, known to be dead: nothing is watched")


def backfill(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.pipeline.config import loader
    from hivemill.pipeline.scheduling import backfill as backfills
    from hivemill.pipeline.scheduling import dates

    loaded = loader.load(arguments.config, arguments.set)
    first = dates.resolve(arguments.first, loaded, say, option="--from")
    last = dates.resolve(arguments.last, loaded, say, option="--to")
    request = backfills.Request(first, last, arguments.every, arguments.reprocess)
    rows = backfills.look(loaded, request)
    if arguments.dry_run:
        document = {"version": 1, "reprocess": request.reprocess, "dates": [row.document() for row in rows]}
        output.show(document, _rows_text(rows))
        return 0
    say(_rows_text(rows))
    words = ["--lock-wait", f"{arguments.lock_wait:g}"]
    words += ["--runner", arguments.runner] if arguments.runner else []
    run_one = backfills.runner_of(loaded, words, arguments.set)
    made = backfills.run_stoppably(loaded, request, run_one, arguments.keep_going, say)
    output.show(made, _journal_text(made))
    return made["exit_code"]


def unlock(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.pipeline.config import loader
    from hivemill.pipeline.root import lock
    from hivemill.pipeline.root.object_root import place_of

    root = loader.load(arguments.config, arguments.set).config.root_path()
    card = lock.remove(root, arguments.dead_host)
    text = f"Removed the lock of {lock.words(card)}." if card else f"Nothing is locked below {place_of(root)}."
    output.show({"removed": card}, text)
    return 0


def _rows_text(rows: list[Any]) -> str:
    header = ("DATE", "ACTION", "WHY", "LAST RUN OF THESE INPUTS", "NOT READY")
    return table(header, [(str(row.date), row.action, row.why, row.was, _first_line(row.not_ready)) for row in rows])


def _journal_text(made: dict[str, Any]) -> str:
    header = ("DATE", "ACTION", "EXIT", "VERSION", "RUN", "")
    rows = [
        (date, one["action"], one["exit_code"], one["model_version"], one["run_id"], _first_line(one["message"]) or "")
        for date, one in sorted(made["dates"].items())
    ]
    return f"{table(header, rows)}\nBackfill {made['state']}, exit code {made['exit_code']}. Journal: {made['journal']}"


def _first_line(text: str | None) -> str | None:
    return text.splitlines()[0] if text else None


def _days(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,3})d", text)
    if not found:
        raise argparse.ArgumentTypeError(f"must be a number of days like 7d; received {text!r}")
    return int(found[1])
