"""The ids of the DAG's nodes, for orchestrators that must know the steps before any run. Loads TensorFlow and TFX."""

from __future__ import annotations

import datetime

from hivemill.common import runtime
from hivemill.pipeline.config.schema import PipelineConfig


def node_ids(config: PipelineConfig) -> list[str]:
    """In the order in which the local runner launches them. They do not depend on date, data or store."""
    with runtime.quick_imports():
        from tfx.dsl.compiler import compiler

        from hivemill.pipeline import dag

    any_run = dag.RunInputs(datetime.date(2000, 1, 1), "any", "any", None, None)
    ir = compiler.Compiler().compile(dag.create_pipeline(config, any_run))
    return [node.pipeline_node.node_info.id for node in ir.nodes]
