"""Brings what the report needs from a run's artifacts into the run's folder, by walking the run's events in MLMD."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.proto.orchestration import pipeline_pb2

from pipeline import runs
from pipeline.runs import RunFolder


def collect(ir: pipeline_pb2.Pipeline, folder: RunFolder) -> dict[str, Any]:
    """Copies manifest, training history and TensorBoard events; returns {data, model, model_version} for the verdict.

    A part is None where its node has not finished in this run.
    """
    outputs = _outputs(ir)
    _copy(outputs.get(("HiveLogExampleGen", "manifest")), runs.MANIFEST_JSON, folder)
    _copy(outputs.get(("DataVerdict", "verdict")), runs.PROFILE_JSON, folder)
    model_run = outputs.get(("Trainer", "model_run"))
    _copy(model_run, runs.HISTORY_JSON, folder)
    if model_run:
        _copy_events(Path(model_run.uri), folder.file(runs.TENSORBOARD))
    pushed = outputs.get(("Pusher", "pushed_model"))
    return {
        "data": _verdict(outputs.get(("DataVerdict", "verdict"))),
        "model": _verdict(outputs.get(("Evaluator", "verdict"))),
        "model_version": _pushed_version(pushed),
    }


def _outputs(ir: pipeline_pb2.Pipeline) -> dict[tuple[str, str], mlmd.Artifact]:
    """The output artifacts of this pipeline run by (node id, output key), of finished nodes only."""
    deployment = runner_utils.extract_local_deployment_config(ir)
    config = deployment.metadata_connection_config
    found: dict[tuple[str, str], mlmd.Artifact] = {}
    with metadata.Metadata(getattr(config, config.WhichOneof("connection_config"))) as handle:
        for node in ir.nodes:
            contexts = {c.type.name: c.name.field_value.string_value for c in node.pipeline_node.contexts.contexts}
            executions = _executions(handle.store, contexts)
            for event in handle.store.get_events_by_execution_ids(executions) if executions else ():
                if event.type == mlmd.Event.OUTPUT:
                    key = (node.pipeline_node.node_info.id, event.path.steps[0].key)
                    found[key] = handle.store.get_artifacts_by_id([event.artifact_id])[0]
    return found


def _executions(store: Any, contexts: dict[str, str]) -> list[int]:
    run = store.get_context_by_type_and_name("pipeline_run", contexts["pipeline_run"])
    node = store.get_context_by_type_and_name("node", contexts["node"])
    if run is None or node is None:
        return []
    of_node = {execution.id for execution in store.get_executions_by_context(node.id)}
    done = (mlmd.Execution.COMPLETE, mlmd.Execution.CACHED)
    return [
        execution.id
        for execution in store.get_executions_by_context(run.id)
        if execution.id in of_node and execution.last_known_state in done
    ]


def _copy(artifact: mlmd.Artifact | None, name: str, folder: RunFolder) -> None:
    if artifact and (Path(artifact.uri) / name).exists():
        shutil.copyfile(Path(artifact.uri) / name, folder.file(name))


def _copy_events(source: Path, target: Path) -> None:
    for events in source.rglob("events.out.tfevents.*"):
        copy = target / events.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(events, copy)


def _verdict(artifact: mlmd.Artifact | None) -> dict[str, Any] | None:
    return runs.read_json(Path(artifact.uri) / runs.VERDICT_JSON) if artifact else None


def _pushed_version(artifact: mlmd.Artifact | None) -> int | None:
    if artifact is None:
        return None
    for properties in (artifact.custom_properties, artifact.properties):
        value = properties.get("pushed_version")
        if value is not None and (value.string_value or value.int_value):
            return int(value.string_value or value.int_value)
    return None
