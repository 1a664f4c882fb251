"""A run as separate processes: `begin`, one process for each node, `end`. What the containers of an orchestrator run.

`begin` plans, checks and compiles; the compiled pipeline in the run's folder is all that a node needs. `end` makes the
verdict, the page and the alerts of whatever the nodes left. A job (the orchestrator's name of the whole) keeps them
together: `<root>/jobs/<job>.json` says what came of its `begin`. Imports no TensorFlow until a node is launched.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import time
import traceback
from pathlib import Path
from typing import Any

from hivemill.common.errors import (
    ConfigError,
    DataCorruptError,
    DataNotReadyError,
    DataVerdictError,
    HivemillError,
    InfrastructureError,
    ModelNotBlessedError,
)
from hivemill.common.storage import urls
from hivemill.common.storage.atomic import write_json_atomically
from hivemill.common.text import did_you_mean
from hivemill.pipeline.alerts import overruns
from hivemill.pipeline.alerts.delivery import Alerts
from hivemill.pipeline.cli.console import Console, library_noise_to
from hivemill.pipeline.config.loader import LoadedConfig
from hivemill.pipeline.orchestrators import training_task
from hivemill.pipeline.root import lock, object_root
from hivemill.pipeline.root.lock import LockOptions, run_lock
from hivemill.pipeline.runs import publish, records
from hivemill.pipeline.runs.compiled_pipeline import PIPELINE_HINT, PIPELINE_JSON, read_pipeline
from hivemill.pipeline.runs.finalize import EndedRun, gather
from hivemill.pipeline.runs.records import NodeRecord, RunFolder
from hivemill.pipeline.runs.sigterm import stopped_by_sigterm

_HINT_AGAIN = "Begin it again (`hivemill node --begin`): it goes on where it stopped."
_HINT_WORKERS = "Start all workers of this training again: it goes on from its checkpoint."
_CHIEF_POLL_SECONDS = 1.0
JOB_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
# What a second try cannot change, by exit code. An orchestrator retries whatever fails.
_FINAL = {
    kind.exit_code: kind
    for kind in (ConfigError, DataNotReadyError, DataVerdictError, ModelNotBlessedError, DataCorruptError)
}


def begin(loaded: LoadedConfig, date: datetime.date, job: str, force: bool, console: Console) -> dict[str, Any]:
    """Begins the run of `date` for `job`; returns its record with `pipeline`, the path for `launch`.

    A job that has begun goes on with its run (an orchestrator may start this process twice). Raises like running.run.
    """
    from hivemill.pipeline.runs import run

    root = loaded.config.root_path()
    file = _job_file(root, job)
    begun = _begun_by(root, job)
    if begun is not None and begun.file(PIPELINE_JSON).exists():
        console.line(f"Job {job} goes on with run {begun.run_id}.")
        return {**(begun.read() or {}), "pipeline": object_root.place_of(begun.file(PIPELINE_JSON))}
    try:
        record = run.begin(loaded, date, job, force, console)
    except HivemillError as error:
        card = {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
        with contextlib.suppress(OSError):
            write_json_atomically(file, {"run_id": None, "error": card})
            object_root.put_changes(root)
        raise
    write_json_atomically(file, {"run_id": record["run_id"], "error": None})
    object_root.put_changes(root)
    return {**record, "pipeline": object_root.place_of(RunFolder(root, record["run_id"]).file(PIPELINE_JSON))}


def launch(pipeline: str, node_id: str, console: Console) -> NodeRecord | None:
    """Launches one node of the compiled pipeline at `pipeline`, a path or URL; None where its run is finished already.

    Where TF_CONFIG names this process a worker that is not the chief, it only trains along
    (pipeline.orchestrators.training_worker).
    What cannot change with a second try (a red verdict, refused data) is told again without one.
    Raises the node's error; ConfigError for a file or node that is not there.
    """
    folder, record = _run_of(pipeline)
    file = folder.file(PIPELINE_JSON)
    if record["state"] == "succeeded":
        console.line(f"Nothing to do: run {folder.run_id} of the same inputs is finished.")
        return None
    if record["state"] != "running":
        raise InfrastructureError(
            f"run {folder.run_id} has ended with exit code {record['exit_code']}", hint=_HINT_AGAIN
        )
    _raise_what_is_final(folder.node(node_id))
    worker = training_task.other_worker(os.environ)
    if worker is not None:
        return _trained_along(file, node_id, folder, worker, console)
    root = folder.path.parents[1]
    with (
        stopped_by_sigterm() as stop,
        run_lock(root, folder.run_id, LockOptions(), console.line, stop.now),
        overruns.watch(folder),
        library_noise_to(folder.file(records.LOG_TXT)) as real_error,
    ):
        console.rebind(real_error)
        try:
            return _launched(read_pipeline(file), node_id, folder, console)
        finally:
            console.rebind(None)


def end(loaded: LoadedConfig, job: str, console: Console) -> dict[str, Any]:
    """Ends the run that `job` has begun: verdict, page, alerts. Returns {run_id, exit_code, …}; again, the same.

    Where no run was begun it tells why, and sends the alert that `begin` could not send itself.
    """
    with publish.failures_told(loaded.config, _today(), console.line):
        root = loaded.config.root_path()  # nobody else tells of a bucket that does not answer
    known = records.read_json(_job_file(root, job))
    folder = _begun_by(root, job)
    if folder is None:
        return _never_begun(loaded, job, console) if known is None else _known(root, known)
    with stopped_by_sigterm() as stop, run_lock(root, folder.run_id, LockOptions(), console.line, stop.now):
        with overruns.watch(folder, loaded.config.alerts):
            pass  # a run that became too old while no process ran
        return _concluded(loaded, folder, folder.read() or {}, console)


def _trained_along(pipeline: Path, node_id: str, folder: RunFolder, worker: str, console: Console) -> NodeRecord | None:
    """The chief holds the run's lock and writes the node's record; this process writes its log, and nothing else."""
    started, earlier = time.monotonic(), folder.node(node_id)
    if earlier and not earlier["error"]:
        console.line(f"Nothing to do: the chief has ended {node_id} already.")
        return None
    with stopped_by_sigterm(), library_noise_to(folder.file(f"log.{worker}.txt")) as real_error:
        console.rebind(real_error)
        try:
            ir = read_pipeline(pipeline)
            _check_node(ir, node_id)
            from hivemill.pipeline.orchestrators.training_worker import train_along

            console.line(f"{worker} of {node_id}: trains along with the chief.")
            train_along(ir, node_id)
            _wait_for_chief(folder, node_id, earlier)
        finally:
            console.rebind(None)
    return NodeRecord(node_id, "succeeded", time.monotonic() - started)


def _wait_for_chief(folder: RunFolder, node_id: str, earlier: dict[str, Any] | None) -> None:
    """Until the chief has exported the model. A worker that has ended is not started again, and a chief that is killed
    now needs it again. Raises InfrastructureError where the chief failed, or its lock is free or another process's.
    """
    root = folder.path.parents[1]
    chief = lock.owner(root)
    while True:
        now = lock.owner(root)  # before the record, which the chief writes while it holds the lock
        record = folder.node(node_id)
        if record != earlier and record is not None:
            break
        if chief is None or now is None or any(now[key] != chief[key] for key in ("host", "pid", "since_utc")):
            raise InfrastructureError(
                f"the chief of {node_id} was lost before it exported the model", hint=_HINT_WORKERS
            )
        time.sleep(_CHIEF_POLL_SECONDS)
    if record["error"]:
        raise InfrastructureError(f"the chief of {node_id} failed: {record['error']['message']}", hint=_HINT_WORKERS)


def _check_node(ir: Any, node_id: str) -> None:
    known = [node.pipeline_node.node_info.id for node in ir.nodes]
    if node_id not in known:
        raise ConfigError(f"the pipeline has no node {node_id!r}; {did_you_mean(node_id, known)}")


def _launched(ir: Any, node_id: str, folder: RunFolder, console: Console) -> NodeRecord:
    from hivemill.pipeline.orchestrators.node_launcher import launch_node

    _check_node(ir, node_id)
    console.node_starts(node_id)
    record = launch_node(ir, node_id, folder)
    console.node_ended(record)
    return record


def _concluded(loaded: LoadedConfig, folder: RunFolder, record: dict[str, Any], console: Console) -> dict[str, Any]:
    started = datetime.datetime.fromisoformat(record["started_utc"]).timestamp()
    conclusion = EndedRun(folder, record, Alerts(loaded.config.alerts, folder.path.parents[1]), console.line)
    collected: dict[str, Any] = {}
    node_ids: list[str] = []
    error: BaseException | None = None
    file = folder.file(PIPELINE_JSON)
    with library_noise_to(folder.file(records.LOG_TXT)) as real_error:
        console.rebind(real_error)
        try:
            if not file.exists():
                raise InfrastructureError(f"run {folder.run_id} was begun and has not compiled", hint=_HINT_AGAIN)
            ir = read_pipeline(file)
            node_ids = [node.pipeline_node.node_info.id for node in ir.nodes]
            error = _unfinished(folder, node_ids)
            collected = gather(ir, folder, record)
        except Exception as caught:
            traceback.print_exc()  # to the run's log; whatever is wrong here, the run ends and frees the root
            error = error or caught
        finally:
            console.rebind(None)
    conclusion.conclude(collected, error, node_ids, overruns.told(record))
    conclusion.tell(time.time() - started)
    return record


def _unfinished(folder: RunFolder, node_ids: list[str]) -> InfrastructureError | None:
    """Set where a node left no word: its process was killed, or never started."""
    for node_id in node_ids:
        card = folder.node(node_id)
        if card is None:
            hint = "See the orchestrator's own account of it. Begin again: finished nodes are reused."
            return InfrastructureError(f"node {node_id} has not ended: it was killed, or never started", hint=hint)
        if card["error"]:
            return None
    return None


def _never_begun(loaded: LoadedConfig, job: str, console: Console) -> dict[str, Any]:
    date = _today()
    error = InfrastructureError(f"job {job} has begun no run", hint="See the orchestrator's account of its first step.")
    with contextlib.suppress(InfrastructureError), publish.failures_told(loaded.config, date, console.line):
        raise error
    card = {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
    return {"run_id": None, "exit_code": error.exit_code, "error": card}


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.timezone.utc).date()


def _run_of(pipeline: str) -> tuple[RunFolder, dict[str, Any]]:
    """Of `<root>/runs/<run id>/pipeline.json`."""
    place = pipeline if urls.is_url(pipeline) else os.path.abspath(pipeline)
    root, _, run_id, _ = (place.rsplit("/", 3) + [""] * 3)[:4]
    folder = RunFolder(object_root.folder_of(root), run_id)
    object_root.fetch_run(folder.path.parents[1], run_id)
    record = folder.read()
    if record is None:
        raise ConfigError(f"there is no run beside {pipeline}", hint=PIPELINE_HINT)
    return folder, record


def _begun_by(root: Path, job: str) -> RunFolder | None:
    """The folder of the run that a job has begun and not ended."""
    for record in records.list_runs(root):
        if record.get("job") == job and record["state"] == "running":
            return RunFolder(root, record["run_id"])
    return None


def _known(root: Path, known: dict[str, Any]) -> dict[str, Any]:
    """What came of a job whose run has ended, or was never begun."""
    if known["error"] is not None:
        return {"run_id": None, "exit_code": known["error"]["exit_code"], "error": known["error"]}
    return RunFolder(root, known["run_id"]).read() or {}


def _raise_what_is_final(card: dict[str, Any] | None) -> None:
    error = (card or {}).get("error")
    if error and error["exit_code"] in _FINAL:
        raise _FINAL[error["exit_code"]](error["message"], hint=error["hint"], details=error.get("details"))


def _job_file(root: Path, job: str) -> Path:
    if not JOB_PATTERN.fullmatch(job):
        raise ConfigError(f"--job must be letters, digits, `_`, `.` and `-`, at most 128; received {job!r}")
    return root / "jobs" / f"{job}.json"
