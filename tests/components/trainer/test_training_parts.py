"""The parts of a training that need no Transform: metrics, history, the stream of batches, schedule, strategies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from hivemill.common.errors import ConfigError
from hivemill.components.trainer.input import InputSource, count_rows, evaluation_batches, training_batches
from hivemill.components.trainer.loop.history import History
from hivemill.components.trainer.loop.strategies import is_chief, make_strategy
from hivemill.components.trainer.loop.streaming_auc import LogitAUC
from hivemill.components.trainer.loop.training_loop import Schedule
from hivemill.components.trainer.options import EarlyStoppingOptions, TrainingOptions
from hivemill.components.transform.layout import FieldLayout


def test_auc_by_hand():
    auc = LogitAUC()
    auc.update_state(tf.constant([[1.0], [0], [1], [0]]), tf.constant([[2.0], [1.0], [0.0], [-3.0]]))
    assert float(auc.result()) == pytest.approx(0.75)  # of 4 pairs only (0.0, 1.0) is the wrong way round
    auc.reset_state()
    auc.update_state(tf.constant([1.0, 0.0]), tf.constant([0.3, 0.3]))
    assert float(auc.result()) == pytest.approx(0.5)  # a tie


def test_auc_counts_weights_and_is_exact_for_rare_clicks():
    random = np.random.default_rng(0)
    logits = random.normal(-7, 0.7, 20_000).astype(np.float32)
    labels = (random.random(20_000) < 20 / (1 + np.exp(-logits))).astype(np.float32)
    auc = LogitAUC()
    for part in np.split(np.arange(20_000), 4):
        auc.update_state(tf.constant(labels[part]), tf.constant(logits[part]))
    ranks = np.empty(20_000)
    ranks[np.argsort(logits)] = np.arange(1, 20_001)
    clicks = labels.sum()
    exact = (ranks[labels == 1].sum() - clicks * (clicks + 1) / 2) / (clicks * (20_000 - clicks))
    assert float(auc.result()) == pytest.approx(exact, abs=2e-3)
    weighted = LogitAUC()
    weighted.update_state(tf.constant([1.0, 0, 1]), tf.constant([1.0, 0, -1]), sample_weight=tf.constant([3.0, 1, 1]))
    assert float(weighted.result()) == pytest.approx(0.75)


def test_auc_of_one_class_is_not_a_number():
    auc = LogitAUC()
    auc.update_state(tf.constant([1.0]), tf.constant([0.0]))
    assert math.isnan(float(auc.result()))


def _history(values, key="val_auc"):
    return History([{"epoch": i + 1, key: value} for i, value in enumerate(values)])


def test_early_stopping_by_hand():
    options = EarlyStoppingOptions(metric="auc", patience=1, min_change=0.01)
    assert not _history([0.6, 0.605]).should_stop(options)  # one epoch without improvement is within the patience
    assert _history([0.6, 0.605, 0.609]).should_stop(options)
    assert _history([0.6, 0.605, 0.609]).best_epoch(options) == 1
    assert _history([0.6, 0.605, 0.62]).best_epoch(options) == 3
    loss = EarlyStoppingOptions(metric="loss", patience=0)
    assert _history([0.5, 0.4, 0.45], "val_loss").should_stop(loss)
    assert _history([0.5, 0.4, 0.45], "val_loss").best_epoch(loss) == 2


def test_without_validation_the_last_epoch_counts():
    assert _history([None, None]).best_epoch(EarlyStoppingOptions()) == 2
    assert not _history([None] * 9).should_stop(EarlyStoppingOptions())
    assert _history([0.7, 0.6]).best_epoch(None) == 2


def test_history_survives_json():
    history = History()
    history.add({"epoch": 1, "val_auc": float("nan"), "loss": 0.5})
    assert History.from_json(history.to_json()) == history
    assert history.epochs == [{"epoch": 1, "val_auc": None, "loss": 0.5}]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> InputSource:
    """23 rows in three files; a row's id is its number."""
    folder = tmp_path_factory.mktemp("rows")
    for part, rows in enumerate(np.array_split(np.arange(23), 3)):
        with tf.io.TFRecordWriter(str(folder / f"part-{part}.gz"), "GZIP") as writer:
            for row in rows:
                example = tf.train.Example()
                example.features.feature["field_ids"].int64_list.value.append(int(row))
                example.features.feature["label"].float_list.value.append(row % 2)
                writer.write(example.SerializeToString())
    return InputSource.of([str(folder / "*")], FieldLayout(("f",), (), (), frozenset(), False))


def _stream(source, count, **changes):
    arguments = {"num_rows": 23, "batch_size": 6, "replica_batch_size": 6, "shuffle_rows": 10, "seed": 3, **changes}
    return [batch[0]["field_ids"].numpy()[:, 0].tolist() for batch in training_batches(source, **arguments).take(count)]


def test_each_epoch_sees_every_row_once_in_another_order(source):
    rows = [row for batch in _stream(source, 12) for row in batch]
    epochs = rows[:23], rows[23:46], rows[46:69]
    assert [sorted(epoch) for epoch in epochs] == [list(range(23))] * 3
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_stream_is_a_function_of_the_seed(source):
    assert _stream(source, 8) == _stream(source, 8)
    assert _stream(source, 8) != _stream(source, 8, seed=4)


@pytest.mark.parametrize("done", [1, 3, 4, 9])
def test_a_resumed_training_gets_the_very_same_batches(source, done):
    assert _stream(source, 4, first_batch=done) == _stream(source, done + 4)[done:]


def test_workers_share_a_batch(source):
    whole = _stream(source, 6)
    parts = [_stream(source, 6, worker=w, num_workers=2, replica_batch_size=3) for w in range(2)]
    assert [sorted(a + b) for a, b in zip(*parts, strict=True)] == [sorted(batch) for batch in whole]


def test_evaluation_sees_every_row_once(source):
    rows = [row for inputs, _, _ in evaluation_batches(source, 10) for row in inputs["field_ids"].numpy()[:, 0]]
    assert rows == list(range(23))
    assert count_rows(source, "train") == 23


def test_schedule():
    assert Schedule.of(TrainingOptions(batch_size=10, epochs=2), 25, 1) == Schedule(25, 10, 3, 2)
    assert Schedule.of(TrainingOptions(batch_size=10), 7, 2).batch_size == 6
    assert Schedule.of(TrainingOptions(batch_size=10), 1, 2).batch_size == 2
    with pytest.raises(ConfigError, match="batch_size is 10, which 3 replicas cannot share"):
        Schedule.of(TrainingOptions(batch_size=10), 25, 3)


def test_multi_worker_without_tf_config_says_what_to_set(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ConfigError, match="`multi_worker`, but TF_CONFIG is not set"):
        make_strategy("multi_worker")
    assert is_chief(make_strategy("none"))
