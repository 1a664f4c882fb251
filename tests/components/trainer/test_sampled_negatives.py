"""A model trained on a sample of the negatives: its probabilities hold on all rows, and their order is the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.components.trainer import click_world

pytest.importorskip("tensorflow_transform")

import tensorflow as tf
import tensorflow_transform as tft

from hivemill.components.hive_example_gen.options import SamplingOptions
from hivemill.components.hive_example_gen.rows.negative_sampling import Sampler
from hivemill.components.trainer import run_fn as run_fn_module
from hivemill.components.trainer.model.sampling_correction import NegativeSample
from hivemill.components.trainer.run_fn import run_fn
from hivemill.components.trainer.signatures import PROBABILITY_KEY, TracedModel

pytestmark = pytest.mark.slow  # a transform and a training of its own, half a minute of CPU

NEGATIVES = 0.2
NUM_EVAL_ROWS = 4000


def label_of(row: bytes) -> int:
    return tf.train.Example.FromString(row).features.feature["click"].int64_list.value[0]


def sampled(rows: list[bytes]) -> list[bytes]:
    batch = pa.record_batch({"row": np.arange(len(rows)), "click": [label_of(row) for row in rows]})
    sampler = Sampler(SamplingOptions(negatives=NEGATIVES, key=("row",)), "click")
    return [rows[index] for index in sampler.apply(batch).column("row").to_pylist()]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run on sampled training and validation rows; beside it the same model without the correction."""
    world = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        whole = click_world.raw_examples
        patch.setattr(click_world, "NUM_ROWS", {"train": 8000, "validation": 1500})
        patch.setattr(click_world, "raw_examples", lambda num_rows, seed: sampled(whole(num_rows, seed)))
        click_world.write_world(world)
        arguments = click_world.fn_args(world, world / "run", training={"epochs": 3, "calibration": "off"})
        arguments.custom_config["sample"] = NegativeSample(negatives=NEGATIVES).model_dump_json()
        fit = run_fn_module.fit

        def fit_and_export_as_it_is(config, *others):
            result = fit(config, *others)
            transform_output = tft.TFTransformOutput(arguments.transform_output)
            folder = str(world / "run" / "uncorrected")
            TracedModel(result.model, transform_output, config.features, rates=result.rates).save(folder)
            return result

        patch.setattr(run_fn_module, "fit", fit_and_export_as_it_is)
        run_fn(arguments)
    return world / "run"


@pytest.fixture(scope="module")
def eval_rows() -> list[bytes]:
    return click_world.raw_examples(NUM_EVAL_ROWS, seed=77)


def served(folder: Path, rows: list[bytes]) -> np.ndarray:
    model = tf.saved_model.load(str(folder))
    return model.signatures["serving_default"](examples=tf.constant(rows))["click_probability"].numpy()[:, 0]


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores)] = np.arange(1, len(scores) + 1)
    positives = labels.sum()
    return (ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(labels) - positives))


def test_calibration_holds_on_all_rows_with_the_correction_only(run, eval_rows):
    labels = np.array([label_of(row) for row in eval_rows])
    corrected, raw = served(run / "Format-Serving", eval_rows), served(run / "uncorrected", eval_rows)
    assert abs(corrected.mean() / labels.mean() - 1) < 0.1
    assert raw.mean() / labels.mean() > 1.5
    # By bands of the prediction too: not the mean alone.
    order = np.argsort(corrected)
    for band in np.array_split(order, 4):
        assert abs(corrected[band].mean() - labels[band].mean()) < 0.08
    assert auc(labels, corrected) > 0.75


def test_the_correction_is_the_formula_and_keeps_the_order(run, eval_rows):
    corrected, raw = served(run / "Format-Serving", eval_rows), served(run / "uncorrected", eval_rows)
    p = raw.astype(np.float64)
    np.testing.assert_allclose(corrected, p / (p + (1 - p) / NEGATIVES), rtol=1e-5)
    labels = np.array([label_of(row) for row in eval_rows])
    assert auc(labels, corrected) == pytest.approx(auc(labels, raw), abs=1e-4)


def test_every_signature_that_gives_a_probability_is_corrected(run, eval_rows):
    model = tf.saved_model.load(str(run / "Format-Serving"))
    rows = eval_rows[:50]
    inputs = {name: tf.constant(values) for name, values in click_world.predict_inputs(rows).items()}
    found = model.signatures["predict"](**inputs)[PROBABILITY_KEY].numpy()[:, 0]
    np.testing.assert_allclose(found, served(run / "Format-Serving", rows), atol=1e-6)
    transformed = model.signatures["transformed_features"](examples=tf.constant(eval_rows[:3]))
    assert PROBABILITY_KEY not in transformed


def test_the_history_says_that_its_metrics_are_of_the_sample(run):
    history = json.loads((run / "model_run" / "history.json").read_text())
    assert history["sample"] == {
        "negatives": NEGATIVES,
        "logit_correction": pytest.approx(np.log(NEGATIVES)),
        "metrics_are": "of the sample",
    }
