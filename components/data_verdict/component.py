"""DataVerdictGate: stops the run where the data breaks the schema, cannot be learnt from, or is not what it was."""

from __future__ import annotations

from pathlib import Path

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from hivemill.common.storage.atomic import code_fingerprint
from hivemill.components.artifacts import DataVerdict, WindowManifest
from hivemill.components.data_verdict import executor
from hivemill.components.data_verdict.options import DataVerdictOptions
from hivemill.components.data_verdict.profile.column_roles import ColumnRoles


class DataVerdictGateSpec(ComponentSpec):
    PARAMETERS = {  # noqa: RUF012  (TFX reads these class attributes)
        "options": ExecutionParameter(type=str),
        "roles": ExecutionParameter(type=str),
        "partitions_path": ExecutionParameter(type=str, optional=True),
        "baseline_path": ExecutionParameter(type=str, optional=True),
        "baseline_fingerprint": ExecutionParameter(type=str, optional=True),
        "code": ExecutionParameter(type=str),  # so that TFX's cache sees that the code has changed
    }
    INPUTS = {  # noqa: RUF012
        "examples": ChannelParameter(type=standard_artifacts.Examples, optional=True),
        "manifest": ChannelParameter(type=WindowManifest, optional=True),
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
        "anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
    }
    OUTPUTS = {  # noqa: RUF012
        "verdict": ChannelParameter(type=DataVerdict),
    }


class DataVerdictGate(base_component.BaseComponent):
    """Turns statistics, anomalies and a sample of the rows into findings; output `verdict` (`verdict.json`).

    A red finding fails the node with DataVerdictError, whose message lists them (TFX then removes the artifact).
    """

    SPEC_CLASS = DataVerdictGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.DataVerdictExecutor)

    def __init__(
        self,
        statistics: types.BaseChannel,
        schema: types.BaseChannel,
        anomalies: types.BaseChannel,
        options: DataVerdictOptions,
        roles: ColumnRoles,
        examples: types.BaseChannel | None = None,
        manifest: types.BaseChannel | None = None,
        baseline_path: str | None = None,
        baseline_fingerprint: str | None = None,
        partitions_path: str | None = None,
    ):
        """Args:
        examples, manifest: of HiveLogExampleGen; without them only schema and label are judged.
        baseline_path: the last good window (pipeline/history/baseline.py), None before the first push. The
        fingerprint is
            that of its content: TFX's cache looks at properties only.
        partitions_path: where converted partitions of `options.serving_log` are kept.
        """
        inputs = {name: one for name, one in (("examples", examples), ("manifest", manifest)) if one is not None}
        spec = DataVerdictGateSpec(
            **inputs,
            statistics=statistics,
            schema=schema,
            anomalies=anomalies,
            options=options.model_dump_json(),
            roles=roles.model_dump_json(),
            baseline_path=baseline_path,
            baseline_fingerprint=baseline_fingerprint,
            partitions_path=partitions_path,
            code=code_fingerprint(Path(__file__).parent),
            verdict=types.Channel(type=DataVerdict),
        )
        super().__init__(spec=spec)
