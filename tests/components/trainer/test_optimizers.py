"""Lazy Adam against Adam worked out by hand and against tf_keras's own."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from hivemill.common.errors import ConfigError
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


def test_the_learning_rate_rises_over_the_warm_up():
    variable = tf.Variable([[0.0]])
    optimizer = LazyAdam(0.1, warmup_steps=4)
    optimizer.build([variable])
    steps = []
    for _ in range(6):
        before = float(variable.numpy()[0, 0])
        optimizer.apply_gradients([(tf.constant([[1.0]]), variable)])
        steps.append(before - float(variable.numpy()[0, 0]))
    assert steps == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1], rel=1e-3)


def test_l2_pulls_every_row_of_a_table_at_every_step():
    l2, start = 0.1, np.random.default_rng(1).normal(size=[4, 1]).astype(np.float32)
    table, plain = tf.Variable(start, name="table"), tf.Variable(start)
    optimizers = LazyAdam(0.01, table_l2=l2), tf_keras.optimizers.Adam(0.01, jit_compile=False)
    for optimizer, variable in zip(optimizers, (table, plain), strict=True):
        optimizer.build([variable])
    for _ in range(5):
        optimizers[0].apply_gradients([(_slices([1], [[0.3]]), table)])
        dense = np.array([[0], [0.3], [0], [0]], np.float32) + l2 * plain.numpy()
        optimizers[1].apply_gradients([(tf.constant(dense), plain)])
    assert table.numpy() == pytest.approx(plain.numpy(), abs=1e-5)


@pytest.mark.parametrize("missed", [1, 5, 60, 400])
def test_a_row_of_a_large_table_makes_up_for_the_steps_it_missed(missed):
    """As if the whole table had been updated at every step, nearly: the moments are those of the closed form."""
    random = np.random.default_rng(2)
    start = random.normal(0, 0.02, size=[4, 1]).astype(np.float32)
    large, small = tf.Variable(start, name="table"), tf.Variable(start, name="table")
    optimizers = LazyAdam(0.001, table_l2=1e-3, dense_numbers=0), LazyAdam(0.001, table_l2=1e-3)
    for optimizer, variable in zip(optimizers, (large, small), strict=True):
        optimizer.build([variable])
    gradients = random.normal(0, 1e-4, size=[40, 4, 1]).astype(np.float32)

    def step(rows, values):
        for optimizer, variable in zip(optimizers, (large, small), strict=True):
            optimizer.apply_gradients([(_slices(rows, values), variable)])

    for gradient in gradients:
        step([0, 1, 2, 3], gradient)
    before = small.numpy()
    for _ in range(missed):
        step([0], [[1e-4]])
    optimizers[0].catch_up()
    moved = np.abs(small.numpy() - before)[1:].max()
    assert np.abs(large.numpy() - small.numpy())[1:].max() <= max(0.15 * moved, 2e-4)


def test_adagrad_refuses_the_l2_that_it_does_not_have():
    with pytest.raises(ConfigError, match=r"adagrad, which has no model\.embedding_l2; received 0\.001"):
        make_optimizer(TrainingOptions(optimizer="adagrad"), 1e-3)
