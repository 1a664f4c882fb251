"""Executor of TFX's Transform on one machine: the same artifacts; the analysis reads the summary of the split, the
transform is one pass of tf.data instead of Beam's.

TFX's executor hands rows to Beam in batches of at most 1,000, twice: for the analysis and for the transform.
Distributed runners keep it (pipeline/dag.py); docs/decisions/0080 has the measurements.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.transform import executor as tfx_executor
from tfx.components.transform import executor_utils
from tfx.types import Artifact, artifact_utils
from tfx.types import standard_component_specs as specs
from tfx.utils import io_utils

from hivemill.components.features import FeatureSet
from hivemill.components.hive_example_gen.summary.split_summary import SplitSummary, summary_of
from hivemill.components.transform.analysis import request_of
from hivemill.components.transform.materialise import write_transformed
from hivemill.components.transform.standalone import fit_graph


class TransformExecutor(tfx_executor.Executor):
    """For Hivemill's own preprocessing function (`preprocessing.preprocessing_fn`), without Transform's statistics."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Fits the graph on the splits to `analyze` and writes the splits to `transform`.

        Raises ConfigError where a feature cannot read its column, OSError where the outputs cannot be written.
        """
        examples = input_dict[specs.EXAMPLES_KEY]
        splits = executor_utils.ResolveSplitsConfig(exec_properties.get(specs.SPLITS_CONFIG_KEY), examples)
        features = FeatureSet.model_validate_json(json.loads(exec_properties[specs.CUSTOM_CONFIG_KEY])["features"])
        schema_file = io_utils.get_only_uri_in_dir(artifact_utils.get_single_uri(input_dict[specs.SCHEMA_KEY]))
        graph = artifact_utils.get_single_uri(output_dict[specs.TRANSFORM_GRAPH_KEY])
        schema = io_utils.SchemaReader().read(schema_file)
        with tempfile.TemporaryDirectory(prefix="hivemill-transform-") as scratch:
            fit_graph(features, schema, _summary(features, examples, list(splits.analyze), Path(scratch)), graph)
        transformed = output_dict[specs.TRANSFORMED_EXAMPLES_KEY]
        executor_utils.SetSplitNames(splits.transform, transformed)
        prefixes = executor_utils.GetSplitPaths(transformed)
        for split, prefix in zip(splits.transform, prefixes, strict=True):
            write_transformed(tft.TFTransformOutput(graph), features, _files(examples, [split]), prefix)


def _summary(features: FeatureSet, examples: list[Artifact], splits: list[str], scratch: Path) -> SplitSummary:
    uri = artifact_utils.get_single_instance(examples).uri
    return summary_of(uri, splits, _files(examples, splits), request_of(features), scratch)


def _files(examples: list[Artifact], splits: list[str]) -> list[str]:
    folders = [artifact_utils.get_split_uri(examples, split) for split in splits]
    return sorted(file for folder in folders for file in tf.io.gfile.glob(io_utils.all_files_pattern(folder)))
