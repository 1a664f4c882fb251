"""Several trained models as one: the mean of their click probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from hivemill.components.trainer.model.deepfm import DeepFM


class MeanModel:
    """Called like each of its models: packed tensors -> logits [B, 1] of the mean probability.

    Each model has a calibration (scale, offset) of its logit; (1, 0) changes nothing.
    logit(mean of p) = log(sum of p) - log(sum of (1 - p)), from log-sigmoids: no probability is rounded to 0 or 1.
    """

    def __init__(self, models: Sequence[DeepFM], calibrations: Sequence[tuple[float, float]]):
        self._models, self._calibrations = models, calibrations
        self.variables = [variable for model in models for variable in model.variables]

    def __call__(self, inputs: Mapping[str, Any], training: bool = False) -> tf.Tensor:
        members = zip(self._models, self._calibrations, strict=True)
        logits = tf.stack([scale * model(inputs, training=training) + offset for model, (scale, offset) in members])
        clicked = tf.reduce_logsumexp(tf.math.log_sigmoid(logits), axis=0)
        not_clicked = tf.reduce_logsumexp(tf.math.log_sigmoid(-logits), axis=0)
        return clicked - not_clicked
