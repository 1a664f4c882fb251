"""Whether a run that was killed and went on has ended where an undisturbed run of the same inputs ends."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hivemill.common import runtime

runtime.prepare_tensorflow()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from ml_metadata import MetadataStore  # noqa: E402
from ml_metadata.proto import metadata_store_pb2 as mlmd  # noqa: E402

_TOLERANCE = 1e-6  # of metrics: sums of floats, whose order threads may change
_UNFINISHED = (mlmd.Execution.NEW, mlmd.Execution.RUNNING)
_DONE = (mlmd.Execution.COMPLETE, mlmd.Execution.CACHED)


def faults(mine: Path, theirs: Path) -> list[str]:
    """What differs between two roots, in words; empty where nothing does."""
    found = [*_runs(mine), *_store(mine, theirs), *_metrics(mine, theirs), *_metadata(mine, theirs), *_leftovers(mine)]
    return found or list(_weights(mine, theirs))


def _runs(mine: Path) -> Iterator[str]:
    records = [json.loads(file.read_text(encoding="utf-8")) for file in mine.glob("runs/*/run.json")]
    if len(records) != 1:
        yield f"{len(records)} runs instead of one"
    elif (records[0]["state"], records[0]["exit_code"]) != ("succeeded", 0):
        yield f"the run is {records[0]['state']} with exit code {records[0]['exit_code']}"


def _store(mine: Path, theirs: Path) -> Iterator[str]:
    (expected,), versions = _versions(theirs), _versions(mine)
    if len(versions) != 1:
        yield f"{len(versions)} versions in the store instead of one"
        return
    if _names(mine, versions[0]) != _names(theirs, expected):
        yield "the version has other files"
    labels = json.loads((mine / "models" / "shop" / "labels.json").read_text(encoding="utf-8"))["labels"]
    if labels != {"stable": int(versions[0])}:
        yield f"the labels are {sorted(labels)}, or not of the version that is there"
    if versions[0] not in (mine / "models" / "models.config").read_text(encoding="utf-8"):
        yield "models.config does not have the version"


def _metrics(mine: Path, theirs: Path) -> Iterator[str]:
    """All numbers of the verdict; but a version's number is the time of its push."""
    verdicts = [
        json.loads(next(root.glob("runs/*/verdict.json")).read_text(encoding="utf-8")) for root in (mine, theirs)
    ]
    for section in ("model", "data"):
        ours, expected = (dict(_numbers(verdict[section])) for verdict in verdicts)
        if ours.keys() != expected.keys():
            yield f"the {section} section of the verdict has other entries: {sorted(ours.keys() ^ expected.keys())[:3]}"
            continue
        apart = [
            key for key in ours if not math.isclose(ours[key], expected[key], rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
        ]
        if apart:
            worst = max(apart, key=lambda key: abs(ours[key] - expected[key]))
            yield f"the verdict's {section} differs in {len(apart)} numbers, most in {worst}"


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, below in value.items():
            if key not in ("version", "baseline_version"):
                yield from _numbers(below, f"{path}.{key}")
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _numbers(below, f"{path}[{index}]")
    elif isinstance(value, (int, float)):
        yield path, float(value)


def _weights(mine: Path, theirs: Path) -> Iterator[str]:
    ours, expected = (_tensors(root) for root in (mine, theirs))
    if ours.keys() != expected.keys():
        yield "the model has other variables"
        return
    apart = [name for name in ours if not np.array_equal(ours[name], expected[name])]
    if apart:
        largest = max(np.abs(ours[name] - expected[name]).max() for name in apart)
        yield f"{len(apart)} of {len(ours)} variables of the model differ, by at most {largest:.1e}"


def _tensors(root: Path) -> dict[str, np.ndarray]:
    (version,) = _versions(root)
    reader = tf.train.load_checkpoint(str(root / "models" / "shop" / version / "variables" / "variables"))
    tensors = {name: np.asarray(reader.get_tensor(name)) for name in reader.get_variable_to_shape_map()}
    return {name: tensor for name, tensor in tensors.items() if tensor.dtype.kind == "f"}


def _metadata(mine: Path, theirs: Path) -> Iterator[str]:
    ours, expected = (_nodes_of_last_attempt(root) for root in (mine, theirs))
    if ours != expected:
        yield "the last attempt has other executions or artifacts in ML Metadata"
    store = _metadata_store(mine)
    unfinished = [
        one for one in store.get_executions() if one.last_known_state in (mlmd.Execution.NEW, mlmd.Execution.RUNNING)
    ]
    if unfinished:
        yield f"{len(unfinished)} executions seem to run in ML Metadata"
    gone = [one.uri for one in store.get_artifacts() if one.state == mlmd.Artifact.LIVE and not os.path.exists(one.uri)]
    if gone:
        yield f"{len(gone)} live artifacts of ML Metadata are not on the disk"


def _nodes_of_last_attempt(root: Path) -> dict[str, list[str]]:
    """Node: its finished execution's outputs, as `key type state`."""
    store, record = _metadata_store(root), _only(root, "run.json")
    context = store.get_context_by_type_and_name("pipeline_run", f"{record['run_id']}.{record['attempt']}")
    nodes: dict[str, list[str]] = {}
    for execution in store.get_executions_by_context(context.id):
        if execution.last_known_state in _DONE:
            nodes.setdefault(execution.type, []).extend(_outputs(store, execution))
    return {node: sorted(outputs) for node, outputs in nodes.items()}


def _outputs(store: MetadataStore, execution: mlmd.Execution) -> Iterator[str]:
    for event in store.get_events_by_execution_ids([execution.id]):
        if event.type == mlmd.Event.OUTPUT:
            (artifact,) = store.get_artifacts_by_id([event.artifact_id])
            yield f"{event.path.steps[0].key} {artifact.type} {mlmd.Artifact.State.Name(artifact.state)}"


def _leftovers(mine: Path) -> Iterator[str]:
    """Files of dead writers that nobody would ever remove."""
    left = [str(path.relative_to(mine)) for path in (mine / "models").rglob(".*.tmp")]
    if left:
        yield f"left in the store: {left[0]}"


def _only(root: Path, name: str) -> dict[str, Any]:
    """That file of the one run below `root`."""
    (file,) = root.glob(f"runs/*/{name}")
    return json.loads(file.read_text(encoding="utf-8"))


def _metadata_store(root: Path) -> MetadataStore:
    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = str(root / "metadata.db")
    return MetadataStore(config)


def _versions(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "models" / "shop").glob("[0-9]*"))


def _names(root: Path, version: str) -> set[str]:
    folder = root / "models" / "shop" / version
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
