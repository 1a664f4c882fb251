"""Layers of DeepFM against numbers worked out by hand; save, load and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from hivemill.components.trainer.model import deepfm
from hivemill.components.trainer.model.deepfm import (
    DeepFM,
    FactorizationMachine,
    FusedEmbedding,
    IdField,
    MultivalentField,
    ResumableDropout,
    ValueField,
)


def test_factorization_machine_sums_the_dot_products_of_all_pairs():
    fields = tf.constant([[[1.0, 2.0], [3.0, -1.0], [0.5, 4.0]]])
    # <(1,2),(3,-1)> = 1; <(1,2),(.5,4)> = 8.5; <(3,-1),(.5,4)> = -2.5
    assert FactorizationMachine()(fields).numpy() == pytest.approx(np.array([[7.0]]))


def test_one_field_has_no_pairs():
    assert FactorizationMachine()(tf.constant([[[3.0, 4.0]]])).numpy() == pytest.approx(np.array([[0.0]]))


@pytest.fixture
def embedding():
    """Ids of `a` are rows 0-1 of the table, ids of `b` rows 2-4; the third column is the first-order weight."""
    layer = FusedEmbedding([IdField(0, 2, 2), ValueField(0, 2), MultivalentField("ids_of_b", 3, 2, "weights_of_b")])
    inputs = {
        "field_ids": tf.constant([[1], [0]], tf.int64),
        "field_values": tf.constant([[2.0], [-1.0]]),
        "ids_of_b": tf.ragged.constant([[0, 2], []], dtype=tf.int64, row_splits_dtype=tf.int64),
        "weights_of_b": tf.ragged.constant([[1.0, 3.0], []], dtype=tf.float32, row_splits_dtype=tf.int64),
    }
    layer(inputs)
    layer.table.assign([[1, 2, 0.1], [3, 4, 0.2], [4, 8, 0.4], [0, 0, 0.0], [8, 4, 0.8]])
    layer.numeric.assign([[5, 6, 0.5]])
    return layer, inputs


def test_fused_embedding_by_hand(embedding):
    layer, inputs = embedding
    embeddings, linear = layer(inputs)
    # order: id fields, multivalent fields, numeric fields. b of row 0: (1 (4, 8) + 3 (8, 4)) / 4 = (7, 5).
    assert embeddings[0].numpy().tolist() == [[3, 4], [7, 5], [10, 12]]
    assert linear[0].numpy() == pytest.approx([0.2, 0.7, 1.0])
    assert embeddings[1].numpy().tolist() == [[1, 2], [0, 0], [-5, -6]]
    assert linear[1].numpy() == pytest.approx([0.1, 0.0, -0.5])


def test_weights_that_sum_to_zero_give_a_zero_embedding(embedding):
    layer, inputs = embedding
    weights = tf.ragged.constant([[0.0, 0.0], []], dtype=tf.float32, row_splits_dtype=tf.int64)
    embeddings, _ = layer({**inputs, "weights_of_b": weights})
    assert embeddings[0, 1].numpy().tolist() == [0, 0]


def test_gradient_reaches_only_the_rows_of_the_batch(embedding):
    layer, inputs = embedding
    with tf.GradientTape() as tape:
        embeddings, linear = layer(inputs)
        total = tf.reduce_sum(embeddings) + tf.reduce_sum(linear)
    gradient = tape.gradient(total, layer.table)
    assert isinstance(gradient, tf.IndexedSlices)
    dense = tf.convert_to_tensor(gradient).numpy()
    assert dense[:, 0] == pytest.approx([1, 1, 0.25, 0, 0.75])


def test_deepfm_is_the_sum_of_its_three_parts():
    model = DeepFM([IdField(0, 2, 2), IdField(1, 2, 2)], embedding_size=2, hidden_units=[1])
    inputs = {"field_ids": tf.constant([[0, 1]], tf.int64)}
    model(inputs)
    model.tables[0].table.assign([[1, 2, 0.1], [0, 0, 0], [0, 0, 0], [3, -1, 0.2]])
    hidden, _, out = model.deep
    hidden.set_weights([np.array([[1.0], [1], [1], [1]]), np.array([-4.0])])  # relu(1 + 2 + 3 - 1 - 4) = 1
    out.set_weights([np.array([[10.0]]), np.array([0.05])])
    # linear 0.1 + 0.2; fm <(1,2),(3,-1)> = 1; deep 10 * 1 + 0.05
    assert model(inputs).numpy() == pytest.approx(np.array([[11.35]]))


def test_fields_of_another_size_are_projected_for_the_fm_part():
    model = DeepFM([IdField(0, 1, 2), IdField(1, 1, 1)], embedding_size=2, hidden_units=[])
    inputs = {"field_ids": tf.constant([[0, 0]], tf.int64)}
    model(inputs)
    one, two = model.tables  # by size
    one.table.assign([[3, 0]])
    two.table.assign([[1, 2, 0]])
    model.projections["1"].set_weights([np.array([[1.0, -1.0]])])  # 3 -> (3, -3)
    model.deep[-1].set_weights([np.zeros([3, 1]), np.zeros([1])])
    assert model(inputs).numpy() == pytest.approx(np.array([[3.0 - 6.0]]))


def test_rates_enter_the_linear_term_and_the_deep_part():
    model = DeepFM([IdField(0, 1, 1)], embedding_size=1, hidden_units=[], num_rates=2, prior_logit=-2.0)
    inputs = {"field_ids": tf.constant([[0]], tf.int64), "rates": tf.constant([[3.0, 5.0]])}
    model(inputs)
    assert float(model.deep[-1].bias[0]) == -2
    model.tables[0].table.assign([[0, 0]])
    model.rates_term.set_weights([np.array([[1.0], [10.0]])])
    model.deep[-1].set_weights([np.array([[7.0], [100.0], [1000.0]]), np.array([-2.0])])  # the embedding comes first
    assert model(inputs).numpy() == pytest.approx(np.array([[3 + 50 + 300 + 5000 - 2.0]]))


def test_batch_norm_uses_the_batch_in_training_and_its_moving_statistics_after():
    model = DeepFM([ValueField(0, 1)], embedding_size=1, hidden_units=[4], batch_norm=True)
    inputs = {"field_values": tf.constant([[1.0], [5.0], [9.0]])}
    model(inputs)
    before = model(inputs).numpy()
    model(inputs, training=True)
    assert not np.array_equal(model(inputs).numpy(), before)


@pytest.mark.parametrize("rows_per_part", [1, 2, 3, 1_000])
def test_embedding_norm_by_hand_in_parts_of_any_size(monkeypatch, rows_per_part):
    monkeypatch.setattr(deepfm, "_ROWS_PER_PART", rows_per_part)
    model = DeepFM([IdField(0, 3, 2), IdField(1, 2, 2)], 2, [])
    model({"field_ids": tf.zeros([1, 2], tf.int64)})
    # The third column is the first-order weight, which is no part of the norm.
    model.tables[0].table.assign([[3.0, 4.0, 9.0], [0.0, 0.0, 9.0], [1.0, 0.0, 9.0], [0.0, 2.0, 9.0], [0.0, 0.0, 9.0]])
    assert float(model.embedding_norm()) == pytest.approx(((25 + 1 + 4) / 5) ** 0.5)


def test_config_and_weights_survive_save_and_load(tmp_path):
    fields = [IdField(0, 5, 4), ValueField(0, 4), MultivalentField("ids_of_t", 3, 2)]
    model = DeepFM(
        fields, embedding_size=4, hidden_units=[8], batch_norm=True, dropout=0.1, kernel_l2=1e-6, num_rates=1
    )
    inputs = {
        "field_ids": tf.constant([[1]], tf.int64),
        "field_values": tf.constant([[0.5]]),
        "rates": tf.constant([[0.7]]),
        "ids_of_t": tf.ragged.constant([[1, 2]], dtype=tf.int64, row_splits_dtype=tf.int64),
    }
    expected = model(inputs).numpy()
    copy = DeepFM.from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    model.save_weights(str(tmp_path / "weights"))
    copy.load_weights(str(tmp_path / "weights"))
    assert copy(inputs).numpy() == pytest.approx(expected)
    layer = FusedEmbedding.from_config(model.tables[0].get_config())
    assert layer.fields == model.tables[0].fields


def test_dropout_goes_on_from_a_checkpoint(tmp_path):
    dropout = ResumableDropout(0.25)
    ones = tf.ones([50, 40])
    dropout(ones)
    checkpoint = tf.train.Checkpoint(dropout=dropout)
    path = checkpoint.write(str(tmp_path / "state"))
    first, second = dropout(ones, training=True).numpy(), dropout(ones, training=True).numpy()
    checkpoint.read(path).assert_consumed()
    assert np.array_equal(dropout(ones, training=True), first)
    assert not np.array_equal(first, second)
    assert set(np.unique(first)) == {np.float32(0), np.float32(1 / 0.75)}
    assert (first == 0).mean() == pytest.approx(0.25, abs=0.05)
    assert np.array_equal(dropout(ones), ones)


def test_initial_logit_is_near_the_bias():
    tf_keras.utils.set_random_seed(1)
    model = DeepFM([IdField(i, 100, 8) for i in range(5)], embedding_size=8, hidden_units=[16])
    logits = model({"field_ids": tf.constant(np.random.default_rng(1).integers(0, 100, [50, 5]))})
    assert float(tf.reduce_max(tf.abs(logits))) < 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DeepFM([], 4, [8]), "at least one field; got none"),
        (lambda: FusedEmbedding([IdField(0, 1, 2), IdField(1, 1, 3)]), r"one embedding_size; got \[2, 3\]"),
    ],
)
def test_refusals_state_the_rule(make, message):
    with pytest.raises(ValueError, match=message):
        make()
