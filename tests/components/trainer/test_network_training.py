"""The networks beside DeepFM through run_fn: they learn, and the exported model serves lists of any length."""

from __future__ import annotations

import numpy as np
import pytest

from tests.components.trainer import click_world

pytest.importorskip("tensorflow_transform")

import tensorflow as tf

from hivemill.components.trainer.run_fn import run_fn

NETWORKS = {
    "dcn_v2": {"cross": {"layers": 2, "rank": 4}},
    "din": {"attention": {"sequences": {"recent": "user", "tags": "user"}, "hidden_units": (8,)}},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    click_world.write_world(folder)
    return folder


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_learns_and_serves(world, kind):
    run_fn(click_world.fn_args(world, world / kind, model={"type": kind, **NETWORKS[kind]}))
    model = tf.saved_model.load(str(world / kind / "Format-Serving"))
    rows = [row.numpy() for row in tf.data.TFRecordDataset(str(world / "raw" / "validation.gz"), "GZIP")]
    served = model.signatures["serving_default"](examples=tf.constant(rows))["click_probability"].numpy()
    labels = [tf.train.Example.FromString(row).features.feature["click"].int64_list.value[0] for row in rows]
    auc = tf.keras.metrics.AUC(num_thresholds=1000)
    auc.update_state(labels, served)
    assert float(auc.result()) > 0.75  # the true logit reaches about 0.82
    inputs = {name: tf.constant(values) for name, values in click_world.predict_inputs(rows).items()}
    predicted = model.signatures["predict"](**inputs)["click_probability"].numpy()
    assert np.allclose(predicted, served, atol=1e-6)


def test_lists_that_are_all_empty_are_served(world):
    """A batch without any item of a sequence."""
    from hivemill.components.trainer.model.deepfm import IdField, MultivalentField
    from hivemill.components.trainer.model.networks import make_network
    from hivemill.components.trainer.options import ModelOptions

    fields = [IdField(0, 3, 4), MultivalentField("ids_of_s", 5, 4, target=0)]
    options = ModelOptions(type="din", attention={"sequences": {"s": "i"}}, embedding_size=4, hidden_units=(4,))
    model = make_network(fields, options)
    empty = tf.ragged.constant([[], []], dtype=tf.int64, ragged_rank=1, row_splits_dtype=tf.int64)
    logits = model({"field_ids": tf.constant([[0], [2]], tf.int64), "ids_of_s": empty})
    assert logits.shape == (2, 1) and np.isfinite(logits.numpy()).all()
