"""The last task of a job on Vertex AI: verdict, page, alerts and record of the run, below `root` as after any run.

What comes of it is what the next run is planned and judged by: the profile of the last good window, the trend. A model
that a gate refused fails the task, and with it the job, as it fails a run. It is not there after a task that failed.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, base_node, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from hivemill.common.errors import HivemillError, ModelNotBlessedError
from hivemill.common.storage.atomic import write_json_atomically, write_text_atomically
from hivemill.components.artifacts import DataVerdict, ModelVerdict, WindowManifest
from hivemill.pipeline.alerts.delivery import Alerts
from hivemill.pipeline.config.loader import load
from hivemill.pipeline.config.schema import PipelineConfig
from hivemill.pipeline.root import object_root
from hivemill.pipeline.runs import collect_artifacts, records
from hivemill.pipeline.runs.finalize import EndedRun
from hivemill.pipeline.runs.records import RunFolder
from hivemill.pipeline.runs.run import library_versions

_RUNNER = "vertex"
# Input key: where pipeline.runs.collect_artifacts looks for it, (node id, output key).
_READ = {
    "manifest": ("HiveLogExampleGen", "manifest"),
    "data_verdict": ("DataVerdict", "verdict"),
    "model_run": ("Trainer", "model_run"),
    "model_verdict": ("Evaluator", "verdict"),
    "infra_blessing": ("ServingCheck", "infra_blessing"),
    "pushed_model": ("Pusher", "pushed_model"),
}


class ConclusionExecutor(base_executor.BaseExecutor):
    """Writes into `root` of the config. Raises ModelNotBlessedError for a model that was refused."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        self._log_startup(input_dict, output_dict, exec_properties)
        config = load(Path("hivemill.yaml"), environment={}, text=exec_properties["config"]).config
        root, facts = config.root_path(), json.loads(exec_properties["run"])
        folder = RunFolder(root, facts["run_id"])
        folder.path.mkdir(parents=True, exist_ok=True)
        write_text_atomically(folder.file("config.yaml"), exec_properties["config"])
        record = _record(facts, folder)
        collected = collect_artifacts.collected(_artifacts(input_dict), folder)
        _keep_lateness(folder, facts["lateness"])
        EndedRun(folder, record, Alerts(config.alerts, root), _say).conclude(collected, None, ())
        object_root.put_changes(root)
        if record["exit_code"] == ModelNotBlessedError.exit_code:
            raise ModelNotBlessedError(record["error"]["message"], hint=record["error"]["hint"])
        if record["exit_code"]:
            raise HivemillError((records.read_json(folder.file(records.VERDICT_JSON)) or {})["reason"])


class RunConclusionSpec(ComponentSpec):
    PARAMETERS = {  # noqa: RUF012  (TFX reads these class attributes)
        "config": ExecutionParameter(type=str),
        "run": ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        "manifest": ChannelParameter(type=WindowManifest),
        "data_verdict": ChannelParameter(type=DataVerdict),
        "model_run": ChannelParameter(type=standard_artifacts.ModelRun),
        "model_verdict": ChannelParameter(type=ModelVerdict),
        "infra_blessing": ChannelParameter(type=standard_artifacts.InfraBlessing, optional=True),
        "pushed_model": ChannelParameter(type=standard_artifacts.PushedModel),
    }
    OUTPUTS = {}  # noqa: RUF012


class RunConclusion(base_component.BaseComponent):
    """`nodes` are all others of the DAG; `run` has run_id, date, started_utc, lateness and what else run.json has."""

    SPEC_CLASS = RunConclusionSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(ConclusionExecutor)

    def __init__(self, nodes: Sequence[base_node.BaseNode], config: PipelineConfig, run: dict[str, Any]):
        by_id = {node.id: node for node in nodes}
        inputs = {key: by_id[node_id].outputs[name] for key, (node_id, name) in _READ.items() if node_id in by_id}
        super().__init__(RunConclusionSpec(config=config.to_yaml(), run=json.dumps(run), **inputs))


def _record(facts: dict[str, Any], folder: RunFolder) -> dict[str, Any]:
    """run.json of this run; where the same run was concluded before, of its next attempt."""
    earlier, date = folder.read(), datetime.date.fromisoformat(facts["date"])
    attempt = earlier["attempt"] + 1 if earlier else 1
    record = records.new_record(
        facts["run_id"], date, attempt, runner=_RUNNER, versions=library_versions(), took_over_from=None
    )
    return {**record, **facts}


def _artifacts(input_dict: dict[str, list[types.Artifact]]) -> dict[tuple[str, str], mlmd.Artifact]:
    """As pipeline.runs.collect_artifacts takes them: the folders that they are in, and the version that was pushed."""
    found = {}
    for key, place in _READ.items():
        if input_dict.get(key):
            artifact = artifact_utils.get_single_instance(input_dict[key])
            found[place] = mlmd.Artifact(uri=artifact.uri)
            if version := artifact.get_string_custom_property("pushed_version"):
                found[place].custom_properties["pushed_version"].string_value = version
    return found


def _keep_lateness(folder: RunFolder, lateness: dict[str, Any] | None) -> None:
    """The run's copy of the manifest says how its window came to be; the artifact is the same for every run of it."""
    path = folder.file(records.MANIFEST_JSON)
    manifest = records.read_json(path)
    if manifest is not None:
        write_json_atomically(path, {**manifest, "lateness": lateness})


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
