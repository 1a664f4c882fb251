"""Runs the nodes as steps of one Beam pipeline: TFX's BeamDagRunner with Hivemill's node launch in its steps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from tfx.orchestration.beam import beam_dag_runner
from tfx.proto.orchestration import pipeline_pb2

from hivemill.pipeline.orchestrators.beam.options import with_runner
from hivemill.pipeline.orchestrators.node_launcher import launch_node
from hivemill.pipeline.runs.records import NodeRecord, RunFolder


class _NodeDoFn(beam_dag_runner.PipelineNodeAsDoFn):
    """The step of one node. Where it runs in this process, the run's listeners are told; elsewhere its record tells."""

    root: Path
    run_id: str

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.root, self.run_id = _RUNNING.root, _RUNNING.run_id

    def _run_node(self) -> None:
        _RUNNING.before(self._node_id)
        _RUNNING.after(launch_node(self._pipeline, self._node_id, RunFolder(self.root, self.run_id)))


class _Running:
    """Where the steps of this process find the run: Beam pickles a step, and callbacks do not pickle."""

    root: Path = Path()
    run_id: str = ""

    @staticmethod
    def before(node_id: str) -> None:
        """Replaced by BeamRunner in the process that watches."""

    @staticmethod
    def after(record: NodeRecord) -> None:
        """Replaced by BeamRunner in the process that watches."""


_RUNNING = _Running()


class BeamRunner(beam_dag_runner.BeamDagRunner):
    """`arguments` are Beam options of the orchestrating pipeline, e.g. --runner=PortableRunner --job_endpoint=…"""

    _PIPELINE_NODE_DO_FN_CLS = _NodeDoFn

    def __new__(cls, *_: object, **__: object) -> BeamRunner:
        return object.__new__(cls)

    def __init__(
        self, before: Callable[[str], None], after: Callable[[NodeRecord], None], arguments: Sequence[str] = ()
    ):
        self._before, self._after, self._arguments = before, after, arguments

    def run(self, ir: pipeline_pb2.Pipeline, folder: RunFolder) -> None:
        _RUNNING.root, _RUNNING.run_id = folder.path.parent.parent, folder.run_id
        _RUNNING.before, _RUNNING.after = self._before, self._after
        with _beam_options_of_tfx(with_runner(self._arguments)):
            self.run_with_ir(ir)


class _BeamWithOptions:
    """The module apache_beam, but for `Pipeline()`, which has options."""

    def __init__(self, arguments: list[str]):
        self._arguments = arguments

    def __getattr__(self, name: str) -> Any:
        return getattr(beam, name)

    def Pipeline(self) -> beam.Pipeline:
        return beam.Pipeline(argv=self._arguments)


@contextlib.contextmanager
def _beam_options_of_tfx(arguments: list[str]) -> Iterator[None]:
    """TFX's BeamDagRunner calls `beam.Pipeline()`, and that reads no command line (any more): the options of the
    pipeline that orders the nodes can only come with the name `beam` in TFX's module."""
    saved, beam_dag_runner.beam = beam_dag_runner.beam, _BeamWithOptions(arguments)
    try:
        yield
    finally:
        beam_dag_runner.beam = saved
