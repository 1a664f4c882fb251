"""The lineage of a run out of ML Metadata: which node read what, wrote what, and ran which code.

Walks events: ml-metadata 1.21 has no lineage query (docs/dependencies.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx.proto.orchestration import pipeline_pb2

from hivemill.pipeline.metadata.client import metadata_of

LINEAGE_JSON = "lineage.json"
_DONE = (mlmd.Execution.COMPLETE, mlmd.Execution.CACHED)
_READ = (mlmd.Event.INPUT, mlmd.Event.DECLARED_INPUT)


def of_run(ir: pipeline_pb2.Pipeline) -> dict[str, Any]:
    """{version, nodes: [{node_id, execution_id, state, code, inputs, outputs}]} in the order of the pipeline.

    `inputs` and `outputs` are {key: [{id, type, uri}]}; `code` the fingerprint among the node's properties, if any.
    """
    with metadata_of(ir) as handle:
        nodes = [
            _node(handle.store, node_id, execution)
            for node_id, executions in executions_by_node(ir, handle.store)
            for execution in executions
        ]
    return {"version": 1, "nodes": nodes}


def executions_by_node(ir: pipeline_pb2.Pipeline, store: Any) -> Iterator[tuple[str, list[mlmd.Execution]]]:
    """(node id, its finished executions in this pipeline run), every node once."""
    for node in ir.nodes:
        contexts = {c.type.name: c.name.field_value.string_value for c in node.pipeline_node.contexts.contexts}
        yield node.pipeline_node.node_info.id, _executions(store, contexts)


def _executions(store: Any, contexts: dict[str, str]) -> list[mlmd.Execution]:
    run = store.get_context_by_type_and_name("pipeline_run", contexts["pipeline_run"])
    node = store.get_context_by_type_and_name("node", contexts["node"])
    if run is None or node is None:
        return []
    of_node = {execution.id for execution in store.get_executions_by_context(node.id)}
    found = store.get_executions_by_context(run.id)
    return [one for one in found if one.id in of_node and one.last_known_state in _DONE]


def _node(store: Any, node_id: str, execution: mlmd.Execution) -> dict[str, Any]:
    events = store.get_events_by_execution_ids([execution.id])
    return {
        "node_id": node_id,
        "execution_id": execution.id,
        "state": "cached" if execution.last_known_state == mlmd.Execution.CACHED else "complete",
        "code": _code(execution),
        "inputs": _artifacts(store, [event for event in events if event.type in _READ]),
        "outputs": _artifacts(store, [event for event in events if event.type == mlmd.Event.OUTPUT]),
    }


def _artifacts(store: Any, events: list[mlmd.Event]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        artifact = store.get_artifacts_by_id([event.artifact_id])[0]
        card = {"id": artifact.id, "type": artifact.type, "uri": artifact.uri}
        found.setdefault(event.path.steps[0].key, []).append(card)
    return found


def _code(execution: mlmd.Execution) -> str | None:
    """Hivemill's own nodes have it as a property; TFX's Transform and Trainer inside their custom_config."""
    for properties in (execution.custom_properties, execution.properties):
        if "code" in properties:
            return properties["code"].string_value
        if "custom_config" in properties:
            try:
                return json.loads(properties["custom_config"].string_value).get("code")
            except (ValueError, AttributeError):
                return None
    return None
