"""`compile --engine vertex`: plans the run of a date as `run` does, and writes its PipelineJob. Imports TFX late."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hivemill.common import runtime
from hivemill.common.clock import utc_now
from hivemill.common.errors import ConfigError
from hivemill.common.storage.atomic import cannot_write, write_text_atomically
from hivemill.pipeline.config.loader import LoadedConfig
from hivemill.pipeline.history import baseline
from hivemill.pipeline.orchestrators.vertex import config_limits
from hivemill.pipeline.root import object_root
from hivemill.pipeline.runs import plan as planning
from hivemill.pipeline.runs import publish, wait
from hivemill.pipeline.runs.records import RunFolder


def write(loaded: LoadedConfig, date: datetime.date, path: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Writes the PipelineJob of the run of `date` to `path`, whole or not at all; returns what it is of.

    Raises ConfigError for what Vertex AI cannot do; what a plan raises (DataNotReadyError, InfrastructureError).
    """
    config = loaded.config
    config_limits.check(config)
    _need_kfp()
    for note in config_limits.notes(config):
        say(f"note: {note}")
    with publish.failures_told(config, date, say):
        plan, lateness = wait.plan_when_ready(lambda: planning.make_plan(loaded, date), config.window, say)
        plan.window.check()
    if plan.window.incomplete:
        say(f"INCOMPLETE WINDOW: the run goes on without {plan.window.incomplete_words}")
    if plan.finished:
        say(f"note: run {plan.run_id} of the same inputs is finished; a job of this file repeats it")
    bar = planning.baseline(config, plan.run_id)
    root = config.root_path()
    data_baseline = baseline.write_baseline(config, RunFolder(root, plan.run_id), date)
    object_root.put_changes(root)  # the node reads it there
    say("Loading TensorFlow and TFX …")
    with runtime.quick_imports():
        from hivemill.pipeline import dag
        from hivemill.pipeline.orchestrators.vertex import job

    inputs = dag.RunInputs(date, plan.run_id, plan.window.fingerprint, *bar, data_baseline)
    lateness = lateness or wait.left_out(plan)
    document = job.job(config, inputs, utc_now(), lateness.document() if lateness else None)
    try:
        write_text_atomically(path, json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    except OSError as error:
        raise cannot_write(path, error) from error
    return {
        "path": str(path),
        "run_id": plan.run_id,
        "date": date.isoformat(),
        "baseline_version": bar[1],
        "nothing_to_do": plan.finished is not None,
    }


def _need_kfp() -> None:
    try:
        import kfp.pipeline_spec  # noqa: F401
    except ImportError as error:
        hint = "Install the extra: pip install 'hivemill[kubeflow]'."
        raise ConfigError(f"kfp is needed: {error}", hint=hint) from error
