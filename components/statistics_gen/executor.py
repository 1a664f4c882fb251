"""Executor of TFX's StatisticsGen on one machine: the same artifact, from the summaries that the examples carry.

Distributed runners keep TFX's executor (pipeline/dag.py), which takes options that Hivemill's DAG does not use: sample
rates, sharded output, a schema. They are refused here.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx.components.statistics_gen import executor as tfx_executor
from tfx.types import Artifact, artifact_utils
from tfx.types import standard_component_specs as specs
from tfx.utils import json_utils

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.summary.request import SummaryRequest
from hivemill.components.hive_example_gen.summary.split_summary import summary_of

STATISTICS = SummaryRequest(statistics=True)
_NOT_HERE = (specs.STATS_OPTIONS_JSON_KEY, specs.SAMPLE_RATE_BY_SPLIT_KEY, specs.SHARDED_STATS_OUTPUT_KEY)


class StatisticsGenExecutor(tfx_executor.Executor):
    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """`FeatureStats.pb` of each split of `examples` that is not excluded. Raises ConfigError for other options."""
        _refuse_other_options(input_dict, exec_properties)
        examples = artifact_utils.get_single_instance(input_dict[specs.EXAMPLES_KEY])
        statistics = artifact_utils.get_single_instance(output_dict[specs.STATISTICS_KEY])
        excluded = json_utils.loads(exec_properties.get(specs.EXCLUDE_SPLITS_KEY) or "null") or []
        splits = [name for name in artifact_utils.decode_split_names(examples.split_names) if name not in excluded]
        statistics.split_names = artifact_utils.encode_split_names(splits)
        statistics.span = examples.span
        for split in splits:
            folder = Path(artifact_utils.get_split_uri([statistics], split))
            folder.mkdir(parents=True, exist_ok=True)
            (folder / tfx_executor.DEFAULT_FILE_NAME).write_bytes(_statistics_of(examples, split))


def _statistics_of(examples: Artifact, split: str) -> bytes:
    files = sorted(tf.io.gfile.glob(f"{artifact_utils.get_split_uri([examples], split)}/*"))
    with tempfile.TemporaryDirectory(prefix="hivemill-statistics-") as scratch:
        summary = summary_of(examples.uri, [split], files, STATISTICS, Path(scratch))
        return summary.statistics().SerializeToString()


def _refuse_other_options(input_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]) -> None:
    given = [key for key in _NOT_HERE if exec_properties.get(key) not in (None, "", "null", 0, False)]
    if input_dict.get(specs.SCHEMA_KEY):
        given.append(specs.SCHEMA_KEY)
    if given:
        raise ConfigError(
            f"StatisticsGen: {', '.join(given)} is not supported on one machine",
            hint="Leave it out, or use TFX's own executor for this node.",
        )
