"""Executes the nodes of a DAG one after the other, without ML Metadata: executors, their artifacts' URIs, Beam options.

    python dag_by_hand.py CONFIG DATE

What TFX's launcher does beside (driver, cache, metadata) needs a server where the root is a URL, and has its own tests.
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

import common.runtime

common.runtime.prepare_tensorflow()

from tfx.dsl.components.base import base_beam_executor, base_executor  # noqa: E402
from tfx.types import Artifact  # noqa: E402

from pipeline import config as configs  # noqa: E402
from pipeline.dag import RunInputs, create_pipeline  # noqa: E402
from pipeline.planning import make_plan  # noqa: E402


def main(config: str, date: str) -> None:
    loaded, day = configs.load(Path(config)), datetime.date.fromisoformat(date)
    inputs = RunInputs(day, "run", make_plan(loaded, day).window.fingerprint, None, None)
    dag = create_pipeline(loaded.config, inputs)
    made: dict[tuple[str, str], list[Artifact]] = {}
    for number, node in enumerate(dag.components, start=1):
        print(f"{node.id}", flush=True)
        outputs = {}
        for key, channel in node.outputs.items():
            artifact = channel.type()
            artifact.uri = f"{dag.pipeline_info.pipeline_root}/{node.id}/{key}/{number}"
            outputs[key] = made[node.id, key] = [artifact]
        taken = {key: made[each.producer_component_id, each.output_key] for key, each in node.inputs.items()}
        properties = {key: value for key, value in node.exec_properties.items() if value is not None}
        _executor(dag, node, number).Do(taken, outputs, properties)


def _executor(dag, node, number: int) -> base_executor.BaseExecutor:
    kind = node.executor_spec.executor_class
    scratch = {"tmp_dir": f"{dag.pipeline_info.pipeline_root}/{node.id}/tmp", "unique_id": str(number)}
    if not issubclass(kind, base_beam_executor.BaseBeamExecutor):
        return kind(base_executor.BaseExecutor.Context(**scratch))
    arguments = list(node.executor_spec.beam_pipeline_args or dag.beam_pipeline_args)
    return kind(base_beam_executor.BaseBeamExecutor.Context(beam_pipeline_args=arguments, **scratch))


if __name__ == "__main__":
    main(*sys.argv[1:])
