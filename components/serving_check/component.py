"""ServingCheck: a server in a fresh process answers real rows as the model itself does, in time, or nothing is pushed.

TFX's InfraValidator needs Docker and does not compile for Kubeflow; the output here is its InfraBlessing.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from hivemill.common.storage.atomic import code_fingerprint
from hivemill.components.serving_check import executor
from hivemill.components.serving_check.options import ServingCheckOptions
from hivemill.components.serving_check.server_process import BINARY

_CODE = Path(__file__).parent
_SERVER_CODE = _CODE.parents[1] / "serving" / "server"


class ServingCheckSpec(ComponentSpec):
    PARAMETERS = {  # noqa: RUF012  (TFX reads these class attributes)
        "options": ExecutionParameter(type=str),
        "label_column": ExecutionParameter(type=str),
        # So that TFX's cache sees that the code, or the server that would be taken, has changed.
        "code": ExecutionParameter(type=str),
        "server": ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        "model": ChannelParameter(type=standard_artifacts.Model),
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
    }
    OUTPUTS = {  # noqa: RUF012
        "infra_blessing": ChannelParameter(type=standard_artifacts.InfraBlessing),
    }


class ServingCheck(base_component.BaseComponent):
    """Output `infra_blessing`: `serving_check.json`, and TFX's InfraBlessing (`blessed` 1 or 0).

    A model that is not blessed is not checked: `blessed` is 0 and the node succeeds, as nothing is pushed anyway. A red
    check fails the node with an InfrastructureError that names what, value and bound.
    """

    SPEC_CLASS = ServingCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.ServingCheckExecutor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        blessing: types.BaseChannel,
        options: ServingCheckOptions,
        label_column: str,
    ):
        """`examples` need a split `eval`."""
        spec = ServingCheckSpec(
            model=model,
            examples=examples,
            blessing=blessing,
            options=options.model_dump_json(),
            label_column=label_column,
            code=code_fingerprint(_CODE, _SERVER_CODE),
            server=shutil.which(options.model_server or BINARY) or "",
            infra_blessing=types.Channel(type=standard_artifacts.InfraBlessing),
        )
        super().__init__(spec=spec)
