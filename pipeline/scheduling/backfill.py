"""Runs for many dates, the oldest first: what would happen, and then that, each run a process of its own.

A run of its own process gives its memory back, and if a library takes it down, the backfill lives on to say so. The
journal `<root>/backfills/<name>.json` says how far one came; the same command goes on there.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import hivemill
from hivemill.common.errors import ConfigError, DataCorruptError, DataNotReadyError, InfrastructureError, LockHeldError
from hivemill.common.storage.atomic import fingerprint, write_json_atomically
from hivemill.pipeline.config.loader import LoadedConfig
from hivemill.pipeline.root import lock, object_root
from hivemill.pipeline.runs import plan as planning
from hivemill.pipeline.runs import records
from hivemill.pipeline.runs.sigterm import stopped_by_sigterm

Reprocess = Literal["none", "failed", "all"]
FOLDER = "backfills"
MAX_DATES = 1000
# From harmless to grave: what a schedule or a person must look at first. Codes beyond these are defects of ours.
_SEVERITY = (0, 5, 3, 4, 8, 7, 9, 6, 2, 1)
_STOPS_ALWAYS = (ConfigError.exit_code, LockHeldError.exit_code)  # every later date would end the same way
RunOne = Callable[[datetime.date, bool], dict[str, Any]]
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Request:
    """The dates from `first` on, every `every_days` days, up to `last`; all of it is the journal's name.

    Raises ConfigError for dates in the wrong order, or too many of them.
    """

    first: datetime.date
    last: datetime.date
    every_days: int
    reprocess: Reprocess

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ConfigError(f"--from {self.first} must not be after --to {self.last}")
        if len(self.dates()) > MAX_DATES:
            raise ConfigError(f"a backfill has at most {MAX_DATES} dates; received {len(self.dates())}")

    def dates(self) -> list[datetime.date]:
        days = (self.last - self.first).days
        return [self.first + datetime.timedelta(days=day) for day in range(0, days + 1, self.every_days)]


@dataclasses.dataclass(frozen=True)
class Row:
    """What a backfill would do for a date. `was` is the run of the same inputs; None where there is none yet."""

    date: datetime.date
    run_id: str | None
    was: str | None
    action: Literal["run", "force", "skip"]
    why: str
    not_ready: str | None = None

    def document(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "date": self.date.isoformat()}


def look(loaded: LoadedConfig, request: Request, done: Iterable[str] = ()) -> list[Row]:
    """The rows of a dry run. `done` are dates (ISO) that this same backfill has finished already."""
    return [_row(loaded, date, request.reprocess, set(done)) for date in request.dates()]


def backfill(
    loaded: LoadedConfig, request: Request, run_one: RunOne, keep_going: bool = False, say: Say = lambda line: None
) -> dict[str, Any]:
    """Runs what `look` says, date by date, and returns the journal with its `exit_code`, the worst of all.

    Stops at the first run that does not end with 0, unless `keep_going`; a mistake in the config and a lock that is
    held stop it always. What was killed goes on: the same request again skips what it has finished.

    Args:
        run_one: runs one date, forced or not, and returns {run_id, exit_code, message, model_version}.

    Raises:
        LockHeldError: where another backfill goes on below the same root.
    """
    root = loaded.config.root_path()
    folder = root / FOLDER
    with lock.backfill_lock(root, folder, f"backfill of {request.first} to {request.last}", say):
        journal = _Journal(folder, request, loaded.config.semantic_fingerprint())
        if journal.done():
            say(f"Goes on: {len(journal.done())} of {len(request.dates())} dates are done.")
        for date in request.dates():
            object_root.refresh(root)  # the runs are processes of their own
            row = _row(loaded, date, request.reprocess, journal.done())
            if row.action == "skip":
                journal.skipped(row)
                continue
            say(f"{date}: {row.action}, {row.why}")
            journal.finished(row, run_one(date, row.action == "force"))
            code = journal.code_of(date)
            if code in _STOPS_ALWAYS or (code and not keep_going):
                return journal.close("stopped")
        return journal.close("finished")


def run_stoppably(
    loaded: LoadedConfig, request: Request, run_one: RunOne, keep_going: bool, say: Say
) -> dict[str, Any]:
    """`backfill`, which SIGTERM ends: the run that goes on is stopped, and both go on with the next start."""
    with stopped_by_sigterm():
        return backfill(loaded, request, run_one, keep_going, say)


def worst(codes: Iterable[int]) -> int:
    """The gravest exit code of several; 0 for none."""
    return max(codes, key=lambda code: _SEVERITY.index(code) if code in _SEVERITY else len(_SEVERITY), default=0)


def runner_of(loaded: LoadedConfig, words: Sequence[str], overrides: Sequence[str]) -> RunOne:
    """Runs `hivemill run --date D words…` as a process; its progress goes where ours goes."""
    settings = [word for override in overrides for word in ("--set", override)]
    start = [sys.executable, "-m", "hivemill", "--config", str(loaded.path.absolute()), *settings, "--json", "run"]

    def run_one(date: datetime.date, force: bool) -> dict[str, Any]:
        return _outcome(*_run([*start, "--date", date.isoformat(), *words, *(["--force"] if force else [])]))

    return run_one


def _run(command: Sequence[str]) -> tuple[int, str]:
    """Exit code and standard output. Whatever ends us (SIGTERM raises) is handed on to the run, which ends in time."""
    here = str(Path(hivemill.__file__).parents[1])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
    try:
        printed, _ = process.communicate()
        return process.returncode, printed
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _outcome(code: int, printed: str) -> dict[str, Any]:
    document = _parsed(printed)
    problem = document.get("error") or {}
    if code < 0:
        name = signal.Signals(-code).name
        code, problem = InfrastructureError.exit_code, {"message": f"the run's process was ended by {name}"}
    return {
        "run_id": document.get("run_id"),
        "exit_code": code,
        "message": problem.get("message"),
        "model_version": document.get("model_version"),
    }


def _parsed(printed: str) -> dict[str, Any]:
    try:
        return json.loads(printed)
    except ValueError:
        return {}


def _row(loaded: LoadedConfig, date: datetime.date, reprocess: Reprocess, done: set[str]) -> Row:
    try:
        plan = planning.make_plan(loaded, date)
    except (DataNotReadyError, DataCorruptError) as error:
        return Row(date, None, None, "run", "its window cannot be planned", error.message)
    record = _record(loaded, plan.run_id)
    was = _words(record) if record else None
    if date.isoformat() in done:
        return Row(date, plan.run_id, was, "skip", "done in this backfill")
    action, why = _decision(record, plan, reprocess)
    not_ready = planning.why_not_ready(plan.window) if action != "skip" else None
    return Row(date, plan.run_id, was, action, why, not_ready)


def _record(loaded: LoadedConfig, run_id: str) -> dict[str, Any] | None:
    """The newest run of these inputs, forced ones (`<run id>-2`) too, in its true state."""
    all_runs = records.list_runs(loaded.config.root_path())
    same = [one for one in all_runs if one["run_id"] == run_id or one["run_id"].startswith(f"{run_id}-")]
    return max(same, key=lambda one: one["started_utc"], default=None)


def _words(record: dict[str, Any]) -> str:
    if record["state"] == "succeeded":
        return f"succeeded, version {record['model_version']}"
    return f"failed, exit code {record['exit_code']}" if record["state"] == "failed" else record["state"]


def _decision(
    record: dict[str, Any] | None, plan: planning.RunPlan, reprocess: Reprocess
) -> tuple[Literal["run", "force", "skip"], str]:
    if record is None:
        return "run", "never ran with these inputs"
    if record["state"] in ("killed", "running"):
        return "run", "goes on where it stopped"
    if reprocess == "all":
        return ("force", "all are run again") if plan.finished else ("run", "all are run again")
    if record["state"] == "succeeded" and plan.finished:
        return "skip", "is finished"
    if reprocess == "none":
        return "skip", "ran already; --reprocess failed runs it again"
    if plan.finished:
        return "skip", "was refused, and the bar is still the same"
    return "run", "its version is gone from the store" if record["state"] == "succeeded" else "failed"


class _Journal:
    def __init__(self, folder: Path, request: Request, config_fingerprint: str):
        key = fingerprint(dataclasses.asdict(request) | _iso(request), config_fingerprint)[:8]
        self._path = folder / f"{request.first}-{request.last}-{key}.json"
        earlier = records.read_json(self._path)
        goes_on = isinstance(earlier, dict) and earlier.get("state") != "finished"
        self._document: dict[str, Any] = earlier if goes_on else {"version": 1, "started_utc": records.utc_now()}
        self._document |= _iso(request) | {"every_days": request.every_days, "reprocess": request.reprocess}
        self._document |= {"state": "running", "finished_utc": None, "exit_code": None}
        self._dates: dict[str, dict[str, Any]] = self._document.setdefault("dates", {})
        self._write()

    def done(self) -> set[str]:
        """Dates that ended well in this backfill, before it was stopped or killed."""
        return {
            date for date, outcome in self._dates.items() if outcome["exit_code"] == 0 and outcome["action"] != "skip"
        }

    def code_of(self, date: datetime.date) -> int:
        return self._dates[date.isoformat()]["exit_code"]

    def skipped(self, row: Row) -> None:
        if row.date.isoformat() not in self.done():
            outcome = {"run_id": row.run_id, "exit_code": 0, "message": None, "model_version": None}
            self._note(row, outcome)

    def finished(self, row: Row, outcome: dict[str, Any]) -> None:
        self._note(row, outcome)

    def close(self, state: str) -> dict[str, Any]:
        self._document |= {
            "state": state,
            "finished_utc": records.utc_now(),
            "exit_code": worst(outcome["exit_code"] for outcome in self._dates.values()),
        }
        self._write()
        return {**self._document, "journal": str(self._path)}

    def _note(self, row: Row, outcome: dict[str, Any]) -> None:
        self._dates[row.date.isoformat()] = {"action": row.action, "why": row.why, **outcome}
        self._write()

    def _write(self) -> None:
        write_json_atomically(self._path, self._document)


def _iso(request: Request) -> dict[str, Any]:
    return {"first": request.first.isoformat(), "last": request.last.isoformat()}
