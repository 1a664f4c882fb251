"""What KubeflowV2DagRunner cannot carry is found in any TFX pipeline, before it drops or changes it."""

from __future__ import annotations

import json
import sys

import pytest
from tfx.components import CsvExampleGen, InfraValidator
from tfx.dsl.components.base import base_executor, executor_spec
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.experimental.node_execution_options.utils import NodeExecutionOptions
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner
from tfx.proto import infra_validator_pb2
from tfx.types import Channel, standard_artifacts
from tfx.types.channel import union

from hivemill.common.errors import ConfigError
from hivemill.pipeline.orchestrators.vertex import job, node_limits, step
from hivemill.pipeline.orchestrators.vertex.options import VertexOptions
from tests.pipeline.orchestrators import vertex_nodes
from tests.pipeline.orchestrators.vertex_nodes import pipeline, source

OPTIONS = VertexOptions(image="image:1")


def words_of(*nodes) -> list[str]:
    return [one.message for one in node_limits.limits(pipeline(*nodes))]


def test_what_it_can_do_has_no_limits(monkeypatch):
    monkeypatch.setitem(sys.modules, "vertex_nodes", vertex_nodes)  # a title has one dot: `vertex_nodes.Found`
    first = source(made=vertex_nodes.Found, text="a", number=3, share=0.5, flag=True, nothing=None)
    importer = Importer(source_uri="gs://bucket/x", artifact_type=standard_artifacts.Schema)
    assert words_of(first, importer, CsvExampleGen(input_base="gs://bucket/csv")) == []


def test_driver_of_ones_own_would_be_dropped_without_a_word():
    node = source(driver=vertex_nodes.Driver)
    (message,) = words_of(node)
    assert (
        "has a driver of its own, tests.pipeline.orchestrators.vertex_nodes.Driver, which KubeflowV2DagRunner drops"
        in message
    )
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig())
    compiled = runner.run(pipeline(source(driver=vertex_nodes.Driver)), write_out=False)
    assert "Source_executor" in json.dumps(compiled) and "Driver" not in json.dumps(compiled)


def test_driver_of_a_file_based_example_gen_is_carried_only_if_it_is_tfxs():
    class Own(CsvExampleGen):
        DRIVER_CLASS = vertex_nodes.Driver

    (message,) = words_of(Own(input_base="gs://bucket/csv"))
    assert "a driver of its own" in message


def test_resolver_infra_validator_and_a_pipeline_in_the_pipeline():
    resolver = Resolver(
        strategy_class=LatestBlessedModelStrategy,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    )
    model = source(made=standard_artifacts.Model)
    server = infra_validator_pb2.ServingSpec(tensorflow_serving=infra_validator_pb2.TensorFlowServing(tags=["latest"]))
    validator = InfraValidator(model=model.outputs["made"], serving_spec=server)
    messages = words_of(resolver, model, validator, pipeline(source().with_id("Inner"), name="inner"))
    first_words = sorted(" ".join(message.split()[:3]) for message in messages)
    assert first_words == ["is a Pipeline;", "is a Resolver:", "is an InfraValidator,"]


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"p": [1, 2]}, "`p` is a list; the executor would get its JSON text"),
        ({"p": {"a": 1}}, "`p` is a dict; the executor would get its JSON text"),
        ({"p": 2**53 + 1}, "`p` is 9007199254740993, which does not fit a double exactly"),
        ({"p": float("nan")}, "`p` is nan, which JSON has no number for"),
        ({"p": "text {{$.pipeline_job_name}}"}, "takes `{{$` for a placeholder"),
        (
            {"p": '"' * 30_000, "q": '"' * 30_000},
            "has 120,004 bytes of execution properties, and they are one argument",
        ),
    ],
)
def test_execution_properties_that_would_arrive_as_something_else(properties, words):
    (message,) = words_of(source(**properties))
    assert words in message


def test_runtime_parameter_whose_default_would_be_lost():
    node = source(p="x")
    node.exec_properties["p"] = RuntimeParameter(name="date", ptype=str, default="2026-11-15")
    (message,) = words_of(node)
    assert "is the runtime parameter date, whose default ('2026-11-15')" in message
    node.exec_properties["p"] = RuntimeParameter(name="date", ptype=str)
    assert words_of(node) == []


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (vertex_nodes.Unnamed, "of the artifact type NoNamespace; Vertex AI carries types of TFX"),
        (vertex_nodes.Counted, r"vertex_nodes.Counted with properties (rows); Vertex AI carries"),
        (vertex_nodes.Nowhere, "a container would look for its class as vertex_nodes.Elsewhere"),
    ],
)
def test_artifact_types_that_a_container_cannot_make_again(made, words):
    (message,) = words_of(source(made=made))
    assert words in message


def test_input_of_several_outputs():
    one, two = source().with_id("One"), source().with_id("Two")
    node = source().with_id("Three")
    node.inputs["all"] = union([one.outputs["made"], two.outputs["made"]])
    assert "input `all` is a UnionChannel" in "".join(words_of(one, two, node))


def test_executors_that_no_container_finds_and_options_that_are_dropped():
    class Local(base_executor.BaseExecutor):
        def Do(self, input_dict, output_dict, exec_properties):
            pass

    (message,) = words_of(source(executor=executor_spec.ExecutorClassSpec(Local)))
    assert "a container cannot import by that name" in message
    (message,) = words_of(source(executor=executor_spec.ExecutorContainerSpec(image="x")))
    assert "has a ExecutorContainerSpec" in message
    retried = source().with_node_execution_options(NodeExecutionOptions(max_execution_retries=3))
    assert "NodeExecutionOptions" in "".join(words_of(retried))


def test_all_that_is_found_is_told_at_once_with_what_to_do():
    nodes = source(driver=vertex_nodes.Driver).with_id("One"), source(p=[1]).with_id("Two")
    with pytest.raises(ConfigError) as caught:
        job.compiled(pipeline(*nodes), OPTIONS, "any", "any")
    assert caught.value.exit_code == 2
    text = str(caught.value)
    assert "2 things that Vertex AI cannot do" in text and "node One has a driver" in text
    assert "node Two execution property `p` is a list" in text and "read it in the executor" in text


@pytest.mark.parametrize(
    ("lines", "code", "said"),
    [
        ("import sys; sys.exit(0)", 0, ""),
        ("pass", 0, ""),
        ("import sys; sys.exit('no')", 1, ""),
        (
            "from hivemill.common.errors import DataVerdictError as E; raise E('drift', hint='look')",
            4,
            "error: drift\n  look\n",
        ),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
    ],
)
def test_step_ends_with_the_code_of_what_went_wrong(lines, code, said, tmp_path, monkeypatch, capsys):
    (tmp_path / "entry_point.py").write_text(lines)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(step, "_ENTRY_POINT", "entry_point")
    assert step.main() == code
    assert capsys.readouterr().err.endswith(said)


def test_steps_that_are_no_nodes():
    options = VertexOptions(image="image:1", steps={"Sorce": {"cpu": "2"}})
    with pytest.raises(ConfigError, match=r"vertex\.steps: there is no node 'Sorce'; did you mean `Source`"):
        job.compiled(pipeline(source()), options, "any", "any")
