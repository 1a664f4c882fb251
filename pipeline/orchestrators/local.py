"""Runs the nodes one after the other in this process."""

from __future__ import annotations

from collections.abc import Callable

from tfx.proto.orchestration import pipeline_pb2

from hivemill.pipeline.orchestrators.node_launcher import launch_node
from hivemill.pipeline.runs.records import NodeRecord, RunFolder


class LocalRunner:
    """Like TFX's LocalDagRunner, with a record and a word before and after each node."""

    def __init__(self, before: Callable[[str], None], after: Callable[[NodeRecord], None]):
        self._before, self._after = before, after

    def run(self, ir: pipeline_pb2.Pipeline, folder: RunFolder) -> None:
        """Launches every node in topological order (the order of the compiled pipeline). Raises the first error."""
        for node in ir.nodes:
            node_id = node.pipeline_node.node_info.id
            self._before(node_id)
            self._after(launch_node(ir, node_id, folder))
