"""Nodes that KubeflowV2DagRunner refuses, drops parts of, or changes; each is right on TFX's own runners."""

from __future__ import annotations

from hivemill.common import runtime

runtime.prepare_tensorflow()

from tfx import types  # noqa: E402
from tfx.dsl.components.base import base_component, base_driver, base_executor, executor_spec  # noqa: E402
from tfx.orchestration import pipeline as tfx_pipeline  # noqa: E402
from tfx.types import artifact, standard_artifacts  # noqa: E402
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter  # noqa: E402


class Executor(base_executor.BaseExecutor):
    def Do(self, input_dict, output_dict, exec_properties):
        pass


class Driver(base_driver.BaseDriver):
    pass


class Unnamed(artifact.Artifact):
    TYPE_NAME = "NoNamespace"


class Nowhere(artifact.Artifact):
    TYPE_NAME = "vertex_nodes.Elsewhere"


class Counted(artifact.Artifact):
    TYPE_NAME = "vertex_nodes.Counted"
    PROPERTIES = {"rows": artifact.Property(type=artifact.PropertyType.INT)}  # noqa: RUF012


class Found(artifact.Artifact):
    TYPE_NAME = "vertex_nodes.Found"


def source(
    made: type = standard_artifacts.Examples,
    driver: type = base_driver.BaseDriver,
    executor: executor_spec.ExecutorSpec | None = None,
    **properties,
) -> base_component.BaseComponent:
    """A node without inputs and with one output `made`."""

    class Spec(ComponentSpec):
        PARAMETERS = {  # noqa: RUF012
            name: ExecutionParameter(type=object if value is None else type(value))
            for name, value in properties.items()
        }
        INPUTS = {}  # noqa: RUF012
        OUTPUTS = {"made": ChannelParameter(type=made)}  # noqa: RUF012

    class Source(base_component.BaseComponent):
        SPEC_CLASS = Spec
        EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
        DRIVER_CLASS = driver

    node = Source(Spec(made=types.Channel(type=made), **properties))
    if executor is not None:
        node.executor_spec = executor
    return node


def pipeline(*nodes, name: str = "any") -> tfx_pipeline.Pipeline:
    return tfx_pipeline.Pipeline(pipeline_name=name, pipeline_root="gs://bucket/root", components=list(nodes))
