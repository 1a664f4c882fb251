"""run_fn from transformed files to a SavedModel: what it writes, that it repeats itself, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.components.trainer import click_world

pytest.importorskip("tensorflow_transform")

import tensorflow as tf

from hivemill.common.errors import ConfigError, DataNotReadyError, DataVerdictError
from hivemill.components.trainer import run_fn as run_fn_module
from hivemill.components.trainer.calibration import Calibration
from hivemill.components.trainer.run_fn import run_fn

_PREDICT_WITH_TENSORFLOW_ALONE = """
import sys, json
for name in ("tfx", "tfx_bsl", "tensorflow_transform", "tf_keras", "keras", "components"):
    sys.modules[name] = None  # an import of any of them fails
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
rows = [r.numpy() for r in tf.data.TFRecordDataset(sys.argv[2], "GZIP").take(50)]
out = model.signatures["serving_default"](examples=tf.constant(rows))["click_probability"]
assert out.shape == (50, 1), out.shape
print(json.dumps(out.numpy()[:, 0].tolist()))
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    click_world.write_world(folder)
    return folder


@pytest.fixture(scope="module")
def run(world) -> Path:
    run_fn(click_world.fn_args(world, world / "run"))
    return world / "run"


def _history(run: Path) -> dict:
    return json.loads((run / "model_run" / "history.json").read_text())


def _raw_rows(world: Path, count: int) -> list[bytes]:
    path = str(world / "raw" / "validation.gz")
    return [row.numpy() for row in tf.data.TFRecordDataset(path, "GZIP").take(count)]


def _serve(run: Path, rows: list[bytes]) -> np.ndarray:
    model = tf.saved_model.load(str(run / "Format-Serving"))
    return model.signatures["serving_default"](examples=tf.constant(rows))["click_probability"].numpy()


def test_history_has_learnt_something(run):
    history = _history(run)
    assert history["version"] == 2 and history["num_train_examples"] == 3000
    assert [entry["step"] for entry in history["checks"]] == [20, 40, 60, 80, 90]
    assert [entry["epoch"] for entry in history["checks"]] == [0.6667, 1.3333, 2, 2.6667, 3]
    best = history["checks"][history["best_check"] - 1]
    assert best["val_auc"] > 0.75  # the true logit reaches about 0.82
    assert best["val_loss"] == min(entry["val_loss"] for entry in history["checks"])
    assert history["checks"][0]["examples_per_second"] > 0
    assert ["user"] in [table["fields"] for table in history["rates"]["tables"]]


def test_tensorboard_has_every_scalar(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "model_run" / "train"), size_guidance={"tensors": 0})
    events.Reload()
    assert {"loss", "auc", "learning_rate", "embedding_norm", "examples_per_second"} <= set(events.Tags()["tensors"])
    assert len(events.Tensors("loss")) == 5


def test_checkpoints_are_gone_after_success(world, run):
    assert list((world / "checkpoints").iterdir()) == []


def test_same_seed_same_metrics_whatever_tensorboard_gets(world, run):
    views = {"tensorboard": {"histograms": True, "projector_terms": 10}}
    run_fn(click_world.fn_args(world, world / "again", training=views))
    assert (world / "again" / "model_run" / "train" / "projector" / "item.terms.tsv").read_text().count("\n") == 11
    metrics = [
        [[entry[key] for key in ("loss", "auc", "val_loss", "val_auc")] for entry in _history(folder)["checks"]]
        for folder in (run, world / "again")
    ]
    assert np.allclose(metrics[0], metrics[1], rtol=0, atol=1e-5)


def test_calibration_is_inside_the_saved_model_and_told(world, run, monkeypatch):
    """The same training with a scaling of its own: the served logits are scaled and shifted, in every signature."""
    made = Calibration(0.5, 0.25, 1_000, 0.01, 0.001)
    monkeypatch.setattr(run_fn_module, "calibrate", lambda model, validation: made)
    run_fn(click_world.fn_args(world, world / "calibrated"))
    calibrated, rows = world / "calibrated", _raw_rows(world, 64)
    assert _history(calibrated)["calibration"] == {**made.document(), "used": True}
    before = _history(run)["calibration"]
    assert before["rows"] > 0
    logits = (_logits(_serve(run, rows)) - before["offset"]) / before["scale"]
    assert np.allclose(_logits(_serve(calibrated, rows)), 0.5 * logits + 0.25, atol=1e-3)


def test_calibration_is_off_by_config(world):
    run_fn(click_world.fn_args(world, world / "as it is", training={"epochs": 1, "calibration": "off"}))
    assert _history(world / "as it is")["calibration"] == Calibration().document()


def _logits(probabilities: np.ndarray) -> np.ndarray:
    probabilities = probabilities.astype(np.float64)
    return np.log(probabilities) - np.log1p(-probabilities)


def test_export_serves_without_keras_and_tft(world, run):
    """A fresh process that imports TensorFlow alone predicts what this one does."""
    command = [
        sys.executable,
        "-c",
        _PREDICT_WITH_TENSORFLOW_ALONE,
        str(run / "Format-Serving"),
        str(world / "raw/validation.gz"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=world)
    predictions = json.loads(done.stdout.splitlines()[-1])
    assert np.allclose(predictions, _serve(run, _raw_rows(world, 50))[:, 0], atol=1e-6)


def test_predict_agrees_with_serving_default(world, run):
    """Raw tensors give what the serialised rows give."""
    rows = _raw_rows(world, 64)
    model = tf.saved_model.load(str(run / "Format-Serving"))
    inputs = {name: tf.constant(values) for name, values in click_world.predict_inputs(rows).items()}
    predicted = model.signatures["predict"](**inputs)["click_probability"].numpy()
    assert np.allclose(predicted, _serve(run, rows), atol=1e-6)


def _saved_model_cli(run: Path, signature: str, inputs: list[str], folder: Path) -> np.ndarray:
    """Predictions of TensorFlow's own command-line tool, the console script beside this Python."""
    tool = Path(sys.executable).with_name("saved_model_cli")
    command = [tool, "run", "--dir", run / "Format-Serving", "--tag_set", "serve", "--signature_def", signature]
    subprocess.run([*command, *inputs, "--outdir", folder], check=True, capture_output=True, cwd=folder)
    return np.load(folder / "click_probability.npy")


def _example_as_json(row: bytes) -> dict[str, list]:
    """As `saved_model_cli --input_examples` takes it; it cannot carry empty lists, which TensorFlow reads as absent."""
    lists = {}
    for name, feature in tf.train.Example.FromString(row).features.feature.items():
        values = list(getattr(feature, feature.WhichOneof("kind")).value)
        if values:
            lists[name] = [v.decode() if isinstance(v, bytes) else v for v in values]
    return lists


@pytest.mark.slow
def test_saved_model_cli_runs_serving_default(world, run, tmp_path):
    rows = _raw_rows(world, 64)
    examples = repr([_example_as_json(row) for row in rows])
    predicted = _saved_model_cli(run, "serving_default", ["--input_examples", f"examples={examples}"], tmp_path)
    assert np.allclose(predicted, _serve(run, rows), atol=1e-6)


@pytest.mark.slow
def test_saved_model_cli_runs_predict_with_multivalent_columns(world, run, tmp_path):
    rows = _raw_rows(world, 64)
    columns = click_world.predict_inputs(rows)
    np.savez(tmp_path / "rows.npz", **columns)
    inputs = ";".join(f"{name}=rows.npz[{name}]" for name in columns)
    predicted = _saved_model_cli(run, "predict", ["--inputs", inputs], tmp_path)
    assert np.allclose(predicted, _serve(run, rows), atol=1e-6)


def test_without_early_stopping_nothing_is_selected(world):
    """The split that is watched may be the one that judges the model: all epochs run, and the last weights go out."""
    training = {"plateau": None, "epochs": 6, "learning_rate": 0.05, "calibration": "off"}  # overfits
    run_fn(click_world.fn_args(world, world / "all_epochs", model={"dropout": 0}, training=training))
    history = _history(world / "all_epochs")
    losses = [entry["val_loss"] for entry in history["checks"]]
    assert len(losses) == history["best_check"] == 9 and min(losses) < losses[-1] - 1e-3
    rows = _raw_rows(world, click_world.NUM_ROWS["validation"])
    clicks = [tf.train.Example.FromString(row).features.feature["click"].int64_list.value[0] for row in rows]
    predicted = _serve(world / "all_epochs", rows)[:, 0].astype(np.float64)
    exported = -np.mean(np.log(np.where(np.array(clicks) == 1, predicted, 1 - predicted)))
    assert exported == pytest.approx(losses[-1], abs=1e-4)


def test_transformed_features_are_the_packed_tensors(world, run):
    model = tf.saved_model.load(str(run / "Format-Serving"))
    out = model.signatures["transformed_features"](examples=tf.constant(_raw_rows(world, 3)))
    assert {"field_ids", "field_values"} <= set(out)
    assert out["field_ids"].shape == (3, 4) and out["field_values"].shape == (3, 1)
    assert "label" not in out


def test_serving_needs_no_label(world, run):
    example = tf.train.Example.FromString(_raw_rows(world, 1)[0])
    del example.features.feature["click"]
    with_label = _serve(run, _raw_rows(world, 1))
    assert np.array_equal(_serve(run, [example.SerializeToString()]), with_label)


def test_fewer_rows_than_a_batch_still_train(world):
    arguments = click_world.fn_args(
        world, world / "small", training={"batch_size": 4096, "epochs": 1, "plateau": None}, validate=False
    )
    run_fn(arguments)
    (entry,) = _history(world / "small")["checks"]
    assert 0 < entry["loss"] < 2 and entry["val_auc"] is None


def test_no_rows_is_said(world):
    arguments = click_world.fn_args(world, world / "none")
    arguments.train_files = [str(world / "nowhere/*")]
    with pytest.raises(DataNotReadyError, match="transformed split 'train' has no rows"):
        run_fn(arguments)


def test_a_label_that_is_missing_stops_training(world):
    folder = world / "bad"
    folder.mkdir()
    source = str(next((world / "transformed/train").glob("*")))
    with tf.io.TFRecordWriter(str(folder / "rows.gz"), "GZIP") as writer:
        for record in tf.data.TFRecordDataset(source, "GZIP").take(100):
            example = tf.train.Example.FromString(record.numpy())
            example.features.feature["label"].float_list.value[:] = [float("nan")]
            writer.write(example.SerializeToString())
    arguments = click_world.fn_args(world, world / "bad_run")
    arguments.train_files = [str(folder / "*")]
    with pytest.raises(DataVerdictError, match=r"loss is not a number by step .* label, weight or numeric field"):
        run_fn(arguments)
    assert not (world / "bad_run" / "Format-Serving").exists()


def test_a_diverging_training_names_the_learning_rate(world):
    arguments = click_world.fn_args(world, world / "diverged", training={"learning_rate": 1e30})
    with pytest.raises(ConfigError, match=r"training diverged") as error:
        run_fn(arguments)
    assert "training.learning_rate (now 1e+30)" in str(error.value.hint)
