"""Optimizers whose work per step follows the rows of the batch, not the size of the embedding tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from hivemill.common.errors import ConfigError
from hivemill.components.trainer.options import TrainingOptions

_ROWS_PER_PART = 1_000_000
_DENSE_NUMBERS = 2_000_000  # a table of at most so many numbers is updated as a whole: some milliseconds a step


def make_optimizer(options: TrainingOptions, table_l2: float = 0.0) -> tf_keras.optimizers.Optimizer:
    """`table_l2` is the L2 penalty on the embedding tables. Raises ConfigError where the optimizer has none."""
    if options.optimizer == "adagrad":
        if table_l2:
            raise ConfigError(
                f"training.optimizer is adagrad, which has no model.embedding_l2; received {table_l2:g}",
                hint="set model.embedding_l2 to 0, or take adam",
            )
        return tf_keras.optimizers.Adagrad(options.learning_rate, jit_compile=False)
    return LazyAdam(options.learning_rate, warmup_steps=options.warmup_steps, table_l2=table_l2)


def sum_duplicates(slices: tf.IndexedSlices) -> tuple[tf.Tensor, tf.Tensor]:
    """Distinct row numbers [U] and the summed gradient of each [U, K].

    By hashing the ids: the work follows the batch, however many rows the table has.
    """
    unique, places = tf.unique(slices.indices)
    return unique, tf.math.unsorted_segment_sum(slices.values, places, tf.size(unique))


@tf_keras.utils.register_keras_serializable("hivemill")
class LazyAdam(tf_keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015) whose work on large embedding tables follows the rows of the batch.

    Bias correction follows the global step, as in TensorFlow Addons' LazyAdam. Dense variables take TensorFlow's own
    kernel. The learning rate rises linearly over `warmup_steps`.

    Without `table_l2`, rows outside the batch stay as they are. With it, every row of an embedding table has the
    gradient table_l2 * row added at every step. A table of at most `dense_numbers` numbers is then updated as a whole.
    In a larger one, a row makes up for the steps that it missed when it is next in a batch, and all rows do in
    `catch_up`: in closed form, from Adam's own recursions for a gradient that is small and changes slowly.

        m_k = b1^k m_0 + (1 - b1^k) l2 w_k        v_k = b2^k v_0 + (1 - b2^k) (l2 w_k)^2
        w_k = (w_0 - alpha m_0 / sqrt(v_0) t_k) exp(-alpha l2 / sqrt(v_0) (s_k - t_k))
        t_k = b1 + ... + b1^k, s_k = 1 + b2^(-1/2) + ... over k steps; no step is longer than alpha
    """

    def __init__(
        self,
        learning_rate: float = 1e-3,
        warmup_steps: int = 0,
        table_l2: float = 0.0,
        dense_numbers: int = _DENSE_NUMBERS,
        **kwargs: Any,
    ):
        kwargs["jit_compile"] = False
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.warmup_steps, self.table_l2, self.dense_numbers = warmup_steps, table_l2, dense_numbers

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        super().build(var_list)
        if hasattr(self, "_last_steps"):
            return
        self._large_tables = [v for v in var_list if self._is_large_table(v)]
        self._last_steps = [
            self.add_variable_from_reference(v, "last_step", shape=[v.shape[0]], initial_value=tf.zeros([v.shape[0]]))
            for v in self._large_tables
        ]

    def _is_large_table(self, variable: tf.Variable) -> bool:
        is_table = variable.name.rpartition("/")[2].startswith("table")
        return bool(self.table_l2) and is_table and variable.shape.num_elements() > self.dense_numbers

    def _deduplicate_sparse_grad(self, grads: Sequence[Any]) -> Sequence[Any]:
        return grads  # update_step does it, for embedding rows only

    def _rate(self, dtype: Any) -> tf.Tensor:
        rate = tf.cast(self.learning_rate, dtype)
        if not self.warmup_steps:
            return rate
        return rate * tf.minimum(tf.cast(self.iterations + 1, dtype) / self.warmup_steps, 1)

    def _corrected(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """The rate with Adam's bias correction at the step, from 1."""
        return rate * tf.sqrt(1 - tf.pow(self.beta_2, step)) / (1 - tf.pow(self.beta_1, step))

    def update_step(self, gradient: Any, variable: tf.Variable) -> None:
        dtype = variable.dtype
        rate = self._rate(dtype)
        step = tf.cast(self.iterations + 1, dtype)
        powers = tf.pow(tf.constant(self.beta_1, dtype), step), tf.pow(tf.constant(self.beta_2, dtype), step)
        index = self._index_dict[self._var_key(variable)]
        m, v = self._momentums[index], self._velocities[index]
        if isinstance(gradient, tf.IndexedSlices):
            if not self.table_l2 or self._is_large_table(variable):
                self._update_rows(gradient, variable, m, v, self._corrected(rate, step))
                return
            gradient = tf.convert_to_tensor(gradient) + self.table_l2 * variable
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
        now = tf.gather(variable, rows), tf.gather(m, rows), tf.gather(v, rows)
        if self.table_l2:
            last = self._last_steps[self._place_of(variable)]
            missed = tf.cast(self.iterations, variable.dtype) - tf.gather(last, rows)
            now = self._made_up(*now, missed, alpha)
            values += self.table_l2 * now[0]
            last.scatter_update(
                tf.IndexedSlices(tf.fill(tf.shape(rows), tf.cast(self.iterations + 1, last.dtype)), rows)
            )
        new_m = self.beta_1 * now[1] + (1 - self.beta_1) * values
        new_v = self.beta_2 * now[2] + (1 - self.beta_2) * tf.square(values)
        m.scatter_update(tf.IndexedSlices(new_m, rows))
        v.scatter_update(tf.IndexedSlices(new_v, rows))
        moved = now[0] - alpha * new_m / (tf.sqrt(new_v) + self.epsilon)
        variable.scatter_update(tf.IndexedSlices(moved, rows))

    def _place_of(self, variable: tf.Variable) -> int:
        keys = [self._var_key(table) for table in self._large_tables]
        return keys.index(self._var_key(variable))

    def _made_up(
        self, w: tf.Tensor, m: tf.Tensor, v: tf.Tensor, missed: tf.Tensor, alpha: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(w, m, v), each [U, K], after `missed` [U] steps of which no batch held the rows."""
        k = missed[:, tf.newaxis]
        decay_1, decay_2 = tf.pow(self.beta_1, k), tf.pow(self.beta_2, k)
        root = tf.sqrt(v) + self.epsilon
        tail = self.beta_1 * (1 - decay_1) / (1 - self.beta_1)
        drifted = w - alpha * m / root * tail
        ratio = self.beta_2**-0.5
        stretched = tf.maximum((tf.pow(ratio, tf.minimum(k, 20_000)) - 1) / (ratio - 1) - tail, 0)
        shrunk = tf.abs(drifted) * tf.exp(-alpha * self.table_l2 / root * stretched)
        size = tf.maximum(shrunk, tf.abs(drifted) - alpha * k)  # no step is longer than alpha
        new_w = tf.sign(drifted) * tf.maximum(size, 0)
        pull = self.table_l2 * new_w
        return new_w, decay_1 * m + (1 - decay_1) * pull, decay_2 * v + (1 - decay_2) * tf.square(pull)

    def catch_up(self) -> None:
        """Lets all rows of large tables make up for the steps that they missed. Before the weights are used."""
        for variable, last in zip(self._large_tables, self._last_steps, strict=True):
            for start in range(0, variable.shape[0], _ROWS_PER_PART):
                rows = tf.range(start, min(start + _ROWS_PER_PART, variable.shape[0]))
                self._catch_up_rows(variable, last, rows)

    def _catch_up_rows(self, variable: tf.Variable, last: tf.Variable, rows: tf.Tensor) -> None:
        index = self._index_dict[self._var_key(variable)]
        m, v = self._momentums[index], self._velocities[index]
        step = tf.cast(self.iterations, variable.dtype)
        now = tf.gather(variable, rows), tf.gather(m, rows), tf.gather(v, rows)
        alpha = self._corrected(self._rate(variable.dtype), tf.maximum(step, 1))
        made_up = self._made_up(*now, step - tf.gather(last, rows), alpha)
        for target, values in zip((variable, m, v), made_up, strict=True):
            target.scatter_update(tf.IndexedSlices(values, rows))
        last.scatter_update(tf.IndexedSlices(tf.fill(tf.shape(rows), step), rows))

    def get_config(self) -> dict[str, Any]:
        extra = {name: getattr(self, name) for name in ("warmup_steps", "table_l2", "dense_numbers")}
        return {**super().get_config(), **extra}
