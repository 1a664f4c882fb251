"""One worker, not the chief, of a training on several machines: the training function of a Trainer node, nothing else.

The chief launches the node as ever: TFX's driver, its metadata, the model. The others take the same inputs from the
metadata, which they only read, and train along; whatever is written is written by the chief.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hivemill.common import runtime

runtime.prepare_tensorflow()

from tfx.components.trainer import fn_args_utils  # noqa: E402
from tfx.components.util import udf_utils  # noqa: E402
from tfx.orchestration import data_types_utils  # noqa: E402
from tfx.orchestration.portable import inputs_utils  # noqa: E402
from tfx.proto.orchestration import pipeline_pb2  # noqa: E402
from tfx.types import standard_component_specs as specs  # noqa: E402

from hivemill.common.errors import ConfigError, InfrastructureError  # noqa: E402
from hivemill.components.trainer.options import TrainingOptions  # noqa: E402
from hivemill.pipeline.metadata.client import metadata_of  # noqa: E402
from hivemill.pipeline.orchestrators.node_launcher import translated  # noqa: E402


def train_along(ir: pipeline_pb2.Pipeline, node_id: str) -> None:
    """Trains with the chief until the training ends. Raises ConfigError for a node or strategy that has no workers.

    What goes wrong in the training itself is raised as `launch_node` does.
    """
    node = next(n.pipeline_node for n in ir.nodes if n.pipeline_node.node_info.id == node_id)
    properties = data_types_utils.build_parsed_value_dict(
        inputs_utils.resolve_parameters_with_schema(node_parameters=node.parameters)
    )
    if specs.RUN_FN_KEY not in properties:
        raise ConfigError(
            f"node {node_id} trains nothing, so it has no workers but TF_CONFIG makes this process one of them",
            hint="Launch it in one process, without TF_CONFIG.",
        )
    fn_args = fn_args_utils.get_common_fn_args(_inputs(ir, node, node_id), properties)
    _check_strategy(fn_args.custom_config)
    run_fn = udf_utils.get_fn(properties, specs.RUN_FN_KEY)
    with tempfile.TemporaryDirectory() as folder:  # stays empty: only the chief writes
        fn_args.transform_output = fn_args.transform_graph_path
        fn_args.model_run_dir, fn_args.serving_model_dir = f"{folder}/run", f"{folder}/model"
        try:
            run_fn(fn_args)
        except Exception as error:
            raise translated(error) from error
        if Path(fn_args.serving_model_dir).exists():
            raise InfrastructureError(f"a worker of node {node_id} took itself for the chief: TF_CONFIG is wrong")


def _inputs(ir: pipeline_pb2.Pipeline, node: pipeline_pb2.PipelineNode, node_id: str) -> dict[str, Any]:
    """The artifacts that the chief's driver resolves."""
    with metadata_of(ir) as handle:
        found = inputs_utils.resolve_input_artifacts(pipeline_node=node, metadata_handle=handle)
    if len(found) != 1:
        raise InfrastructureError(
            f"node {node_id}: its inputs are not in the metadata yet", hint="Launch the nodes before it first."
        )
    return found[0]


def _check_strategy(custom_config: dict[str, Any]) -> None:
    strategy = TrainingOptions.model_validate_json(custom_config["training"]).strategy
    if strategy != "multi_worker":
        raise ConfigError(
            f"TF_CONFIG names several workers, but training.strategy is `{strategy}`",
            hint="Set training.strategy to multi_worker and begin the run again, or train in one process.",
        )
