"""The DAG of one run as a PipelineJob of Vertex AI, by TFX's KubeflowV2DagRunner (docs/decisions/0072).

What a run decides at its start (the window, the bar, the baseline of the data) is decided when the file is compiled: a
file is one run. Loads TensorFlow and TFX.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hivemill.common import runtime

runtime.prepare_tensorflow()

from kfp.pipeline_spec import pipeline_spec_pb2  # noqa: E402
from tfx.dsl.components.base import base_node  # noqa: E402
from tfx.orchestration import pipeline as tfx_pipeline  # noqa: E402
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner  # noqa: E402

from hivemill.common.errors import ConfigError  # noqa: E402
from hivemill.pipeline import dag  # noqa: E402
from hivemill.pipeline.config.schema import PipelineConfig  # noqa: E402
from hivemill.pipeline.orchestrators.vertex import config_limits, node_limits  # noqa: E402
from hivemill.pipeline.orchestrators.vertex.artifact_titles import importable_titles  # noqa: E402
from hivemill.pipeline.orchestrators.vertex.conclusion import RunConclusion  # noqa: E402
from hivemill.pipeline.orchestrators.vertex.options import VertexOptions, VertexStepOptions  # noqa: E402

COMMAND = ("python", "-m", "hivemill.pipeline.orchestrators.vertex.step")
RUN_LABEL = "hivemill_run"
CONCLUSION = "Conclusion"
_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_ResourceSpec = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec


def job(
    config: PipelineConfig, inputs: dag.RunInputs, started_utc: str, lateness: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The PipelineJob of the run of `inputs`, as JSON's document.

    `started_utc` and `lateness` are for run.json. Raises ConfigError for a node or a step that Vertex AI cannot do,
    naming all that is found.
    """
    run = {
        "run_id": inputs.run_id,
        "date": inputs.date.isoformat(),
        "started_utc": started_utc,
        "config_fingerprint": config.semantic_fingerprint(),
        "plan_fingerprint": inputs.plan_fingerprint,
        "baseline_version": inputs.baseline_version,
        "lateness": lateness,
    }

    def conclusion(nodes: Sequence[base_node.BaseNode]) -> base_node.BaseNode:
        return RunConclusion(nodes, config, run).with_id(CONCLUSION)

    pipeline = dag.create_pipeline(config, inputs, conclusion)
    document = compiled(pipeline, config.vertex, config_limits.job_name(config), f"{config.name} {inputs.date}")
    document["labels"] = {**document.get("labels", {}), RUN_LABEL: inputs.run_id.lower(), **config.vertex.labels}
    return document


def compiled(
    pipeline: tfx_pipeline.Pipeline, options: VertexOptions, job_name: str, display_name: str
) -> dict[str, Any]:
    """Any TFX pipeline as a PipelineJob. Raises ConfigError for what Vertex AI cannot do."""
    _check(pipeline)
    config_limits.check_steps(options, [node.id for node in pipeline.components])
    for node in pipeline.components:
        if hasattr(node, "with_platform_config"):
            node.with_platform_config(_resources(options.step(node.id)))
    pipeline.pipeline_info.pipeline_name = job_name
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            display_name=display_name,
            default_image=options.image,
            default_commands=list(COMMAND),
            use_pipeline_spec_2_1=True,
        )
    )
    with importable_titles():
        document = runner.run(pipeline, write_out=False)
    for executor in document["pipelineSpec"]["deploymentSpec"]["executors"].values():
        if "container" in executor:
            executor["container"]["env"] = [{"name": name, "value": text} for name, text in options.environment.items()]
    return document


def _check(pipeline: tfx_pipeline.Pipeline) -> None:
    with importable_titles():
        found = node_limits.limits(pipeline)
    if not found:
        return
    if len(found) == 1:
        raise ConfigError(f"node {found[0].node} {found[0].message}", hint=found[0].hint)
    lines = "\n".join(f"  node {one.node} {one.message}. {one.hint}" for one in found)
    raise ConfigError(f"{len(found)} things that Vertex AI cannot do\n{lines}")


def _resources(step: VertexStepOptions) -> Any:
    """Vertex AI takes the smallest machine that has them."""
    made = _ResourceSpec()
    if step.cpu:
        made.cpu_limit = _amount(step.cpu)
    if step.memory:
        made.memory_limit = _amount(step.memory) / 1e9  # the field is in gigabytes
    if step.accelerator:
        made.accelerator.type, made.accelerator.count = step.accelerator, step.accelerators
    return made


def _amount(quantity: str) -> float:
    """Kubernetes' way to write an amount: `500m`, `2`, `8Gi`."""
    if quantity.endswith("m"):
        return float(quantity[:-1]) / 1000
    unit = next((each for each in sorted(_UNITS, key=len, reverse=True) if quantity.endswith(each)), "")
    return float(quantity.removesuffix(unit)) * _UNITS.get(unit, 1)
