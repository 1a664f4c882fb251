"""A model of several members: the mean of what each predicts, exported as one SavedModel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.components.trainer import click_world

pytest.importorskip("tensorflow_transform")

import tensorflow as tf

from hivemill.components.trainer.model.mean_model import MeanModel
from hivemill.components.trainer.run_fn import run_fn


class Constant:
    def __init__(self, logits):
        self.variables: list = []
        self._logits = tf.constant(logits, tf.float32)

    def __call__(self, inputs, training):
        return self._logits


def test_the_logit_is_of_the_mean_probability():
    mean = MeanModel([Constant([[0.0], [np.log(3)]]), Constant([[np.log(3)], [-np.log(3)]])], [(1, 0)] * 2)
    # 1/2 and 3/4 make 5/8; 3/4 and 1/4 make 1/2
    assert np.allclose(mean({}), [[np.log(5 / 3)], [0.0]], atol=1e-6)


def test_each_member_is_calibrated_by_itself():
    mean = MeanModel([Constant([[np.log(9)]]), Constant([[0.0]])], [(0.5, 0.0), (1.0, np.log(3))])
    assert np.allclose(mean({}), [[np.log(3)]], atol=1e-6)


def test_certain_members_give_a_finite_logit():
    mean = MeanModel([Constant([[300.0], [-300.0]]), Constant([[200.0], [-200.0]])], [(1, 0)] * 2)
    assert np.allclose(mean({}), [[200 + np.log(2)], [-200 - np.log(2)]])


def _predict(run: Path, rows: list[bytes]) -> np.ndarray:
    model = tf.saved_model.load(str(run / "Format-Serving"))
    return model.signatures["serving_default"](examples=tf.constant(rows))["click_probability"].numpy()


@pytest.mark.slow
def test_the_export_predicts_the_mean_of_trainings_by_themselves(tmp_path):
    click_world.write_world(tmp_path)
    members = [{}, {"training.seed": 18, "model.hidden_units": [8]}]
    args = click_world.fn_args(tmp_path, tmp_path / "both")
    args.custom_config["members"] = json.dumps(members)
    run_fn(args)
    run_fn(click_world.fn_args(tmp_path, tmp_path / "first"))
    run_fn(click_world.fn_args(tmp_path, tmp_path / "second", training={"seed": 18}, model={"hidden_units": (8,)}))
    path = str(tmp_path / "raw" / "validation.gz")
    rows = [row.numpy() for row in tf.data.TFRecordDataset(path, "GZIP").take(200)]
    alone = [_predict(tmp_path / name, rows) for name in ("first", "second")]
    assert np.abs(alone[0] - alone[1]).max() > 0.01
    assert np.allclose(_predict(tmp_path / "both", rows), np.mean(alone, axis=0), atol=1e-4)

    history = json.loads((tmp_path / "both" / "model_run" / "history.json").read_text())
    assert [one["values"] for one in history["members"]] == members
    documents = [
        json.loads((tmp_path / name / "model_run" / "history.json").read_text()) for name in ("first", "second")
    ]
    assert history["num_parameters"] == sum(one["num_parameters"] for one in documents)
    assert list((tmp_path / "checkpoints").iterdir()) == []
