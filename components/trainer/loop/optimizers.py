"""Optimizers whose work per step follows the rows of the batch, not the size of the embedding tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from hivemill.components.trainer.options import TrainingOptions


def make_optimizer(options: TrainingOptions) -> tf_keras.optimizers.Optimizer:
    if options.optimizer == "adagrad":
        return tf_keras.optimizers.Adagrad(options.learning_rate, jit_compile=False)
    return LazyAdam(options.learning_rate)


def sum_duplicates(slices: tf.IndexedSlices) -> tuple[tf.Tensor, tf.Tensor]:
    """Distinct row numbers [U] and the summed gradient of each [U, K].

    By hashing the ids: the work follows the batch, however many rows the table has.
    """
    unique, places = tf.unique(slices.indices)
    return unique, tf.math.unsorted_segment_sum(slices.values, places, tf.size(unique))


@tf_keras.utils.register_keras_serializable("hivemill")
class LazyAdam(tf_keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015) that leaves the moments of embedding rows outside the batch as they are.

    Plain Adam decays the moments of the whole table at every step, and moves rows that the batch never saw. Bias
    correction follows the global step, as in TensorFlow Addons' LazyAdam. Dense variables take TensorFlow's own kernel.
    """

    def __init__(self, learning_rate: float = 1e-3, **kwargs: Any):
        kwargs["jit_compile"] = False
        super().__init__(learning_rate=learning_rate, **kwargs)

    def _deduplicate_sparse_grad(self, grads: Sequence[Any]) -> Sequence[Any]:
        return grads  # update_step does it, for embedding rows only

    def update_step(self, gradient: Any, variable: tf.Variable) -> None:
        dtype = variable.dtype
        rate = tf.cast(self.learning_rate, dtype)
        step = tf.cast(self.iterations + 1, dtype)
        powers = tf.pow(tf.constant(self.beta_1, dtype), step), tf.pow(tf.constant(self.beta_2, dtype), step)
        index = self._index_dict[self._var_key(variable)]
        m, v = self._momentums[index], self._velocities[index]
        if isinstance(gradient, tf.IndexedSlices):
            self._update_rows(gradient, variable, m, v, rate * tf.sqrt(1 - powers[1]) / (1 - powers[0]))
            return
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=powers[0],
            beta2_power=powers[1],
            lr=rate,
            beta1=tf.constant(self.beta_1, dtype),
            beta2=tf.constant(self.beta_2, dtype),
            epsilon=tf.constant(self.epsilon, dtype),
            grad=gradient,
        )

    def _update_rows(
        self, gradient: tf.IndexedSlices, variable: tf.Variable, m: tf.Variable, v: tf.Variable, alpha: tf.Tensor
    ) -> None:
        rows, values = sum_duplicates(gradient)
        new_m = self.beta_1 * tf.gather(m, rows) + (1 - self.beta_1) * values
        new_v = self.beta_2 * tf.gather(v, rows) + (1 - self.beta_2) * tf.square(values)
        m.scatter_update(tf.IndexedSlices(new_m, rows))
        v.scatter_update(tf.IndexedSlices(new_v, rows))
        variable.scatter_sub(tf.IndexedSlices(alpha * new_m / (tf.sqrt(new_v) + self.epsilon), rows))
