"""The Transform node's work on one machine, without Beam: analyse files of tf.Examples, trace the graph, transform."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow_transform as tft
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform import impl_helper
from tensorflow_transform.tf_metadata import metadata_io, schema_utils
from tfx_bsl.public import tfxio

from hivemill.components.features import FeatureSet
from hivemill.components.hive_example_gen.summary.split_summary import SplitSummary, made_of
from hivemill.components.transform.analysis import analyse, request_of
from hivemill.components.transform.materialise import write_transformed
from hivemill.components.transform.preprocessing import preprocessing_fn


def transform_files(
    features: FeatureSet,
    schema: schema_pb2.Schema,
    files: Mapping[str, Sequence[str]],
    folder: Path,
    fit_split: str = "train",
) -> None:
    """Writes `folder`/transform_graph and `folder`/<split>/*.gz from the GZIP TFRecord files of each split.

    Vocabularies, means and quantiles come from `fit_split`, as in the DAG.
    """
    with tempfile.TemporaryDirectory(prefix="hivemill-transform-") as scratch:
        summary = made_of(files[fit_split], request_of(features), Path(scratch))
        fit_graph(features, schema, summary, str(folder / "transform_graph"))
    for split, names in files.items():
        write_transformed(transform_output(folder), features, names, str(folder / split / "examples"))


def fit_graph(features: FeatureSet, schema: schema_pb2.Schema, summary: SplitSummary, path: str) -> None:
    """Writes what TFX calls a transform graph to `path`: the saved graph, its vocabularies, raw and transformed schema.

    `summary` is that of the split that it is fitted on. Raises ConfigError where a feature cannot read its column.
    """
    raw_spec = schema_utils.schema_as_feature_spec(schema).feature_spec
    type_specs = tfxio.TFExampleRecord("no file is read", schema=schema).TensorAdapter().OriginalTypeSpecs()
    metadata_io.write_metadata(tft.DatasetMetadata(schema), f"{path}/{tft.TFTransformOutput.RAW_METADATA_DIR}")
    with tempfile.TemporaryDirectory(prefix="hivemill-transform-") as scratch:
        transform = functools.partial(
            preprocessing_fn,
            custom_config={"features": features.model_dump_json()},
            analyzers=analyse(features, summary, Path(scratch)),
        )
        impl_helper.analyze_in_place(transform, False, raw_spec, type_specs, path)


def transform_output(folder: Path) -> tft.TFTransformOutput:
    """What `transform_files` learnt."""
    return tft.TFTransformOutput(str(folder / "transform_graph"))
