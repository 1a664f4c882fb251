"""DataVerdictGate: stops the run where the data breaks the schema or the label cannot be learnt from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from common.files import code_fingerprint
from components.artifacts import DataVerdict
from components.data_verdict import executor
from components.data_verdict.options import DataVerdictOptions


class DataVerdictGateSpec(ComponentSpec):
    PARAMETERS = {  # noqa: RUF012  (TFX reads these class attributes)
        "options": ExecutionParameter(type=str),
        "label_column": ExecutionParameter(type=str),
        "date_columns": ExecutionParameter(type=str, optional=True),
        "code": ExecutionParameter(type=str),  # so that TFX's cache sees that the code has changed
    }
    INPUTS = {  # noqa: RUF012
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
        "anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
    }
    OUTPUTS = {  # noqa: RUF012
        "verdict": ChannelParameter(type=DataVerdict),
    }


class DataVerdictGate(base_component.BaseComponent):
    """Turns TFDV's statistics and anomalies into findings; output `verdict` (`verdict.json`).

    A red finding fails the node with DataVerdictError, whose message lists them (TFX then removes the artifact).
    """

    SPEC_CLASS = DataVerdictGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        statistics: types.BaseChannel,
        schema: types.BaseChannel,
        anomalies: types.BaseChannel,
        options: DataVerdictOptions,
        label_column: str,
        date_columns: Sequence[str] = (),
    ):
        """`date_columns` are partition columns that hold the date: a new value there is no finding."""
        spec = DataVerdictGateSpec(
            statistics=statistics,
            schema=schema,
            anomalies=anomalies,
            options=options.model_dump_json(),
            label_column=label_column,
            date_columns=json.dumps(sorted(date_columns)),
            code=code_fingerprint(Path(__file__).parent),
            verdict=types.Channel(type=DataVerdict),
        )
        super().__init__(spec=spec)
