"""AUC at the cost of a histogram: cheap enough for every training step, fine enough for clicks of one in a thousand."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

_MAX_LOGIT = 16.0  # beyond it probabilities differ by less than 1e-7


@tf_keras.utils.register_keras_serializable("hivemill")
class LogitAUC(tf_keras.metrics.Metric):
    """Area under the ROC curve from clicks and non-clicks counted per logit bin; a tie within a bin counts one half.

    Bins of equal width on the logit scale, 2 * 16 / num_bins: Keras's AUC has its 200 thresholds on the probability
    scale, where the predictions of a rarely clicked log fall between a few of them. NaN when a class is absent.
    """

    def __init__(self, num_bins: int = 8192, name: str = "auc", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.num_bins = num_bins
        self.clicks = self.add_weight("clicks", [num_bins], initializer="zeros")
        self.others = self.add_weight("others", [num_bins], initializer="zeros")

    def update_state(self, labels: tf.Tensor, logits: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        labels, logits = tf.reshape(labels, [-1]), tf.reshape(logits, [-1])
        weights = tf.ones_like(labels) if sample_weight is None else tf.reshape(sample_weight, [-1])
        share = (tf.clip_by_value(logits, -_MAX_LOGIT, _MAX_LOGIT) + _MAX_LOGIT) / (2 * _MAX_LOGIT)
        share = tf.where(
            tf.math.is_nan(share), tf.zeros_like(share), share
        )  # the loss reports NaN; here it must not crash
        bins = tf.cast(share * (self.num_bins - 1), tf.int32)
        sums = tf.math.unsorted_segment_sum(
            tf.stack([weights * labels, weights * (1 - labels)], 1), bins, self.num_bins
        )
        self.clicks.assign_add(sums[:, 0])
        self.others.assign_add(sums[:, 1])

    def reset_state(self) -> None:
        for counts in (self.clicks, self.others):
            counts.assign(tf.zeros_like(counts))

    def result(self) -> tf.Tensor:
        clicks, others = tf.cast(self.clicks, tf.float64), tf.cast(self.others, tf.float64)
        below = tf.cumsum(others, exclusive=True) + others / 2
        return tf.reduce_sum(clicks * below) / (tf.reduce_sum(clicks) * tf.reduce_sum(others))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_bins": self.num_bins}
