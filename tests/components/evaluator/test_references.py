"""Reference models, importance of columns and the sample that they are computed on, with a SavedModel as exported."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from hivemill.components.evaluator import example_sample, gates, importance
from hivemill.components.evaluator.options import ReferenceOptions
from hivemill.components.evaluator.references import boosted_trees
from hivemill.components.evaluator.references import compare as references
from hivemill.components.evaluator.references.transformed import Rows, predict

ROWS = 4_000


def write_split(folder, records, files=2):
    folder.mkdir(parents=True)
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    for part in range(files):
        with tf.io.TFRecordWriter(str(folder / f"data_tfrecord-{part:05}-of-{files:05}.gz"), options) as writer:
            for record in records[part::files]:
                writer.write(record)


def example(**values) -> bytes:
    made = tf.train.Example()
    for name, value in values.items():
        if isinstance(value, float):
            made.features.feature[name].float_list.value.append(value)
        elif isinstance(value, bytes):
            made.features.feature[name].bytes_list.value.append(value)
        else:
            made.features.feature[name].int64_list.value.append(value)
    return made.SerializeToString()


def click_rows(seed: int, rows: int = ROWS) -> Rows:
    """x and the colour matter, noise does not; a colour is missing now and then. Bytes end in zeros here and there."""
    random = np.random.default_rng(seed)
    x, noise, blue = random.normal(size=rows), random.normal(size=rows), random.random(rows) < 0.4
    labels = (random.random(rows) < 1 / (1 + np.exp(2 - 1.5 * x - 1.5 * blue))).astype(int)
    records = []
    for i in range(rows):
        values = {"x": float(x[i]), "noise": float(noise[i]), "click": int(labels[i]), "zz": b"\xa7\x00\x00"}
        records.append(example(**values, **({"colour": b"blue" if blue[i] else b"red"} if i % 50 else {})))
    return np.array(records, object), labels.astype(float)


class Model(tf.Module):
    """sigmoid(slope * x + 1.5 * blue - 2), with the three signatures of the export."""

    def __init__(self, slope: float, colour: float):
        super().__init__()
        self.slope, self.colour = slope, colour

    def parsed(self, examples):
        spec = {
            "x": tf.io.FixedLenFeature([], tf.float32),
            "noise": tf.io.FixedLenFeature([], tf.float32),
            "colour": tf.io.FixedLenFeature([], tf.string, "none"),
        }
        return tf.io.parse_example(examples, spec)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(self, examples):
        raw = self.parsed(examples)
        blue = tf.cast(raw["colour"] == "blue", tf.float32)
        return {"click_probability": tf.sigmoid(self.slope * raw["x"] + self.colour * blue - 2)[:, tf.newaxis]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def transform(self, examples):
        raw = self.parsed(examples)
        values = tf.stack([raw["x"], raw["noise"]], axis=1)
        ids = tf.where(raw["colour"] == "blue", 1, tf.where(raw["colour"] == "red", 2, 0))
        return {"field_values": values, "field_ids": tf.cast(ids, tf.int64)[:, tf.newaxis]}

    @tf.function
    def predict(self, x, noise, colour, tags_keys, tags_values):
        return {"click_probability": x}


def saved(folder, slope=1.5, colour=1.5, with_all=True):
    model = Model(slope, colour)
    signatures = {"serving_default": model.serve}
    if with_all:
        signatures["transformed_features"] = model.transform
        specs = {
            name: tf.TensorSpec([None], tf.float32, name)
            for name in ("x", "noise", "colour", "tags_keys", "tags_values")
        }
        signatures["predict"] = model.predict.get_concrete_function(**specs)
    tf.saved_model.save(model, str(folder), signatures=signatures)
    return tf.saved_model.load(str(folder))


@pytest.fixture(scope="module")
def rows():
    return click_rows(1), click_rows(2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("good"))


def compare(model, train, evaluation, validation=None, **options) -> dict:
    samples = references.Samples(train, validation, evaluation)
    return references.compare(model, samples, predict(model, evaluation[0]), ReferenceOptions(**options))


def findings(found: dict, **options) -> list[dict]:
    bounds = references.bounds(found, ReferenceOptions(**options))
    return gates.findings(bounds, 0.0, {})


def named(found: dict) -> dict:
    return {one["name"]: one for one in found["models"]}


def test_a_regression_learns_what_there_is_and_a_true_model_is_no_better_than_luck(model, rows):
    found = named(compare(model, *rows))
    regression, rate = found["logistic_regression"], found["global_ctr"]
    assert regression["difference"]["normalized_entropy"]["meaning"] == "noise"
    assert abs(regression["difference"]["auc"]["value"]) < 0.005 and regression["metrics"]["auc"] > 0.75
    assert rate["metrics"]["auc"] == 0.5 and rate["metrics"]["normalized_entropy"] == pytest.approx(1, abs=0.01)
    assert rate["difference"]["auc"]["meaning"] == rate["difference"]["normalized_entropy"]["meaning"] == "gain"
    trees = found["boosted_trees"]
    assert trees["metrics"]["auc"] > 0.75 and trees["difference"]["auc"]["meaning"] in ("gain", "noise")
    assert trees["train_rows"] == ROWS and trees["problem"] is None


def test_a_model_that_lost_a_feature_is_told_that_a_regression_does_better(rows, tmp_path):
    worse = compare(saved(tmp_path / "m", slope=0.2), *rows)
    (finding,) = findings(worse)
    assert finding["cause"] == "worse_than_reference" and finding["severity"] == "red" and finding["rank"] == 1
    assert finding["message"].startswith("a logistic regression on the same features does better than the model")
    assert not gates.is_blessed(references.bounds(worse, ReferenceOptions()))
    (doubt,) = findings(worse, trivial_model_better="amber")
    assert doubt["severity"] == "amber" and doubt["message"] == finding["message"]
    doubts = findings(worse, trivial_model_better="amber", boosted_trees_better="amber")
    assert [one["message"].split(" does")[0] for one in doubts][1:] == ["LightGBM on the same features"]


def test_a_good_model_has_no_finding(model, rows):
    found = compare(model, *rows)
    assert findings(found) == [] and gates.is_blessed(references.bounds(found, ReferenceOptions()))
    assert {bound["cause"] for bound in references.bounds(found, ReferenceOptions())} == {"worse_than_reference"}
    assert references.bounds(None, ReferenceOptions()) == []


def test_a_reference_that_fails_is_told_and_judges_nothing(model, rows, monkeypatch):
    def fail(*_):
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(boosted_trees, "fit_and_predict", fail)
    found = named(compare(model, *rows))
    assert found["boosted_trees"]["problem"] == "OSError: libgomp.so.1: cannot open shared object file"
    assert not found["boosted_trees"]["metrics"] and found["logistic_regression"]["metrics"]["auc"] > 0.75
    bounds = references.bounds(compare(model, *rows), ReferenceOptions())
    assert len(bounds) == 2


def test_references_are_off_by_config(model, rows):
    assert list(named(compare(model, *rows, boosted_trees=False, logistic_regression=False))) == ["global_ctr"]
    found = named(compare(model, *rows, train_rows=1_000, boosted_trees_rows=2_000))
    assert found["logistic_regression"]["train_rows"] == 1_000 and found["boosted_trees"]["train_rows"] == 2_000


def test_without_the_signatures_there_is_no_regression_and_no_importance(rows, tmp_path):
    bare = saved(tmp_path / "m", with_all=False)
    assert list(named(compare(bare, *rows))) == ["global_ctr"]
    assert importance.columns_of(bare) == [] and importance.importance(bare, rows[1], 100_000) is None


def test_importance_says_which_columns_matter(model, rows):
    found = importance.importance(model, rows[1], 40_000)
    by_column = {tuple(one["columns"]): one for one in found["columns"]}
    assert list(by_column)[:2] == [("x",), ("colour",)], "the most important first"
    assert set(by_column) == {("x",), ("colour",), ("noise",), ("tags_keys", "tags_values")}
    assert by_column[("x",)]["lower"] > 0 and by_column[("x",)]["auc_drop"] > 0.1
    for column in (("noise",), ("tags_keys", "tags_values")):
        assert by_column[column]["logloss_rise"] == by_column[column]["auc_drop"] == 0.0
    assert found["rows"] == ROWS


def test_importance_stays_within_its_budget(model, rows):
    assert importance.importance(model, rows[1], 0) is None
    assert importance.importance(model, rows[1], 3_000) is None, "fewer than MIN_ROWS rows would say nothing"
    assert importance.importance(model, rows[1], 5 * 1_200)["rows"] == 1_200


def test_the_pieces_of_a_row_give_the_prediction_of_the_row(model, rows):
    records = rows[1][0][:200]
    pieces = importance._pieces(records, importance.columns_of(model))
    together = predict(model, importance._joined(pieces))
    np.testing.assert_array_equal(together, predict(model, records))


def test_the_sample_is_spread_bounded_and_the_same_each_time(tmp_path):
    records, labels = click_rows(3, 2_000)
    write_split(tmp_path / "Split-eval", records.tolist(), files=4)
    taken, found = example_sample.sample_rows(str(tmp_path / "Split-eval"), 400, "click")
    assert len(taken) == 400 and set(taken) <= set(records), "the rows keep their bytes, zeros at the end too"
    places = sorted({record: place for place, record in enumerate(records)}[one] for one in taken)
    assert places[0] < 100 and places[-1] > 1_900, "over the whole split"
    by_record = dict(zip(records, labels, strict=True))
    assert [by_record[one] for one in taken] == found.tolist()
    again, _ = example_sample.sample_rows(str(tmp_path / "Split-eval"), 400, "click")
    assert taken.tolist() == again.tolist()
    counted, _ = example_sample.sample_rows(str(tmp_path / "Split-eval"), 400, "click", num_rows=2_000)
    assert taken.tolist() == counted.tolist(), "the split is counted where its number of rows is not given"
    assert len(example_sample.sample_rows(str(tmp_path / "Split-eval"), 10_000, "click")[1]) == 2_000
    assert len(example_sample.sample_rows(str(tmp_path / "Split-eval"), 0, "click")[1]) == 0


def test_rows_without_a_label_are_left_out(tmp_path):
    write_split(tmp_path / "s", [example(click=1), example(x=1.0), example(click=7), example(click=0)], files=1)
    assert sorted(example_sample.sample_rows(str(tmp_path / "s"), 10, "click")[1]) == [0.0, 1.0]
