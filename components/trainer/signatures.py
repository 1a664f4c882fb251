"""The one SavedModel: what a server is asked, from raw columns to `click_probability`, with the transform inside.

    serving_default       `examples`: serialised tf.Example, string [batch] -> `click_probability` float32 [batch, 1]
    predict               one tensor per raw column -> `click_probability`
    transformed_features  `examples` -> the packed tensors of `components.transform.layout`

`predict` takes a single-valued column as [batch]; a missing value is `\\N` (Hive's own NULL) in strings, NaN in floats
and the smallest int64 in integers. A multivalent column is two tensors, `<column>` with the values of all rows one
after the other and `<column>_row_lengths` int64 [batch]: TensorFlow Serving's APIs cannot carry a RaggedTensor.
No signature needs the label or the weight.

A model that was trained on a sample of the negatives says too high a probability p; `click_probability` is corrected to
q = p / (p + (1 - p) / negatives), by logit(q) = logit(p) + ln(negatives) (He et al. 2014, section 6.3). The order of
rows is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.saved import saved_transform_io_v2

from hivemill.components.features import FeatureSet, MultivalentFeature
from hivemill.components.trainer import signature_names
from hivemill.components.trainer.model.deepfm import RATES_KEY, DeepFM
from hivemill.components.trainer.model.mean_model import MeanModel
from hivemill.components.trainer.model.sampling_correction import NegativeSample
from hivemill.components.trainer.rates.layer import ClickRates
from hivemill.components.trainer.signature_names import argument_name
from hivemill.components.transform import layout as layout_lib

PROBABILITY_KEY = "click_probability"
EXAMPLES_KEY = "examples"
ROW_LENGTHS_SUFFIX = "_row_lengths"
MISSING_STRING = "\\N"
MISSING_INTEGER = tf.int64.min

Tensors = dict[str, Any]


class TracedModel:
    """The signatures of a model, traced: what cannot be exported fails here, before the training has cost anything."""

    def __init__(
        self,
        model: DeepFM | MeanModel,
        transform_output: tft.TFTransformOutput,
        features: FeatureSet,
        sample: NegativeSample | None = None,
        rates: ClickRates | None = None,
    ):
        """`sample` is what the model is trained on, None for all rows; `rates` where it takes click rates."""
        correction = sample.logit_correction if sample else 0.0
        self._module = _ServingModule(model, transform_output, features, correction, rates)
        self._signatures = self._module.signatures()

    def calibrate(self, scale: float, offset: float) -> None:
        """From now on `click_probability` is that of scale * logit + offset (calibration.py)."""
        self._module.calibration_scale.assign(scale)
        self._module.calibration_offset.assign(offset)

    def save(self, folder: str) -> None:
        """Writes the SavedModel with the weights that the model has now.

        It holds plain TensorFlow functions: loading it needs neither Keras nor TFT.
        """
        tf.saved_model.save(self._module, folder, signatures=self._signatures)
        signature_names.name_inputs_by_column(folder, "predict", self._module.columns_of_arguments())


def raw_columns(features: FeatureSet) -> tuple[set[str], set[str]]:
    """Columns that the features may read: (single-valued, multivalent); the label and the weight are not among them."""
    single, multivalent = set(), set()
    for name, feature in features.features.items():
        columns = layout_lib.candidate_columns(name, feature)
        (multivalent if isinstance(feature, MultivalentFeature) else single).update(columns)
    return single, multivalent


class _ServingModule(tf.Module):
    def __init__(
        self,
        model: DeepFM | MeanModel,
        transform_output: tft.TFTransformOutput,
        features: FeatureSet,
        logit_correction: float,
        rates: ClickRates | None,
    ):
        super().__init__()
        self._rates = rates
        self._logit_correction = logit_correction
        self.calibration_scale = tf.Variable(1.0, trainable=False)
        self.calibration_offset = tf.Variable(0.0, trainable=False)
        single, multivalent = raw_columns(features)
        spec = transform_output.raw_feature_spec()
        self._raw_spec = {column: spec[column] for column in sorted(spec) if column in single | multivalent}
        self._multivalent = multivalent
        self._layout = layout_lib.FieldLayout.of(features)
        self.model_variables = model.variables
        self._model = _untracked(model)
        # TFT's Keras layer wraps this loader; the loader itself leaves no Keras in the SavedModel.
        self._transform = saved_transform_io_v2.SavedModelLoader(transform_output.transform_savedmodel_dir)
        self.transform_resources = [value for value in vars(self._transform).values() if _is_trackable(value)]

    def signatures(self) -> Mapping[str, Any]:
        examples = tf.TensorSpec([None], tf.string, name=EXAMPLES_KEY)
        serve = tf.function(lambda examples: self._probability(self._transformed(self._parsed(examples))))
        transform = tf.function(lambda examples: self._transformed(self._parsed(examples)))
        return {
            "serving_default": serve.get_concrete_function(examples),
            "transformed_features": transform.get_concrete_function(examples),
            "predict": self._predict_function(),
        }

    def _parsed(self, examples: tf.Tensor) -> Tensors:
        return tf.io.parse_example(examples, self._raw_spec)

    def _transformed(self, raw: Mapping[str, Any]) -> Tensors:
        outputs = self._transform.apply_transform_model(raw)
        return {
            key: value for key, value in outputs.items() if key not in (layout_lib.LABEL_KEY, layout_lib.WEIGHT_KEY)
        }

    def _probability(self, transformed: Mapping[str, Any]) -> Tensors:
        inputs = {
            key: tf.RaggedTensor.from_sparse(value) if isinstance(value, tf.SparseTensor) else value
            for key, value in transformed.items()
        }
        if self._rates is not None:
            inputs[RATES_KEY] = self._rates(inputs)
        logits = self.calibration_scale * self._model()(inputs, training=False) + self.calibration_offset
        return {PROBABILITY_KEY: tf.sigmoid(logits + self._logit_correction)}

    def columns_of_arguments(self) -> dict[str, str]:
        """The name that each input of `predict` has for its users, by the name of the argument."""
        names = {argument_name(column): column for column in self._raw_spec}
        lengths = {argument + ROW_LENGTHS_SUFFIX: c + ROW_LENGTHS_SUFFIX for argument, c in names.items()}
        return names | {argument: name for argument, name in lengths.items() if self._is_length(name)}

    def _is_length(self, name: str) -> bool:
        return name.removesuffix(ROW_LENGTHS_SUFFIX) in self._multivalent

    def _predict_function(self) -> Any:
        names = self.columns_of_arguments()

        def predict(**arguments: tf.Tensor) -> Tensors:
            columns = {names[argument]: values for argument, values in arguments.items()}
            return self._probability(self._transformed(self._raw_from(columns)))

        dtypes = {column: feature.dtype for column, feature in self._raw_spec.items()}
        specs = {
            argument: tf.TensorSpec([None], dtypes.get(column, tf.int64), name=argument)  # lengths are int64
            for argument, column in names.items()
        }
        return tf.function(predict).get_concrete_function(**specs)

    def _raw_from(self, columns: Mapping[str, tf.Tensor]) -> Tensors:
        """The tensors that the transform expects, as if they had been parsed from tf.Example."""
        raw = {}
        for column, feature in self._raw_spec.items():
            values = columns[column]
            if column in self._multivalent:
                ragged = tf.RaggedTensor.from_row_lengths(values, columns[column + ROW_LENGTHS_SUFFIX])
            else:
                ragged = tf.ragged.boolean_mask(values[:, tf.newaxis], ~_is_missing(values)[:, tf.newaxis])
            raw[column] = _as_parsed(ragged, values, feature)
        return raw


def _as_parsed(ragged: tf.RaggedTensor, values: tf.Tensor, feature: Any) -> Any:
    if not isinstance(feature, tf.io.FixedLenFeature):
        return ragged.to_sparse()
    # The schema promises a value in every row, so there is nothing to be missing.
    return tf.reshape(values, [-1, *feature.shape])


def _is_missing(values: tf.Tensor) -> tf.Tensor:
    if values.dtype == tf.string:
        return values == MISSING_STRING
    return tf.math.is_nan(values) if values.dtype.is_floating else values == MISSING_INTEGER


def _is_trackable(value: Any) -> bool:
    return isinstance(value, tf.__internal__.tracking.Trackable)


def _untracked(model: DeepFM | MeanModel) -> Any:
    """Hides the model from SavedModel's tracking: its variables are tracked already, and Keras would add itself."""
    return lambda: model
