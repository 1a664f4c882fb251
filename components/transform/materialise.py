"""Writes a split as the transform graph gives it: the saved graph in tf.data, in large batches, encoded by Arrow."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder
from tfx_bsl.tfxio import tensor_to_arrow

from hivemill.components.features import FeatureSet
from hivemill.components.hive_example_gen.cache.tfrecord import TFRecordWriter
from hivemill.components.transform.analysis import needed_columns, read_records
from hivemill.components.transform.layout import BLOCK_ROWS

NUM_SHARDS = 8


def write_transformed(output: tft.TFTransformOutput, features: FeatureSet, files: Sequence[str], prefix: str) -> None:
    """Writes `<prefix>-0000i-of-0000n.gz`, n at most NUM_SHARDS.

    Blocks of BLOCK_ROWS rows go to the shards in turn, so each shard has rows of the whole split: the trainer reads
    several at once, and its shuffle buffer need not span the days.

    Args:
        output: the graph, and the raw and transformed schemas.
        features: columns that they do not read are not parsed.
        files: GZIP TFRecord files of serialised raw tf.Examples.

    Raises OSError where it cannot be written.
    """
    converter = tensor_to_arrow.TensorsToRecordBatchConverter(_type_specs(output))
    encoder = RecordBatchToExamplesEncoder(output.transformed_metadata.schema)
    Path(prefix).parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        shards = [stack.enter_context(TFRecordWriter(_unfinished(prefix, 0)))]  # there even for a split without rows
        for index, tensors in enumerate(_transformed(output, features, files)):
            if 0 < index < NUM_SHARDS:
                shards.append(stack.enter_context(TFRecordWriter(_unfinished(prefix, index))))
            shards[index % NUM_SHARDS].write(encoder.encode(converter.convert(tensors)))
    for index in range(len(shards)):
        os.rename(_unfinished(prefix, index), f"{prefix}-{index:05d}-of-{len(shards):05d}.gz")


def _unfinished(prefix: str, index: int) -> Path:
    """The number of shards is part of their names, and known at the end."""
    return Path(f"{prefix}-{index:05d}.unfinished")


def _transformed(output: tft.TFTransformOutput, features: FeatureSet, files: Sequence[str]) -> tf.data.Dataset:
    transform = output.transform_features_layer()
    spec = needed_columns(features, output.raw_feature_spec())

    @tf.autograph.experimental.do_not_convert  # converting TFT's own code takes seconds, and finds nothing to convert
    def transformed(serialized: tf.Tensor) -> dict[str, Any]:
        return transform(tf.io.parse_example(serialized, spec))

    batches = read_records(files, BLOCK_ROWS).map(transformed, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE)


def _type_specs(output: tft.TFTransformOutput) -> dict[str, tf.TypeSpec]:
    """Of the transformed tensors, by name: what the graph's own feature spec says of them."""
    return {name: _type_spec(feature) for name, feature in output.transformed_feature_spec().items()}


def _type_spec(feature: Any) -> tf.TypeSpec:
    if isinstance(feature, tf.io.FixedLenFeature):
        return tf.TensorSpec([None, *feature.shape], feature.dtype)
    return tf.SparseTensorSpec([None, None], feature.dtype)
