"""Brings what the report needs from a run's artifacts into the run's folder, by walking the run's events in MLMD."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx.proto.orchestration import pipeline_pb2

from hivemill.common.storage import object_store, urls
from hivemill.common.storage.atomic import write_json_atomically
from hivemill.pipeline.metadata import lineage
from hivemill.pipeline.metadata.client import metadata_of
from hivemill.pipeline.runs import records
from hivemill.pipeline.runs.records import RunFolder

_READ = (
    ("HiveLogExampleGen", "manifest"),
    ("DataVerdict", "verdict"),
    ("Trainer", "model_run"),
    ("Evaluator", "verdict"),
    ("ServingCheck", "infra_blessing"),
    ("Pusher", "pushed_model"),
)
_TENSORBOARD_FILES = ("events.out.tfevents.*", "projector_config.pbtxt", "projector/*.tsv")


def collect(ir: pipeline_pb2.Pipeline, folder: RunFolder) -> dict[str, Any]:
    """Copies manifest, training history and TensorBoard events.

    Returns {data, model, serving, model_version} for the verdict; a part is None where its node has not finished.
    """
    write_json_atomically(folder.file(lineage.LINEAGE_JSON), lineage.of_run(ir))
    with tempfile.TemporaryDirectory(prefix="hivemill-") as scratch:
        return collected(_read_here(outputs(ir), Path(scratch)), folder)


def collected(outputs: dict[tuple[str, str], mlmd.Artifact], folder: RunFolder) -> dict[str, Any]:
    """`collect` of artifacts by (node id, output key) that are on this machine; without the lineage."""
    _copy(outputs.get(("HiveLogExampleGen", "manifest")), records.MANIFEST_JSON, folder)
    _copy(outputs.get(("DataVerdict", "verdict")), records.PROFILE_JSON, folder)
    model_run = outputs.get(("Trainer", "model_run"))
    _copy(model_run, records.HISTORY_JSON, folder)
    if model_run:
        _copy_events(Path(model_run.uri), folder.file(records.TENSORBOARD))
    pushed = outputs.get(("Pusher", "pushed_model"))
    return {
        "data": _verdict(outputs.get(("DataVerdict", "verdict"))),
        "model": _verdict(outputs.get(("Evaluator", "verdict"))),
        "serving": _document(outputs.get(("ServingCheck", "infra_blessing")), records.SERVING_CHECK_JSON),
        "model_version": _pushed_version(pushed),
    }


def _read_here(outputs: dict[tuple[str, str], mlmd.Artifact], scratch: Path) -> dict[tuple[str, str], mlmd.Artifact]:
    """The artifacts that are read; those in an object store are fetched, and say where to."""
    read = {key: outputs[key] for key in _READ if key in outputs}
    for (node_id, key), artifact in read.items():
        if urls.is_url(artifact.uri):
            folder = scratch / node_id / key
            object_store.fetch(artifact.uri, folder)
            artifact.uri = str(folder)
    return read


def outputs(ir: pipeline_pb2.Pipeline) -> dict[tuple[str, str], mlmd.Artifact]:
    """The output artifacts of this pipeline run by (node id, output key), of finished nodes only."""
    found: dict[tuple[str, str], mlmd.Artifact] = {}
    with metadata_of(ir) as handle:
        for node_id, executions in lineage.executions_by_node(ir, handle.store):
            ids = [execution.id for execution in executions]
            for event in handle.store.get_events_by_execution_ids(ids) if ids else ():
                if event.type == mlmd.Event.OUTPUT:
                    artifact = handle.store.get_artifacts_by_id([event.artifact_id])[0]
                    found[(node_id, event.path.steps[0].key)] = artifact
    return found


def _copy(artifact: mlmd.Artifact | None, name: str, folder: RunFolder) -> None:
    if artifact and (Path(artifact.uri) / name).exists():
        shutil.copyfile(Path(artifact.uri) / name, folder.file(name))


def _copy_events(source: Path, target: Path) -> None:
    for events in (file for pattern in _TENSORBOARD_FILES for file in source.rglob(pattern)):
        copy = target / events.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(events, copy)


def _verdict(artifact: mlmd.Artifact | None) -> dict[str, Any] | None:
    return _document(artifact, records.VERDICT_JSON)


def _document(artifact: mlmd.Artifact | None, name: str) -> dict[str, Any] | None:
    return records.read_json(Path(artifact.uri) / name) if artifact else None


def _pushed_version(artifact: mlmd.Artifact | None) -> int | None:
    if artifact is None:
        return None
    for properties in (artifact.custom_properties, artifact.properties):
        value = properties.get("pushed_version")
        if value is not None and (value.string_value or value.int_value):
            return int(value.string_value or value.int_value)
    return None
