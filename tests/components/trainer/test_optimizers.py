"""Lazy Adam against Adam worked out by hand and against tf_keras's own."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from hivemill.components.trainer.loop.optimizers import LazyAdam, make_optimizer, sum_duplicates
from hivemill.components.trainer.options import TrainingOptions


def test_duplicates_are_summed():
    slices = tf.IndexedSlices(tf.constant([[1.0], [2.0], [4.0]]), tf.constant([7, 3, 7], tf.int64))
    rows, values = sum_duplicates(slices)
    assert dict(zip(rows.numpy().tolist(), values.numpy()[:, 0].tolist(), strict=True)) == {7: 5.0, 3: 2.0}


def _slices(rows, values):
    return tf.IndexedSlices(tf.constant(values), tf.constant(rows, tf.int64), tf.constant([4, 1], tf.int64))


def test_rows_outside_the_batch_keep_value_and_moments():
    table = tf.Variable([[1.0], [1.0], [1.0], [1.0]])
    optimizer = LazyAdam(0.1)
    optimizer.build([table])
    optimizer.apply_gradients([(_slices([0, 0, 2], [[0.5], [0.5], [-2.0]]), table)])
    # The first step of Adam is learning_rate * sign of the gradient.
    assert table.numpy()[:, 0] == pytest.approx([0.9, 1.0, 1.1, 1.0], abs=1e-5)
    optimizer.apply_gradients([(_slices([2], [[-2.0]]), table)])
    assert table.numpy()[:2, 0] == pytest.approx([0.9, 1.0], abs=1e-5)  # plain Adam would have moved row 0 again
    assert optimizer._momentums[0].numpy()[:, 0] == pytest.approx([0.1, 0, -0.38, 0], abs=1e-6)


def test_is_adam_where_every_row_is_in_every_batch():
    start = np.random.default_rng(0).normal(size=[4, 1]).astype(np.float32)
    lazy, plain, dense = tf.Variable(start), tf.Variable(start), tf.Variable(start)
    optimizers = LazyAdam(0.01), tf_keras.optimizers.Adam(0.01, jit_compile=False), LazyAdam(0.01)
    for optimizer, variable in zip(optimizers, (lazy, plain, dense), strict=True):
        optimizer.build([variable])
    for step in range(5):
        gradient = np.sin(np.arange(4.0) + step).astype(np.float32)[:, None]
        optimizers[0].apply_gradients([(_slices([0, 1, 2, 3], gradient), lazy)])
        optimizers[1].apply_gradients([(tf.constant(gradient), plain)])
        optimizers[2].apply_gradients([(tf.constant(gradient), dense)])
    assert lazy.numpy() == pytest.approx(plain.numpy(), abs=1e-5)
    assert dense.numpy() == pytest.approx(plain.numpy(), abs=1e-5)


def test_the_options_choose():
    assert isinstance(make_optimizer(TrainingOptions()), LazyAdam)
    adagrad = make_optimizer(TrainingOptions(optimizer="adagrad", learning_rate=0.5))
    assert isinstance(adagrad, tf_keras.optimizers.Adagrad) and float(adagrad.learning_rate) == 0.5
