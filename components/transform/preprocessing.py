"""`preprocessing_fn` for TFX's Transform: raw columns in, the packed tensors of `layout` out, as declared.

What it has to know of the whole training split comes from `analyzers`: TFT's on Beam, or an analysis that is finished.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from hivemill.common.errors import ConfigError
from hivemill.components.features import (
    CategoricalFeature,
    CrossFeature,
    FeatureSet,
    MultivalentFeature,
    NumericFeature,
)
from hivemill.components.transform import layout as layout_lib
from hivemill.components.transform.analyzers import Analyzers, BeamAnalyzers, vocabulary_rules
from hivemill.components.transform.columns import as_ragged, as_single, as_tokens, with_values
from hivemill.components.transform.vocabulary_file import escaped_tokens

Tensors = dict[str, Any]
_EMPTY = '""'  # the empty string as a line of a vocabulary (vocabulary_file)
_CROSS_SEPARATOR = "\x1f"  # ASCII unit separator: in no sane value, so ("a", "bc") and ("ab", "c") differ


def preprocessing_fn(
    inputs: Mapping[str, Any], custom_config: Mapping[str, Any], analyzers: Analyzers | None = None
) -> Tensors:
    """Builds the transform graph.

    Args:
      inputs: raw columns by name, dense [batch] or [batch, n], sparse or ragged; int64, float32 or string.
      custom_config: `features` holds the FeatureSet as JSON.
      analyzers: of a finished analysis; TFT's on Beam if left out.

    Returns: the tensors that `layout` lists. Raises ConfigError where a feature cannot read its column.
    """
    features = FeatureSet.model_validate_json(custom_config["features"])
    columns = _Columns(inputs)
    analyzers = analyzers or BeamAnalyzers()
    tokens = {
        name: _tokens(name, feature, columns)
        for name, feature in features.features.items()
        if isinstance(feature, CategoricalFeature | MultivalentFeature | CrossFeature)
    }
    rules = vocabulary_rules(features)
    files = analyzers.vocabulary_files(rules, [_flat(tokens[name]) for name in rules])
    outputs = _single_valued_outputs(features, columns, tokens, files, analyzers)
    for name, feature in features.features.items():
        if isinstance(feature, MultivalentFeature):
            ids = tokens[name].with_values(_ids(feature, tokens[name].values, files.get(name), analyzers.escapes(name)))
            outputs[layout_lib.ids_key(name)] = ids.to_sparse()
            if feature.weights:
                outputs[layout_lib.weights_key(name)] = _weights(name, feature, columns, ids).to_sparse()
    return outputs | _label_outputs(features, columns)


def _flat(tokens: Any) -> tf.Tensor:
    return tokens.values if isinstance(tokens, tf.RaggedTensor) else tokens


class _Columns:
    """The raw columns, with errors that name the feature that asked for one."""

    def __init__(self, inputs: Mapping[str, Any]):
        self._inputs = inputs
        self._single_tokens: dict[tuple[str, str], tf.Tensor] = {}

    def __contains__(self, column: str) -> bool:
        return column in self._inputs

    def get(self, column: str, owner: str, numeric: bool | None = None) -> Any:
        if column not in self._inputs:
            known = ", ".join(sorted(self._inputs))
            raise ConfigError(
                f"{owner} reads column {column!r}, which the table does not have", hint=f"columns: {known}"
            )
        tensor = self._inputs[column]
        if numeric and tensor.dtype == tf.string:
            raise ConfigError(
                f"{owner} needs numbers, but column {column!r} holds strings",
                hint="declare the feature as `categorical`, or give it another column",
            )
        if numeric is False and tensor.dtype.is_floating:
            raise ConfigError(
                f"{owner} needs strings or integers, but column {column!r} holds floats",
                hint="declare the feature as `numeric` (transform: quantile_buckets gives it ids)",
            )
        return tensor

    def single_tokens(self, column: str, owner: str, default: str) -> tf.Tensor:
        """The column as one string per row, [batch]; features that read the same column share its ops."""
        tensor = self.get(column, owner, numeric=False)
        key = column, default
        if key not in self._single_tokens:
            self._single_tokens[key] = as_single(as_tokens(tensor), default)
        return self._single_tokens[key]

    def single_floats(self, column: str, owner: str) -> tf.Tensor:
        """The column as one float32 per row, [batch]; NaN where it is missing."""
        tensor = self.get(column, owner, numeric=True)
        return as_single(with_values(lambda values: tf.cast(values, tf.float32), tensor), math.nan)


def _tokens(name: str, feature: Any, columns: _Columns) -> Any:
    """Strings to be turned into ids: dense [batch], or ragged [batch, any] for a multivalent feature."""
    owner = f"features.{name}"
    if isinstance(feature, CategoricalFeature):
        return columns.single_tokens(feature.column or name, owner, str(feature.default))
    if isinstance(feature, CrossFeature):
        parts = [columns.single_tokens(column, owner, feature.default) for column in feature.columns]
        return tf.strings.join(parts, separator=_CROSS_SEPARATOR)
    tokens = _multivalent_tokens(owner, feature.column or name, feature, columns)
    return tokens if feature.max_length is None else tokens[:, : feature.max_length]


def _multivalent_tokens(owner: str, column: str, feature: MultivalentFeature, columns: _Columns) -> tf.RaggedTensor:
    is_map = column not in columns and f"{column}_keys" in columns
    if feature.of == "items" and not is_map:
        raise ConfigError(f"{owner}.of is `items`, but {column!r} is not a map column", hint="remove `of`")
    keys = as_ragged(columns.get(f"{column}_keys" if is_map else column, owner, numeric=False))
    tokens = keys.with_values(as_tokens(keys.values))
    if feature.of == "keys":
        return tokens
    values = as_ragged(columns.get(f"{column}_values", owner))
    _check_parallel(owner, tokens, values)
    return tokens.with_values(tf.strings.join([tokens.values, as_tokens(values.values)], separator="="))


def _weights(name: str, feature: MultivalentFeature, columns: _Columns, ids: tf.RaggedTensor) -> tf.RaggedTensor:
    """Weights parallel to the ids, float32 [batch, any]."""
    owner = f"features.{name}.weights"
    column = f"{feature.column or name}_values" if feature.weights == "values" else str(feature.weights)
    weights = as_ragged(columns.get(column, owner, numeric=True))
    if feature.max_length is not None:
        weights = weights[:, : feature.max_length]
    _check_parallel(owner, ids, weights)
    return ids.with_values(tf.cast(weights.values, tf.float32))


def _check_parallel(owner: str, first: tf.RaggedTensor, second: tf.RaggedTensor) -> None:
    message = f"{owner}: the two parallel lists of a row differ in length"
    tf.debugging.assert_equal(first.row_lengths(), second.row_lengths(), message=message)


def _ids(feature: Any, tokens: tf.Tensor, vocabulary_file: Any, escapes: bool) -> tf.Tensor:
    """int64 ids of the tokens, the same shape: 0 .. num_ids - 1; out-of-vocabulary ids come after the vocabulary."""
    if isinstance(feature, CrossFeature) or feature.encoding == "hash":
        return tf.strings.to_hash_bucket_fast(tokens, feature.hash_buckets)
    lines = tf.where(tokens == "", tf.constant(_EMPTY), escaped_tokens(tokens) if escapes else tokens)
    return tft.apply_vocabulary(lines, vocabulary_file, num_oov_buckets=feature.oov_buckets)


def _single_valued_outputs(
    features: FeatureSet, columns: _Columns, tokens: Tensors, files: Mapping[str, Any], analyzers: Analyzers
) -> Tensors:
    ids, values = [], []
    for name, feature in features.features.items():
        if isinstance(feature, NumericFeature):
            is_bucketised = feature.transform == "quantile_buckets"
            (ids if is_bucketised else values).append(_number(name, feature, columns, analyzers))
        elif not isinstance(feature, MultivalentFeature):
            ids.append(_ids(feature, tokens[name], files.get(name), analyzers.escapes(name)))
    outputs = {}
    if ids:
        outputs[layout_lib.FIELD_IDS_KEY] = tf.stack(ids, axis=1)
    if values:
        outputs[layout_lib.FIELD_VALUES_KEY] = tf.stack(values, axis=1)
    return outputs


def _number(name: str, feature: NumericFeature, columns: _Columns, analyzers: Analyzers) -> tf.Tensor:
    """float32 [batch], or int64 bucket numbers [batch]. A missing value and NaN are replaced by the default first."""
    values = columns.single_floats(feature.column or name, f"features.{name}")
    filled = tf.where(tf.math.is_nan(values), tf.constant(feature.default, tf.float32), values)
    if feature.transform == "log":
        return tf.sign(filled) * tf.math.log1p(tf.abs(filled))
    if feature.transform == "z_score":
        mean, deviation = analyzers.moments(name, _seen(values))
        return tf.math.divide_no_nan(filled - mean, deviation)
    if feature.transform == "quantile_buckets":
        return tft.apply_buckets(filled, analyzers.boundaries(name, _seen(values), feature))
    return filled


def _seen(values: tf.Tensor) -> tf.Tensor:
    """The values that are there: a default that stands for many rows must not shift what is learnt from a column."""
    return tf.gather(values, tf.where(~tf.math.is_nan(values))[:, 0])


def _label_outputs(features: FeatureSet, columns: _Columns) -> Tensors:
    """A missing label turns into NaN, which training refuses: it must never pass as a click or as none."""
    outputs = {layout_lib.LABEL_KEY: columns.single_floats(features.label, "label")}
    if features.weight is not None:
        outputs[layout_lib.WEIGHT_KEY] = columns.single_floats(features.weight, "label.weight")
    return outputs
