"""What ran: one folder per run with its record, and the reading of those records. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import datetime
import os
import socket
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from hivemill.common.clock import utc_now
from hivemill.common.errors import LockHeldError
from hivemill.common.storage import json_files
from hivemill.common.storage.atomic import write_json_atomically
from hivemill.pipeline.documents import verdict_summary
from hivemill.pipeline.root import lock

RUN_JSON, MANIFEST_JSON, VERDICT_JSON, HISTORY_JSON = "run.json", "manifest.json", "verdict.json", "history.json"
TRUTH_JSON, PROFILE_JSON = "_truth.json", "profile.json"
SERVING_CHECK_JSON = "serving_check.json"
REPORT_HTML, LOG_TXT, TENSORBOARD = "report.html", "log.txt", "tensorboard"


@dataclasses.dataclass(frozen=True)
class NodeRecord:
    """What one node did in one attempt of a run. `error` is set for a failed node: {message, hint, exit_code}."""

    node_id: str
    state: str
    seconds: float
    rows: int | None = None
    peak_memory_bytes: int | None = None
    cpu_seconds: float | None = None  # own and of ended child processes
    rows_per_second: float | None = None
    output_bytes: int | None = None  # of the files of its artifacts; None where it ran nothing
    error: dict[str, Any] | None = None


class RunFolder:
    """`<root>/runs/<run id>/`: every file of a run, written atomically, so that a reader never sees half of one."""

    def __init__(self, root: Path, run_id: str):
        self.run_id = run_id
        self.path = root / "runs" / run_id

    def file(self, name: str) -> Path:
        return self.path / name

    def read(self) -> dict[str, Any] | None:
        """The run's record, or None where there is none, or a damaged one."""
        record = read_json(self.file(RUN_JSON))
        return record if record is not None and isinstance(record.get("state"), str) else None

    def write(self, record: dict[str, Any]) -> None:
        write_json_atomically(self.file(RUN_JSON), record)

    def write_node(self, record: NodeRecord) -> None:
        write_json_atomically(self.path / "nodes" / f"{record.node_id}.json", dataclasses.asdict(record))

    def clear_nodes(self) -> None:
        for file in (self.path / "nodes").glob("*.json"):
            file.unlink()

    def node(self, node_id: str) -> dict[str, Any] | None:
        return read_json(self.path / "nodes" / f"{node_id}.json")


def new_record(run_id: str, date: datetime.date, attempt: int, **facts: Any) -> dict[str, Any]:
    """The record of a run that starts now (docs/cli.md, `run.json`)."""
    return {
        "version": 1,
        "run_id": run_id,
        "date": date.isoformat(),
        "attempt": attempt,
        "state": "running",
        "started_utc": utc_now(),
        "finished_utc": None,
        "exit_code": None,
        "error": None,
        **facts,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "nodes": [],
        "model_version": None,
    }


class _RunRecord(BaseModel):
    """What everybody who reads a record relies on; there may be more in it."""

    model_config = ConfigDict(extra="allow", strict=True)

    version: Literal[1]
    run_id: str
    date: str
    attempt: int
    state: str
    started_utc: str
    finished_utc: str | None
    exit_code: int | None
    host: str
    pid: int
    model_version: int | None
    nodes: list[dict[str, Any]]


def list_runs(root: Path) -> list[dict[str, Any]]:
    """All runs below `root`, oldest date first; one whose process died is shown as `killed`.

    A record that is damaged stops nobody: it is left out, and `damaged_runs` names it.
    """
    records = [_whole_record(file) for file in _run_files(root)]
    holder = lock.owner(root)
    return [_with_true_state(record, holder) for record in records if record]


def damaged_runs(root: Path) -> list[str]:
    """`<file>: <what is wrong>` of each record that `list_runs` leaves out."""
    return [f"{file}: {why}" for file in _run_files(root) if (why := _why_damaged(file)) is not None]


def _run_files(root: Path) -> list[Path]:
    return sorted((root / "runs").glob(f"*/{RUN_JSON}"))


def _whole_record(file: Path) -> dict[str, Any] | None:
    return read_json(file) if _why_damaged(file) is None else None


def _why_damaged(file: Path) -> str | None:
    """None for a record that can be read, and for one that is not there."""
    try:
        _RunRecord.model_validate(json_files.read_object(file))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"`{'.'.join(map(str, first['loc']))}`: {first['msg']}"
    except json_files.DamagedJsonError as error:
        return str(error)
    return None


def status(root: Path) -> dict[str, Any]:
    """What runs now, who holds the lock or left it, the last finished run and what its verdict says."""
    runs = list_runs(root)
    finished = [run for run in runs if run["state"] in ("succeeded", "failed")]
    last = max(finished, key=lambda run: run["finished_utc"] or "", default=None)
    return {
        "lock": lock.owner(root),
        "stale_lock": lock.stale(root),
        "running": [run for run in runs if run["state"] == "running"],
        "last_finished": last,
        "verdict": _verdict_summary(root, last) if last else None,
        "damaged_runs": damaged_runs(root),
    }


def _verdict_summary(root: Path, record: dict[str, Any]) -> dict[str, Any] | None:
    made = read_json(RunFolder(root, record["run_id"]).file(VERDICT_JSON))
    if not isinstance(made, dict) or made.get("colour") not in verdict_summary.WORDS:
        return None
    known = {key: record[key] for key in ("run_id", "date", "exit_code")}
    return verdict_summary.summary_of({**known, "reason": "no reason was recorded", **made}).document()


def read_json(path: Path) -> Any | None:
    """The JSON object at `path`; None where it is absent or damaged."""
    try:
        return json_files.read_object(path)
    except (FileNotFoundError, json_files.DamagedJsonError):
        return None


def check_no_other_job(root: Path, job: str | None) -> None:
    """Raises LockHeldError where a run has begun whose nodes another job launches
    (pipeline.runs.stepwise_run), and has not ended.

    Between two of its nodes no process holds the lock, so the run's record does.
    """
    for record in list_runs(root):
        if record["state"] == "running" and record.get("job") not in (None, job):
            raise LockHeldError(
                f"run {record['run_id']} below {root} has begun at {record['started_utc']} and not ended: job "
                f"{record['job']} launches its nodes",
                hint=f"Wait for that job. If it is gone for good: `hivemill node --end --job {record['job']}`.",
            )


def _with_true_state(record: dict[str, Any], holder: dict[str, Any] | None) -> dict[str, Any]:
    if record.get("job"):
        return record  # its nodes are processes of their own, wherever the job starts them
    if record["state"] == "running" and not _is_run_of(record, holder or {}):
        return {**record, "state": "killed"}
    return record


def _is_run_of(record: dict[str, Any], holder: dict[str, Any]) -> bool:
    """A forced run has a number behind the name that its lock is under."""
    is_name = f"{record['run_id']}-".startswith(f"{holder.get('run_id')}-")
    return is_name and all(record[key] == holder.get(key) for key in ("host", "pid"))
