"""DCN-v2 (Wang et al. 2021, arXiv 2008.13535): crosses of bounded degree, in place of DeepFM's FM part.

Shapes: B batch, D length of the input (all embeddings of a row, one after the other), R rank.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

from hivemill.components.trainer.model.deepfm import DeepFM, LookedUp


@tf_keras.utils.register_keras_serializable("hivemill")
class CrossNetwork(tf_keras.layers.Layer):
    """x_0 [B, D] -> x_L [B, D], whose terms have degree 2 to L + 1 in the input beside the input itself (eq. 1).

        x_(l+1) = x_0 * (W_l x_l + b_l) + x_l        elementwise product; W_l is [D, D]

    With a `rank` R, W_l = U_l V_l^T of two matrices [D, R] (eq. 2): 2 D R weights for D^2.
    """

    def __init__(self, num_layers: int, rank: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if num_layers < 1 or (rank is not None and rank < 1):
            raise ValueError(f"a cross network needs num_layers and rank of at least 1; got {num_layers} and {rank}")
        self.num_layers, self.rank = num_layers, rank

    def build(self, input_shape: Any) -> None:
        width = int(input_shape[-1])
        shapes = {"kernel": (width, width)}
        if self.rank is not None:
            shapes = {"left": (width, self.rank), "right": (width, self.rank)}
        self.kernels = [
            tuple(self.add_weight(f"{name}_{n}", shape, initializer="glorot_uniform") for name, shape in shapes.items())
            for n in range(self.num_layers)
        ]
        self.biases = [self.add_weight(f"bias_{n}", [width], initializer="zeros") for n in range(self.num_layers)]
        super().build(input_shape)

    def call(self, x_0: tf.Tensor) -> tf.Tensor:
        x = x_0
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            x = x_0 * (_product(x, kernel) + bias) + x
        return x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_layers": self.num_layers, "rank": self.rank}


def _product(x: tf.Tensor, kernel: tuple[tf.Variable, ...]) -> tf.Tensor:
    """W x of each row: W itself, or its factors U and V."""
    if len(kernel) == 1:
        return tf.matmul(x, kernel[0], transpose_b=True)
    left, right = kernel
    return tf.matmul(tf.matmul(x, right), left, transpose_b=True)


@tf_keras.utils.register_keras_serializable("hivemill")
class DCNv2(DeepFM):
    """click_logit = linear_logit + cross_logit + deep_logit: the paper's parallel structure, with first-order terms.

    cross_logit is a linear function of x_L. All arguments but the last two are DeepFM's.
    """

    def __init__(self, *args: Any, cross_layers: int = 3, cross_rank: int | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.cross_network = CrossNetwork(cross_layers, cross_rank, name="cross")
        self.cross_logit = tf_keras.layers.Dense(1, use_bias=False, name="cross_logit")

    def _interaction_logit(self, looked_up: LookedUp) -> tf.Tensor:
        return self.cross_logit(self.cross_network(self._flat_embeddings(looked_up)))

    def get_config(self) -> dict[str, Any]:
        cross = self.cross_network
        return {**super().get_config(), "cross_layers": cross.num_layers, "cross_rank": cross.rank}
