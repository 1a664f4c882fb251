"""A DAG of three real TFX nodes that need no data: for tests of what is around nodes, not in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tfx.dsl.compiler import compiler, constants
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.orchestration import pipeline
from tfx.orchestration.portable import runtime_parameter_utils
from tfx.types.standard_artifacts import Examples, Model

from hivemill.pipeline.metadata.client import connection_config
from hivemill.pipeline.metadata.options import MetadataOptions

CALLS: list[str] = []
# What happens while a node's executor runs, by node id.
DURING: dict[str, Callable[[], None]] = {}


def _called(name: str) -> None:
    CALLS.append(name)
    DURING.get(name, lambda: None)()


def Start(examples: OutputArtifact[Examples], text: Parameter[str]):
    _called("Start")
    Path(examples.uri).mkdir(parents=True, exist_ok=True)
    (Path(examples.uri) / "text").write_text(text, encoding="utf-8")
    examples.set_string_custom_property("text", text)


def Middle(examples: InputArtifact[Examples], model: OutputArtifact[Model]):
    _called("Middle")
    Path(model.uri).mkdir(parents=True, exist_ok=True)
    (Path(model.uri) / "text").write_text((Path(examples.uri) / "text").read_text(encoding="utf-8"), encoding="utf-8")


def Last(model: InputArtifact[Model], examples: InputArtifact[Examples]):
    _called("Last")
    assert (Path(model.uri) / "text").read_bytes() == (Path(examples.uri) / "text").read_bytes()


# TFX's decorator wants the types themselves as annotations, not their names.
for _function, _kinds in (
    (Start, {"examples": OutputArtifact[Examples], "text": Parameter[str]}),
    (Middle, {"examples": InputArtifact[Examples], "model": OutputArtifact[Model]}),
    (Last, {"model": InputArtifact[Model], "examples": InputArtifact[Examples]}),
):
    _function.__annotations__ = _kinds
StartNode, MiddleNode, LastNode = component(Start), component(Middle), component(Last)


def compiled(folder: Path, options: MetadataOptions, run: str, text: str = "text"):
    """The pipeline_pb2.Pipeline of one run below `folder`."""
    start = StartNode(text=text).with_id("Start")
    middle = MiddleNode(examples=start.outputs["examples"]).with_id("Middle")
    last = LastNode(model=middle.outputs["model"], examples=start.outputs["examples"]).with_id("Last")
    made = pipeline.Pipeline(
        pipeline_name=f"light-{folder.name}",
        pipeline_root=str(folder / "artifacts"),
        components=[start, middle, last],
        enable_cache=True,
        metadata_connection_config=connection_config(options, folder / "metadata.db"),
    )
    ir = compiler.Compiler().compile(made)
    runtime_parameter_utils.substitute_runtime_parameter(ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run})
    return ir
