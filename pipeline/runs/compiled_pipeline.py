"""The compiled pipeline of a run in steps: written by its begin, read by the process of each node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hivemill.common.errors import ConfigError
from hivemill.common.storage.atomic import write_text_atomically
from hivemill.pipeline.runs.records import RunFolder

PIPELINE_JSON = "pipeline.json"
PIPELINE_HINT = "Give the file that `hivemill node --begin` wrote."


def write_pipeline(ir: Any, folder: RunFolder) -> None:
    """Keeps the compiled pipeline (pipeline_pb2.Pipeline) as JSON. It holds no secret."""
    from google.protobuf import json_format

    write_text_atomically(folder.file(PIPELINE_JSON), json_format.MessageToJson(ir) + "\n")


def read_pipeline(path: Path) -> Any:
    """The compiled pipeline at `path`. Raises ConfigError where it is none."""
    from hivemill.common import runtime

    with runtime.quick_imports():
        runtime.prepare_tensorflow()
        from google.protobuf import json_format
        from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2  # noqa: F401 (messages inside of Any)

        from hivemill.pipeline.orchestrators import node_launcher  # noqa: F401 (the rest of them)
    try:
        return json_format.Parse(path.read_text(encoding="utf-8"), pipeline_pb2.Pipeline())
    except (OSError, UnicodeDecodeError, json_format.ParseError) as error:
        raise ConfigError(f"{path} holds no compiled pipeline: {error}", hint=PIPELINE_HINT) from error
