"""The Transform node's work without a DAG: tf.Example files analysed and transformed. For benchmarks and notebooks."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.options.pipeline_options import PipelineOptions
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import metadata_io
from tfx_bsl.coders import example_coder
from tfx_bsl.public import tfxio

from hivemill.components.features import FeatureSet
from hivemill.components.transform.preprocessing import preprocessing_fn


def transform_files(
    features: FeatureSet,
    schema: schema_pb2.Schema,
    files: Mapping[str, Sequence[str]],
    folder: Path,
    analyse: str = "train",
    transform: Any = preprocessing_fn,
) -> None:
    """Writes `folder`/transform_graph and `folder`/<split>/*.gz from the GZIP TFRecord files of each split.

    Vocabularies, means and quantiles come from the split `analyse`, as in the DAG; one process, Beam in memory.
    """
    config = {"features": features.model_dump_json()}
    raw_metadata = str(folder / "transform_graph" / tft.TFTransformOutput.RAW_METADATA_DIR)
    metadata_io.write_metadata(tft.DatasetMetadata(schema), raw_metadata)
    sources = {split: tfxio.TFExampleRecord(list(names), schema=schema) for split, names in files.items()}
    options = PipelineOptions(["--runner=FnApiRunner"])
    with (
        tempfile.TemporaryDirectory() as scratch,
        beam.Pipeline(options=options) as pipeline,
        tft_beam.Context(temp_dir=scratch, force_tf_compat_v1=False, use_deep_copy_optimization=True),
    ):
        batches = {s: pipeline | f"Read[{s}]" >> source.BeamSource() for s, source in sources.items()}
        adapter = sources[analyse].TensorAdapterConfig()
        graph = (batches[analyse], adapter) | tft_beam.AnalyzeDataset(
            functools.partial(transform, custom_config=config)
        )
        _ = graph | tft_beam.WriteTransformFn(str(folder / "transform_graph"))
        for split, batch in batches.items():
            data, _ = ((batch, adapter), graph) | f"Transform[{split}]" >> tft_beam.TransformDataset(
                output_record_batches=True
            )
            _ = (
                data
                | f"Encode[{split}]" >> beam.FlatMapTuple(lambda batch, _: _encode(batch))
                | f"Write[{split}]" >> beam.io.WriteToTFRecord(str(folder / split / "examples"), file_name_suffix=".gz")
            )


def transform_output(folder: Path) -> tft.TFTransformOutput:
    """What `transform_files` learnt."""
    return tft.TFTransformOutput(str(folder / "transform_graph"))


def _encode(batch: Any) -> list[bytes]:
    return example_coder.RecordBatchToExamplesEncoder().encode(batch)
