"""The networks beside DeepFM against numbers worked out by hand; save, load and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from hivemill.components.trainer.model.cross_network import CrossNetwork, DCNv2
from hivemill.components.trainer.model.deepfm import DeepFM, FusedEmbedding, IdField, MultivalentField
from hivemill.components.trainer.model.networks import make_network
from hivemill.components.trainer.model.sequence_attention import SequenceAttention
from hivemill.components.trainer.options import AttentionOptions, CrossOptions, ModelOptions


def test_two_cross_layers_by_hand():
    layer = CrossNetwork(2)
    x_0 = tf.constant([[1.0, 2.0]])
    layer(x_0)
    (first,), (second,) = layer.kernels
    first.assign([[1, 0], [1, 1]])
    second.assign([[0, 1], [2, 0]])
    layer.biases[0].assign([0.5, -1])
    # W x_0 + b = (1 + .5, 3 - 1); x_1 = (1 * 1.5 + 1, 2 * 2 + 2) = (2.5, 6)
    # W x_1 = (6, 5); x_2 = (1 * 6 + 2.5, 2 * 5 + 6)
    assert layer(x_0).numpy() == pytest.approx(np.array([[8.5, 16.0]]))


def test_factors_of_rank_one_are_their_product():
    layer, whole = CrossNetwork(1, rank=1), CrossNetwork(1)
    x_0 = tf.constant([[1.0, 2.0], [-3.0, 0.5]])
    layer(x_0), whole(x_0)
    left, right = layer.kernels[0]
    left.assign([[2.0], [-1.0]])
    right.assign([[0.5], [3.0]])
    whole.kernels[0][0].assign([[1.0, 6.0], [-0.5, -3.0]])  # U V^T
    # V^T x = .5 + 6 = 6.5; W x = (13, -6.5); x_1 = (13 + 1, -13 + 2)
    assert layer(x_0)[0].numpy() == pytest.approx([14.0, -11.0])
    assert layer(x_0).numpy() == pytest.approx(whole(x_0).numpy())


def test_dcn_v2_is_the_sum_of_its_three_parts():
    model = DCNv2([IdField(0, 1, 1), IdField(1, 1, 1)], embedding_size=1, hidden_units=[], cross_layers=1)
    inputs = {"field_ids": tf.constant([[0, 0]], tf.int64)}
    model(inputs)
    model.tables[0].table.assign([[3, 0.1], [5, 0.2]])
    model.cross_network.kernels[0][0].assign([[0, 1], [0, 0]])
    model.cross_logit.set_weights([np.array([[1.0], [10.0]])])
    model.deep[-1].set_weights([np.array([[0.5], [1.0]]), np.array([0.05])])
    # linear 0.1 + 0.2; x_1 = (3 * 5 + 3, 5), times (1, 10): 68; deep 1.5 + 5 + 0.05
    assert model(inputs).numpy() == pytest.approx(np.array([[0.3 + 68 + 6.55]]))


@pytest.fixture
def attention():
    """a = 1 + relu(e * v), by the last of the four inputs of the unit."""
    layer = SequenceAttention([1])
    items = tf.constant([[2.0], [-1.0], [4.0]])
    arguments = (items, tf.constant([0, 0, 2], tf.int64), tf.constant([[3.0], [7.0], [0.5]]), tf.ones([3]))
    layer(*arguments)
    layer.hidden[0].set_weights([np.array([[0.0], [0], [0], [1]]), np.zeros(1)])
    layer.weight.set_weights([np.ones([1, 1]), np.ones(1)])
    return layer, arguments


def test_attention_by_hand(attention):
    layer, arguments = attention
    # row 0, v = 3: (1 + 6) * 2 + (1 + 0) * -1; row 1 has no items; row 2, v = .5: (1 + 2) * 4
    assert layer(*arguments).numpy() == pytest.approx(np.array([[13.0], [0.0], [12.0]]))


def test_weights_of_the_data_multiply_the_attention(attention):
    layer, (items, rows, targets, _) = attention
    assert layer(items, rows, targets, tf.constant([2.0, 1.0, 0.0])).numpy() == pytest.approx(
        np.array([[27.0], [0], [0]])
    )


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_each_input_of_the_attention_unit(attention, place):
    layer, (items, rows, targets, weights) = attention
    layer.hidden[0].set_weights([np.eye(4, 1, -place), np.zeros(1)])
    of_row_2 = (4.0, 0.5, 3.5, 2.0)[place]  # e, v, e - v, e * v
    assert layer(items, rows, targets, weights)[2].numpy() == pytest.approx([(1 + of_row_2) * 4])


def test_sequences_and_other_lists_side_by_side():
    """Fields: two single ids, a list, a sequence. The list stays a mean, the first order of the sequence too."""
    fields = [
        IdField(0, 1, 1),
        IdField(1, 2, 1),
        MultivalentField("ids_of_list", 2, 1),
        MultivalentField("ids_of_sequence", 2, 1, target=1),
    ]
    layer = FusedEmbedding(fields)
    inputs = {
        "field_ids": tf.constant([[0, 1], [0, 0]], tf.int64),
        "ids_of_list": tf.ragged.constant([[0, 1], []], dtype=tf.int64, row_splits_dtype=tf.int64),
        "ids_of_sequence": tf.ragged.constant([[1, 1, 0], [0]], dtype=tf.int64, row_splits_dtype=tf.int64),
    }
    layer(inputs)
    layer.table.assign([[9, 0], [2, 0.1], [3, 0.2], [4, 1], [6, 2], [5, 0.3], [7, 0.6]])
    layer.attention["1"].weight.set_weights([np.array([[0.0], [1.0], [0.0], [0.0]]), np.zeros(1)])  # a = v
    embeddings, linear = layer(inputs)
    # v = 3 and 2: 3 * (7 + 7 + 5), 2 * 5
    assert embeddings[:, :, 0].numpy().tolist() == [[9, 3, 5, 57], [9, 2, 0, 10]]
    assert linear.numpy() == pytest.approx(np.array([[0, 0.2, 1.5, 0.5], [0, 0.1, 0, 0.3]]))


def test_a_new_din_sums_its_sequences():
    model = make_network(
        [IdField(0, 2, 2), MultivalentField("ids_of_s", 3, 2, target=0)],
        ModelOptions(type="din", attention=AttentionOptions(sequences={"s": "i"}), embedding_size=2, hidden_units=()),
    )
    inputs = {
        "field_ids": tf.constant([[1]], tf.int64),
        "ids_of_s": tf.ragged.constant([[0, 2]], dtype=tf.int64, row_splits_dtype=tf.int64),
    }
    model(inputs)
    (table,) = model.tables
    table.table.assign(table.table * 1e-3)  # next to nothing for the attention to see
    embeddings, _ = table(inputs)
    assert embeddings[0, 1].numpy() == pytest.approx((table.table[2] + table.table[4])[:2].numpy(), rel=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"type": "dcn_v2", "cross": CrossOptions(layers=2, rank=3)},
        {"type": "dcn_v2"},
        {"type": "din", "attention": AttentionOptions(sequences={"s": "i"}, hidden_units=(5,))},
    ],
)
def test_config_and_weights_survive_save_and_load(tmp_path, options):
    target = 0 if options["type"] == "din" else None
    fields = [IdField(0, 5, 4), MultivalentField("ids_of_s", 3, 4, target=target)]
    model = make_network(fields, ModelOptions(**options, embedding_size=4, hidden_units=(8,)))
    inputs = {
        "field_ids": tf.constant([[1]], tf.int64),
        "ids_of_s": tf.ragged.constant([[1, 2]], dtype=tf.int64, row_splits_dtype=tf.int64),
    }
    expected = model(inputs).numpy()
    copy = type(model).from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    model.save_weights(str(tmp_path / "weights"))
    copy.load_weights(str(tmp_path / "weights"))
    assert copy(inputs).numpy() == pytest.approx(expected)


def test_deepfm_has_neither_attention_nor_cross():
    model = make_network([IdField(0, 2, 2)], ModelOptions(embedding_size=2, hidden_units=(4,)))
    assert type(model) is DeepFM and not model.tables[0].attention


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossNetwork(0), "num_layers and rank of at least 1; got 0 and None"),
        (lambda: CrossNetwork(2, 0), "num_layers and rank of at least 1; got 2 and 0"),
        (
            lambda: FusedEmbedding([IdField(0, 2, 4), MultivalentField("ids_of_s", 3, 4, target=1)]),
            r"an id field with its embedding_size \(4\); got position 1 for ids_of_s",
        ),
    ],
)
def test_refusals_state_the_rule(make, message):
    with pytest.raises(ValueError, match=message):
        make()
