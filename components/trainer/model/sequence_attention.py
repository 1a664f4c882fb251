"""DIN (Zhou et al. 2018, arXiv 1706.06978): a sequence of past behaviour, pooled by its relation to what is shown now.

Shapes: B batch, K embedding size, V items of all sequences of the batch together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras


@tf_keras.utils.register_keras_serializable("hivemill")
class SequenceAttention(tf_keras.layers.Layer):
    """The interest of a user in one target, from the embeddings e_1 .. e_n of the user's sequence (eq. 3).

        interest = sum over j of a_j w_j e_j        a_j = g([e_j, v, e_j - v, e_j * v])

    v is the embedding of the target (the item of the impression), w_j the weight of the item in the data, 1 where there
    is none, and g a network with one number at its end. As in the paper the a_j are not normalised: a long history of
    related items is a strong interest. An empty sequence gives zeros. g starts from 1, the plain sum.

    The paper's hidden units are PReLU or Dice; these are ReLU.
    """

    def __init__(self, hidden_units: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.hidden_units = tuple(hidden_units)
        self.hidden = [
            tf_keras.layers.Dense(units, activation="relu", kernel_initializer="he_uniform", name=f"hidden_{number}")
            for number, units in enumerate(self.hidden_units)
        ]
        self.weight = tf_keras.layers.Dense(1, bias_initializer="ones", name="weight")

    def call(self, items_VK: tf.Tensor, rows_V: tf.Tensor, targets_BK: tf.Tensor, weights_V: tf.Tensor) -> tf.Tensor:
        """Interests [B, K]. `rows_V` is the row of the batch that each item belongs to."""
        targets_VK = tf.gather(targets_BK, rows_V)
        unit = tf.concat([items_VK, targets_VK, items_VK - targets_VK, items_VK * targets_VK], axis=1)
        for layer in self.hidden:
            unit = layer(unit)
        attention_V1 = self.weight(unit) * weights_V[:, tf.newaxis]
        return tf.math.unsorted_segment_sum(attention_V1 * items_VK, rows_V, tf.shape(targets_BK)[0])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden_units": list(self.hidden_units)}
