"""From the declared features and what Transform learnt to the fields of the model."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_transform as tft

from hivemill.components.features import Feature, FeatureSet
from hivemill.components.trainer.model.deepfm import Field, IdField, MultivalentField, ValueField
from hivemill.components.trainer.options import ModelOptions
from hivemill.components.transform import layout as layout_lib


def model_fields(features: FeatureSet, options: ModelOptions, transform_output: tft.TFTransformOutput) -> list[Field]:
    """One field per declared feature, with its number of ids counted in the vocabulary that Transform wrote."""
    layout = layout_lib.FieldLayout.of(features)
    targets = options.attention.sequences if options.attention is not None else {}
    fields: list[Field] = []
    for name, feature in features.features.items():
        size = feature.embedding_size or options.embedding_size
        if name in layout.value_fields:
            fields.append(ValueField(layout.value_fields.index(name), size))
            continue
        ids = layout_lib.num_ids(feature, _vocabulary_size(name, feature, transform_output))
        if name in layout.id_fields:
            fields.append(IdField(layout.id_fields.index(name), ids, size))
        else:
            weights = layout_lib.weights_key(name) if name in layout.weighted_fields else None
            target = layout.id_fields.index(targets[name]) if name in targets else None
            fields.append(MultivalentField(layout_lib.ids_key(name), ids, size, weights, target))
    return fields


def _vocabulary_size(name: str, feature: Feature, transform_output: tft.TFTransformOutput) -> int | None:
    if not layout_lib.uses_vocabulary(feature):
        return None
    with tf.io.gfile.GFile(vocabulary_path(name, transform_output), "rb") as file:
        return sum(1 for _ in file)


def vocabulary_path(name: str, transform_output: tft.TFTransformOutput) -> str:
    """The vocabulary file of a feature: a line for each id from 0."""
    assets = f"{transform_output.transform_savedmodel_dir}/{tf.saved_model.ASSETS_DIRECTORY}"
    return f"{assets}/{layout_lib.vocabulary_file_name(name)}"
