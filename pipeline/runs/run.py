"""One run from the plan to the exit code: lock, launch, collect, verdict, report."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import platform
import re
import shutil
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hivemill.common import runtime
from hivemill.common.errors import BaselineMovedError, ConfigError, InfrastructureError
from hivemill.common.storage import object_store, urls
from hivemill.common.storage.atomic import write_text_atomically
from hivemill.pipeline.alerts.delivery import Alerts, OverrunWatch
from hivemill.pipeline.cli.console import Console, library_noise_to
from hivemill.pipeline.config.loader import LoadedConfig
from hivemill.pipeline.config.schema import PipelineConfig
from hivemill.pipeline.history import baseline
from hivemill.pipeline.metadata.root_id import identity
from hivemill.pipeline.root.lock import LockOptions, run_lock
from hivemill.pipeline.runs import compiled_pipeline, publish, records, wait
from hivemill.pipeline.runs import plan as planning
from hivemill.pipeline.runs.finalize import EndedRun, error_card, gather
from hivemill.pipeline.runs.records import RunFolder
from hivemill.pipeline.runs.sigterm import Stop, stopped_by_sigterm
from hivemill.pipeline.runs.wait import Lateness

_LOW_DISK_BYTES = 64 * 2**20
_MAX_JUDGINGS = 3


def run(
    loaded: LoadedConfig,
    date: datetime.date,
    runner: str | None = None,
    force: bool = False,
    console: Console | None = None,
    lock_options: LockOptions | None = None,
) -> dict[str, Any]:
    """Runs the pipeline for `date` and returns the run's record (docs/cli.md, `run.json`) with its `exit_code`.

    A run of the same inputs that is finished is not repeated: its record comes back, with `nothing_to_do` set.
    A run that was killed goes on: finished nodes are taken from the cache, training from its checkpoint.
    Raises what goes wrong before the first node (ConfigError, DataNotReadyError, LockHeldError, InfrastructureError).
    """
    console, name = console or Console(), runner or loaded.config.runner.name
    return _under_lock(loaded, date, name, force, console, lock_options or LockOptions(), None, _Run.go)


def begin(loaded: LoadedConfig, date: datetime.date, job: str, force: bool, console: Console) -> dict[str, Any]:
    """Begins a run whose nodes are launched one by one, by processes of their own
    (pipeline.runs.stepwise_run); returns its record.

    `job` names who launches them: until that job ends the run, no other run begins. Like `run` in all else.
    """
    return _under_lock(loaded, date, "steps", force, console, LockOptions(), job, lambda one: one.begin(job))


def _under_lock(
    loaded: LoadedConfig,
    date: datetime.date,
    runner: str,
    force: bool,
    console: Console,
    lock_options: LockOptions,
    job: str | None,
    action: Callable[[_Run], dict[str, Any]],
) -> dict[str, Any]:
    with stopped_by_sigterm() as stop, publish.failures_told(loaded.config, date, console.line):
        plan, lateness = wait.plan_when_ready(
            lambda: planning.make_plan(loaded, date), loaded.config.window, console.line
        )
        root = loaded.config.root_path()
        _check_metadata(loaded.config)
        with run_lock(root, plan.run_id, lock_options, console.line, stop.now) as left:
            records.check_no_other_job(root, job)
            plan = planning.make_plan(loaded, date)  # what was true before the lock may not be true under it
            if plan.finished and not force:
                console.line(f"Nothing to do: run {plan.run_id} of the same inputs is finished. --force runs it again.")
                return {**plan.finished, "nothing_to_do": True}
            plan.window.check()
            _check_disk(root)
            lateness = lateness or wait.left_out(plan)
            return action(_Run(loaded, plan, lateness, runner, force, console, stop, left))


class _Run:
    def __init__(
        self,
        loaded: LoadedConfig,
        plan: planning.RunPlan,
        lateness: Lateness | None,
        runner: str,
        force: bool,
        console: Console,
        stop: Stop,
        left: dict[str, Any] | None,
    ):
        self._loaded, self._plan, self._runner, self._force = loaded, plan, runner, force
        self._stop = stop
        self._root = loaded.config.root_path()
        self._run_id = _free_run_id(self._root, plan.run_id) if force else plan.run_id
        self._folder = RunFolder(self._root, self._run_id)
        self._console = console
        self._baseline = planning.baseline(loaded.config, self._run_id)
        self._collected: dict[str, Any] = {}
        earlier = self._folder.read()
        self._record = records.new_record(
            self._run_id,
            plan.date,
            attempt=(earlier["attempt"] + 1) if earlier else 1,
            runner=runner,
            config_fingerprint=plan.config_fingerprint,
            plan_fingerprint=plan.window.fingerprint,
            bytes_to_convert=planning.bytes_to_convert(plan.window),
            baseline_version=self._baseline[1],
            lateness=lateness.document() if lateness else (earlier or {}).get("lateness"),
            versions=library_versions(),
            took_over_from=left,
        )

    def go(self) -> dict[str, Any]:
        """Runs all nodes in this process."""
        started = time.monotonic()
        self._prepare()
        alerts = Alerts(self._loaded.config.alerts, self._root)
        minutes = self._loaded.config.alerts.max_run_minutes
        with OverrunWatch(alerts, minutes, self._run_id, self._record["date"]) as watch:
            error, node_ids = self._launch_until_judged()
        conclusion = EndedRun(self._folder, self._record, alerts, self._console.line)
        conclusion.conclude(self._collected, error, node_ids, watch.reports)
        conclusion.tell(time.monotonic() - started, [one.partition for one in self._plan.window.small])
        return self._record

    def begin(self, job: str) -> dict[str, Any]:
        """Leaves the compiled pipeline in the run's folder; other processes launch its nodes."""
        self._record["job"] = job
        self._prepare()
        with library_noise_to(self._folder.file(records.LOG_TXT)) as real_error:
            self._console.rebind(real_error)
            try:
                ir = self.compiled()
                self._settle_dead_attempts(ir)
                compiled_pipeline.write_pipeline(ir, self._folder)
            except BaseException as error:
                self._stopped(error)  # a run that nobody launches must not stand as running
                raise
            finally:
                self._console.rebind(None)
        return self._record

    def _prepare(self) -> None:
        """What is in the run's folder before its first node."""
        self._folder.clear_nodes()
        self._folder.write(self._record)
        self._stop.last_words = self._last_words
        write_text_atomically(self._folder.file("config.yaml"), self._loaded.config.to_yaml())
        self._keep_truth()
        attempt = self._record["attempt"]
        self._console.line(f"Run {self._run_id}" + (f", attempt {attempt}: goes on" if attempt > 1 else ""))
        if self._plan.window.incomplete:
            self._console.line(f"INCOMPLETE WINDOW: the run goes on without {self._plan.window.incomplete_words}")

    def _keep_truth(self) -> None:
        """A generated log knows the best reachable metrics; the table may be generated anew before the page is read."""
        place, copy = self._loaded.config.source.place, self._folder.file(records.TRUTH_JSON)
        if re.match(r"(s3|gs)://", place):
            content = object_store.read_bytes(object_store.join(place, records.TRUTH_JSON))
            if content is not None:
                copy.write_bytes(content)
        elif (Path(place) / records.TRUTH_JSON).is_file():
            shutil.copyfile(Path(place) / records.TRUTH_JSON, copy)

    def _launch_until_judged(self) -> tuple[BaseException | None, list[str]]:
        """Judges again where another run or a rollout moved `stable` meanwhile; all before the judging is cached."""
        error, node_ids = self._launch()
        for _ in range(_MAX_JUDGINGS - 1):
            if not isinstance(error, BaselineMovedError):
                break
            self._console.line(f"{error.message}. Judges again.")
            self._force = False  # the nodes that this run has finished need not run a third time
            self._baseline = planning.baseline(self._loaded.config, self._run_id)
            self._record.update(attempt=self._record["attempt"] + 1, baseline_version=self._baseline[1])
            self._folder.clear_nodes()
            self._folder.write(self._record)
            error, node_ids = self._launch()
        return error, node_ids

    def _last_words(self, error: InfrastructureError) -> None:
        self._stopped(error)
        self._console.line(f"error: {error.message}\n  {error.hint}")

    def _stopped(self, error: BaseException) -> None:
        """The process ends at once: what stands in the record must not be `running`."""
        if self._record["state"] == "running":
            card = error_card(error, self._folder)
            self._record.update(state="failed", finished_utc=records.utc_now(), exit_code=card["exit_code"], error=card)
            self._folder.write(self._record)

    def _launch(self) -> tuple[BaseException | None, list[str]]:
        """Runs all nodes; returns the first error, not raises it: a failed run has a verdict and a report too."""
        node_ids: list[str] = []
        ir = None
        with library_noise_to(self._folder.file(records.LOG_TXT)) as real_error:
            self._console.rebind(real_error)
            try:
                ir = self.compiled()
                node_ids.extend(node.pipeline_node.node_info.id for node in ir.nodes)
                self._settle_dead_attempts(ir)
                self._runner_object().run(ir, self._folder)
                self._collect(ir)
                return None, node_ids
            except Exception as error:
                traceback.print_exc()  # to the run's log
                self._collect_quietly(ir)
                return error, node_ids
            finally:
                self._console.rebind(None)

    def compiled(self) -> Any:
        """TFX's pipeline_pb2.Pipeline of this attempt: all that a node needs."""
        self._console.line("Loading TensorFlow and TFX …")
        with runtime.quick_imports():
            from tfx.dsl.compiler import compiler, constants
            from tfx.orchestration.portable import runtime_parameter_utils

            from hivemill.pipeline import dag

        config = self._loaded.config
        if self._force:
            config = config.model_copy(update={"runner": config.runner.model_copy(update={"cache": False})})
        data_baseline = baseline.write_baseline(config, self._folder, self._plan.date)
        own = identity(self._root) if config.metadata.backend == "mysql" else None
        inputs = dag.RunInputs(
            self._plan.date, self._run_id, self._plan.window.fingerprint, *self._baseline, data_baseline, own
        )
        ir = compiler.Compiler().compile(dag.create_pipeline(config, inputs))
        runtime_parameter_utils.substitute_runtime_parameter(
            ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: f"{self._run_id}.{self._record['attempt']}"}
        )
        return ir

    def _settle_dead_attempts(self, ir: Any) -> None:
        from hivemill.pipeline.metadata import cancelled

        artifacts = self._loaded.config.places().artifacts
        for node_id in cancelled.settle(ir, self._run_id, self._record["attempt"], artifacts):
            self._console.line(f"{node_id} of an attempt that was killed is marked as cancelled.")

    def _runner_object(self) -> Any:
        if self._runner == "beam":
            from hivemill.pipeline.orchestrators.beam.beam_pipeline import BeamRunner

            arguments = self._loaded.config.runner.orchestrator_args
            return BeamRunner(self._console.node_starts, self._console.node_ended, arguments)
        from hivemill.pipeline.orchestrators.local import LocalRunner

        return LocalRunner(self._console.node_starts, self._console.node_ended)

    def _collect(self, ir: Any) -> None:
        self._collected = gather(ir, self._folder, self._record)

    def _collect_quietly(self, ir: Any) -> None:
        """After a failure: whatever earlier nodes left is worth showing; a second error must not hide the first."""
        try:
            if ir is not None:
                self._collect(ir)
        except Exception:
            traceback.print_exc()


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a model depends on, as run.json has them."""
    names = ("tfx", "tensorflow", "tensorflow-cpu", "tf-keras", "ml-metadata", "apache-beam", "pyarrow")
    found = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _free_run_id(root: Path, run_id: str) -> str:
    number = 2
    while (root / "runs" / f"{run_id}-{number}").exists():
        number += 1
    return f"{run_id}-{number}"


def _check_metadata(config: PipelineConfig) -> None:
    if urls.is_url(config.root) and config.metadata.backend != "mysql":
        raise ConfigError(
            f"root is {urls.shown(config.root)}, and metadata.backend {config.metadata.backend}: a file in an object "
            "store cannot be written in place",
            hint="Set metadata.backend to mysql, and host and user.",
        )


def _check_disk(root: Path) -> None:
    free = shutil.disk_usage(root).free
    if free < _LOW_DISK_BYTES:
        raise InfrastructureError(
            f"only {free / 2**20:.0f} MiB are free below root {root}, a run needs {_LOW_DISK_BYTES // 2**20} MiB",
            hint="Free some space, or set `root` to another disk.",
        )
