"""HiveLogExampleGen: the window of a partitioned Hive click log as TFX Examples, split by time."""

from __future__ import annotations

import datetime
from typing import ClassVar

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import channel_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from hivemill.components.artifacts import WindowManifest
from hivemill.components.hive_example_gen import executor
from hivemill.components.hive_example_gen.options import SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.rows.label_join.options import LabelRules
from hivemill.components.hive_example_gen.summary.request import SummaryRequest


class HiveLogExampleGenSpec(ComponentSpec):
    """The execution properties decide whether TFX's cache holds; the plan's fingerprint covers the files."""

    PARAMETERS: ClassVar = {
        "source": ExecutionParameter(type=str),
        "window": ExecutionParameter(type=str),
        "label": ExecutionParameter(type=str),
        "date": ExecutionParameter(type=str),
        "plan_fingerprint": ExecutionParameter(type=str),
        "partitions_path": ExecutionParameter(type=str),
        "summary": ExecutionParameter(type=str, optional=True),
    }
    INPUTS: ClassVar = {}
    OUTPUTS: ClassVar = {
        executor.EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples),
        executor.MANIFEST_KEY: ChannelParameter(type=WindowManifest),
    }


class HiveLogExampleGen(base_beam_component.BaseBeamComponent):
    """Reads the window's partitions, by columns, and writes the splits `train`, `validation` (if any) and `eval`.

    Partitions that were converted by an earlier run are reused. Outputs: `examples` (GZIP TFRecords of
    tf.Example, int custom properties `num_rows` and `num_rows_<split>`) and `manifest` (WindowManifest, `num_rows`).
    """

    SPEC_CLASS = HiveLogExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.HiveExampleGenExecutor)

    def __init__(
        self,
        *,
        source: SourceOptions,
        window: WindowOptions,
        label: LabelRules | None = None,
        date: datetime.date,
        plan_fingerprint: str,
        partitions_path: str,
        summary: SummaryRequest | None = None,
    ):
        """Args:
        plan_fingerprint: of `window.plan_window` for the same arguments. The executor plans again, and refuses with
            DataNotReadyError where the files have changed since.
        summary: what `examples` carries of each partition beside the rows, made as they are converted.
        partitions_path: what keeps converted partitions: a folder that all workers see, or a URL (s3://, gs://).
        """
        spec = HiveLogExampleGenSpec(
            source=source.model_dump_json(),
            window=window.as_planned().model_dump_json(),
            label=label.model_dump_json() if label else "",
            date=date.isoformat(),
            plan_fingerprint=plan_fingerprint,
            partitions_path=str(partitions_path),
            summary=summary.model_dump_json() if summary else None,
            examples=channel_utils.as_channel([standard_artifacts.Examples()]),
            manifest=channel_utils.as_channel([WindowManifest()]),
        )
        super().__init__(spec=spec)
