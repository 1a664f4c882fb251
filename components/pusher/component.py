"""StorePusher: a blessed model becomes a version of the model store; a refused one goes nowhere."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from hivemill.components.artifacts import ModelVerdict
from hivemill.components.pusher import executor
from hivemill.components.pusher.options import StoreOptions


class StorePusherSpec(ComponentSpec):
    PARAMETERS = {  # noqa: RUF012  (TFX reads these class attributes)
        "store_path": ExecutionParameter(type=str),
        "model_name": ExecutionParameter(type=str),
        "run_id": ExecutionParameter(type=str),
        "run_date": ExecutionParameter(type=str),
        "lineage": ExecutionParameter(type=str, optional=True),
        "options": ExecutionParameter(type=str, optional=True),
        "label_column": ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        "model": ChannelParameter(type=standard_artifacts.Model),
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
        "model_verdict": ChannelParameter(type=ModelVerdict),
        "examples": ChannelParameter(type=standard_artifacts.Examples, optional=True),
        "infra_blessing": ChannelParameter(type=standard_artifacts.InfraBlessing, optional=True),
    }
    OUTPUTS = {  # noqa: RUF012
        "pushed_model": ChannelParameter(type=standard_artifacts.PushedModel),
    }


class StorePusher(base_component.BaseComponent):
    """Publishes `model` where `blessing` says so, and `infra_blessing` where there is one.

    Output `pushed_model` has the custom properties that TFX's Pusher sets: `pushed` 1 or 0, and for 1
    `pushed_version` and `pushed_destination`. The node succeeds when nothing is pushed.
    """

    SPEC_CLASS = StorePusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.StorePusherExecutor)

    def __init__(
        self,
        model: types.BaseChannel,
        blessing: types.BaseChannel,
        model_verdict: types.BaseChannel,
        store_path: str,
        model_name: str,
        run_id: str,
        run_date: datetime.date | str,
        lineage: Mapping[str, str] | None = None,
        examples: types.BaseChannel | None = None,
        label_column: str | None = None,
        options: StoreOptions | None = None,
        infra_blessing: types.BaseChannel | None = None,
    ):
        """`store_path` is the folder of the store; `lineage` (plan and config fingerprints) goes into the record.

        Of `examples` with `label_column`, rows of the split `eval` become warm-up requests; without them there are
        none. `options` also say which old versions go; without them none does.
        """
        spec = StorePusherSpec(
            model=model,
            blessing=blessing,
            model_verdict=model_verdict,
            infra_blessing=infra_blessing,
            store_path=store_path,
            model_name=model_name,
            run_id=run_id,
            run_date=str(run_date),
            examples=examples,
            label_column=label_column,
            options=options.model_dump_json() if options else None,
            lineage=json.dumps(lineage, sort_keys=True) if lineage else None,
            pushed_model=types.Channel(type=standard_artifacts.PushedModel),
        )
        super().__init__(spec=spec)
