"""What of a TFX pipeline KubeflowV2DagRunner refuses with an assertion, or drops or changes without a word.

Written against tfx.orchestration.kubeflow.v2 of TFX 1.21 (step_builder, compiler_utils and, in the container,
kubeflow_v2_run_executor). It looks at classes and objects, never at the names of Hivemill's nodes, so it holds for any
pipeline. Loads TensorFlow and TFX.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from hivemill.common import runtime

runtime.prepare_tensorflow()

from google.protobuf.message import Message  # noqa: E402
from tfx.components import InfraValidator  # noqa: E402
from tfx.components.example_gen.component import FileBasedExampleGen  # noqa: E402
from tfx.dsl.component.experimental.executor_specs import TemplatedExecutorContainerSpec  # noqa: E402
from tfx.dsl.components.base import base_component, base_driver, executor_spec  # noqa: E402
from tfx.dsl.components.base.base_node import BaseNode  # noqa: E402
from tfx.dsl.components.common.importer import Importer  # noqa: E402
from tfx.dsl.components.common.resolver import Resolver  # noqa: E402
from tfx.dsl.placeholder.placeholder import Placeholder  # noqa: E402
from tfx.orchestration import pipeline as tfx_pipeline  # noqa: E402
from tfx.orchestration.data_types import RuntimeParameter  # noqa: E402
from tfx.orchestration.kubeflow.v2 import compiler_utils  # noqa: E402
from tfx.types import BaseChannel, Channel  # noqa: E402
from tfx.utils import import_utils, name_utils  # noqa: E402

_EXACT_INTEGERS = 2**53  # the file has JSON's numbers, which are doubles
_PLACEHOLDER = "{{$"
# Linux takes no longer argument (MAX_ARG_STRLEN), and all inputs of a task are one. Some of it is for artifacts.
_ARGUMENT_BYTES, _ARTIFACTS_BYTES = 131_072, 16_384


class Limit(NamedTuple):
    """`node` breaks a rule of Vertex AI; `hint` says what to do instead."""

    node: str
    message: str
    hint: str


def limits(pipeline: tfx_pipeline.Pipeline) -> list[Limit]:
    """Everything in `pipeline` that would not be on Vertex AI what it is on TFX's own runners."""
    found = []
    for node in pipeline.components:
        if not isinstance(node, base_component.BaseComponent | Importer | Resolver):
            rule = f"is a {type(node).__name__}; Vertex AI has components, and no pipelines among them"
            found.append(Limit(str(node.id), rule, "Put its nodes into the pipeline itself."))
            continue
        for look in _LOOKS:
            found.extend(Limit(node.id, rule, hint) for rule, hint in look(node))
    return found


_Found = Iterator[tuple[str, str]]


def _kind(node: BaseNode) -> _Found:
    if isinstance(node, Resolver):
        yield (
            "is a Resolver: it would ask Vertex AI's own metadata, which knows nothing of runs elsewhere",
            "Decide before compiling, as with the window and the bar, and hand it on as an execution property.",
        )
    if isinstance(node, InfraValidator):
        yield (
            "is an InfraValidator, which starts a server by Docker or Kubernetes; Vertex AI has neither",
            "Use hivemill.components.serving_check.ServingCheck, which starts it in its own container.",
        )


def _driver(node: BaseNode) -> _Found:
    driver = getattr(type(node), "DRIVER_CLASS", base_driver.BaseDriver)
    # Of file-based example gens KubeflowV2DagRunner runs TFX's own driver before the executor.
    carried = FileBasedExampleGen.DRIVER_CLASS if isinstance(node, FileBasedExampleGen) else base_driver.BaseDriver
    if driver is not carried:
        yield (
            f"has a driver of its own, {name_utils.get_full_name(driver, False)}, which KubeflowV2DagRunner drops "
            "without a word",
            "Do its work in the executor, or before compiling.",
        )


def _executor(node: BaseNode) -> _Found:
    if not isinstance(node, base_component.BaseComponent):
        return
    spec = node.executor_spec
    if isinstance(spec, TemplatedExecutorContainerSpec):
        return
    if not isinstance(spec, executor_spec.ExecutorClassSpec):
        yield f"has a {type(spec).__name__}; Vertex AI starts Python classes and containers", "Use ExecutorClassSpec."
        return
    path = name_utils.get_full_name(spec.executor_class, False)
    if not _is_importable(path, spec.executor_class):
        yield (
            f"has the executor {path}, which a container cannot import by that name",
            "Define it at the top of a module that is in the image.",
        )
    for argument in _beam_arguments(node):
        if not isinstance(argument, str):
            kind = type(argument).__name__
            yield f"has a Beam argument that is a {kind}; Vertex AI's are fixed text", "Write it as text."


def _beam_arguments(node: BaseNode) -> list[Any]:
    spec = node.executor_spec
    return list(spec.beam_pipeline_args) if isinstance(spec, executor_spec.BeamExecutorSpec) else []


def _options(node: BaseNode) -> _Found:
    if node.node_execution_options is not None:
        yield (
            "has NodeExecutionOptions (retries, timeout, optional success), which KubeflowV2DagRunner drops",
            "Leave them out.",
        )


def _properties(node: BaseNode) -> _Found:
    if isinstance(node, Importer | Resolver):  # theirs are the compiler's own
        return
    for name, value in node.exec_properties.items():
        rule = _why_not_carried(value)
        if rule:
            hint = "Give it as text, whole number or fraction, and read it in the executor."
            yield f"execution property `{name}` {rule}", hint
    size = sum(len(json.dumps(value)) for value in node.exec_properties.values() if isinstance(value, str))
    if size > _ARGUMENT_BYTES - _ARTIFACTS_BYTES:
        yield (
            f"has {size:,} bytes of execution properties, and they are one argument of a command, of which Linux takes "
            f"{_ARGUMENT_BYTES:,} bytes",
            "Fewer or shorter ones; in Transform and Trainer they are the features.",
        )


def _why_not_carried(value: Any) -> str | None:
    if value is None or isinstance(value, bool):  # a bool arrives as 1 or 0
        return None
    if isinstance(value, str):
        said = "would be replaced: Vertex AI takes `{{$` for a placeholder of its own"
        return said if _PLACEHOLDER in value else None
    if isinstance(value, int):
        said = f"is {value}, which does not fit a double exactly, and numbers in the file are doubles"
        return said if abs(value) > _EXACT_INTEGERS else None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"is {value}, which JSON has no number for"
    if isinstance(value, RuntimeParameter):
        return _why_not_asked_for(value)
    if isinstance(value, Placeholder):
        return "is a value that another node computes; its task is named wrongly in the compiled file (by TFX 1.21)"
    kind = f"protocol buffer {value.DESCRIPTOR.name}" if isinstance(value, Message) else type(value).__name__
    return f"is a {kind}; the executor would get its JSON text instead"


def _why_not_asked_for(value: RuntimeParameter) -> str | None:
    if value.default is None:
        return None
    return f"is the runtime parameter {value.name}, whose default ({value.default!r}) the compiled file does not have"


def _channels(node: BaseNode) -> _Found:
    if isinstance(node, Resolver):
        return
    for key, channel in node.inputs.items():
        if not isinstance(channel, Channel):
            yield (
                f"input `{key}` is a {type(channel).__name__}; Vertex AI has single outputs of single tasks",
                "Connect it to one output of one node.",
            )
        else:
            yield from _artifact_type(f"input `{key}`", channel, compiler_utils.build_input_artifact_spec)
    for key, channel in node.outputs.items():
        yield from _artifact_type(f"output `{key}`", channel, compiler_utils.build_output_artifact_spec)


def _artifact_type(what: str, channel: BaseChannel, build: Callable[[Any], Any]) -> _Found:
    kind = channel.type
    try:
        schema = build(channel).artifact_type.instance_schema
    except (ValueError, KeyError, TypeError):
        properties = ", ".join(kind.PROPERTIES or {})
        declared = f" with properties ({properties})" if properties else ""
        yield (
            f"{what} is of the artifact type {kind.TYPE_NAME}{declared}; Vertex AI carries types of TFX, and types "
            "without properties whose TYPE_NAME is `namespace.Title`",
            "Use custom properties (set_int_custom_property), and a TYPE_NAME by which the class is imported.",
        )
        return
    title = schema.partition("\n")[0].removeprefix("title: ")
    path = compiler_utils.TITLE_TO_CLASS_PATH.get(title, title)
    if not _is_importable(path, kind):
        yield (
            f"{what} is of the artifact type {kind.TYPE_NAME}, and a container would look for its class as {path}",
            f"Make `from {path.rpartition('.')[0]} import {path.rpartition('.')[2]}` find it.",
        )


def _is_importable(path: str, kind: type) -> bool:
    try:
        return not path.startswith("__main__.") and import_utils.import_class_by_path(path) is kind
    except ImportError:
        return False


_LOOKS: tuple[Callable[[BaseNode], _Found], ...] = (_kind, _driver, _executor, _options, _properties, _channels)
