"""What a killed attempt of a run left in ML Metadata: nodes that seem to run for ever, and files of theirs.

TFX registers an execution as RUNNING before its executor starts and never looks at it again when the process dies. The
next attempt of the run holds the run's lock, so whatever earlier attempts have there is dead: it becomes CANCELED, its
unfinished artifacts ABANDONED, and their files go.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx.proto.orchestration import pipeline_pb2

from hivemill.common.storage import object_store, urls
from hivemill.pipeline.metadata.client import metadata_of

_UNFINISHED = (mlmd.Execution.NEW, mlmd.Execution.RUNNING)


def settle(ir: pipeline_pb2.Pipeline, run_id: str, attempt: int, artifacts: str) -> list[str]:
    """Settles the attempts of `run_id` before `attempt`; returns the ids of the nodes that were cut off.

    Files are removed below `artifacts` only.
    """
    if attempt <= 1:
        return []
    settled = []
    with metadata_of(ir) as handle:
        for earlier in range(1, attempt):
            context = handle.store.get_context_by_type_and_name("pipeline_run", f"{run_id}.{earlier}")
            executions = handle.store.get_executions_by_context(context.id) if context else ()
            for execution in executions:
                if execution.last_known_state in _UNFINISHED:
                    settled.append(_node_id(handle.store, execution))
                    _cancel(handle.store, execution, artifacts)
    return settled


def _cancel(store: Any, execution: mlmd.Execution, artifacts: str) -> None:
    outputs = _unfinished_outputs(store, execution)
    for artifact in outputs:
        _remove(artifact.uri, artifacts)
        artifact.state = mlmd.Artifact.ABANDONED
    store.put_artifacts(outputs)
    execution.last_known_state = mlmd.Execution.CANCELED  # last: a kill before it is settled by the attempt after
    store.put_executions([execution])


def _unfinished_outputs(store: Any, execution: mlmd.Execution) -> list[mlmd.Artifact]:
    events = store.get_events_by_execution_ids([execution.id])
    ids = [event.artifact_id for event in events if event.type in (mlmd.Event.OUTPUT, mlmd.Event.PENDING_OUTPUT)]
    found = store.get_artifacts_by_id(ids) if ids else []
    return [artifact for artifact in found if artifact.state != mlmd.Artifact.LIVE]


def _node_id(store: Any, execution: mlmd.Execution) -> str:
    """TFX names the context of a node `pipeline.node`."""
    contexts = store.get_contexts_by_execution(execution.id)
    name = next((context.name for context in contexts if context.type == "node"), f"execution {execution.id}")
    return name.rpartition(".")[2]


def _remove(uri: str, artifacts: str) -> None:
    if urls.is_url(uri) and uri.startswith(f"{artifacts}/"):
        object_store.delete(uri)
    elif not urls.is_url(uri) and Path(artifacts).absolute() in Path(uri).absolute().parents:
        shutil.rmtree(uri, ignore_errors=True)
