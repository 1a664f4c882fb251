"""The parts of a training that need no Transform: metrics, history, the stream of batches, schedule, strategies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from hivemill.common.errors import ConfigError
from hivemill.components.trainer.input import InputSource, count_rows, evaluation_batches, training_batches
from hivemill.components.trainer.loop.checkpoints import TrainingCheckpoints
from hivemill.components.trainer.loop.history import Plateau, TrainingHistory
from hivemill.components.trainer.loop.monitoring import TensorBoardLog
from hivemill.components.trainer.loop.optimizers import LazyAdam
from hivemill.components.trainer.loop.steps import TrainingSteps
from hivemill.components.trainer.loop.strategies import is_chief, make_strategy
from hivemill.components.trainer.loop.streaming_auc import LogitAUC
from hivemill.components.trainer.loop.training_loop import Schedule, train
from hivemill.components.trainer.model.deepfm import DeepFM, IdField
from hivemill.components.trainer.options import PlateauOptions, TrainingOptions
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


def _history(values):
    return TrainingHistory([{"step": i + 1, "val_loss": value} for i, value in enumerate(values)])


def test_a_plateau_by_hand():
    options = PlateauOptions(patience=2, reductions=1)
    assert _history([0.6, 0.7]).plateau(options) == Plateau(1, 1, 0, is_reached=False)
    assert _history([0.6, 0.7, 0.6]).plateau(options) == Plateau(1, 0, 1, is_reached=True)  # as good is not better
    again = _history([0.6, 0.7, 0.8, 0.5, 0.55])
    assert again.plateau(options) == Plateau(4, 1, 1, is_reached=False) and not again.should_stop(options)
    slow = PlateauOptions(patience=2, min_gain=0.1)
    assert _history([0.6, 0.59, 0.58]).plateau(slow) == Plateau(3, 0, 1, is_reached=True)  # better, but hardly
    ended = _history([0.6, 0.7, 0.8, 0.5, 0.55, 0.5])
    assert ended.should_stop(options) and ended.best_check(options) == 4


def test_a_loss_that_is_not_a_number_is_never_the_best():
    history = TrainingHistory()
    for loss in (float("nan"), 0.4, float("nan")):
        history.add({"step": 1, "val_loss": loss})
    assert history.best_check(PlateauOptions()) == 2


def test_without_validation_the_last_check_counts():
    assert _history([None, None]).best_check(PlateauOptions()) == 2
    assert not _history([None] * 99).should_stop(PlateauOptions())
    assert _history([0.6, 0.7]).best_check(None) == 2


def test_history_survives_json():
    history = TrainingHistory()
    history.add({"epoch": 1, "val_auc": float("nan"), "loss": 0.5})
    assert TrainingHistory.from_json(history.to_json()) == history
    assert history.checks == [{"epoch": 1, "val_auc": None, "loss": 0.5}]


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
    assert sum(count_rows(source, "train")) == 23


def test_schedule():
    assert Schedule.of(TrainingOptions(batch_size=10, epochs=2), 25, 1) == Schedule(25, 10, 3, 20, 6)
    assert Schedule.of(TrainingOptions(batch_size=10), 7, 2).batch_size == 6
    assert Schedule.of(TrainingOptions(batch_size=10), 1, 2).batch_size == 2
    with pytest.raises(ConfigError, match="batch_size is 10, which 3 replicas cannot share"):
        Schedule.of(TrainingOptions(batch_size=10), 25, 3)


@pytest.mark.parametrize(
    ("rows", "replicas", "size"),
    [(100, 1, 100), (8_000, 1, 128), (52_000, 1, 1024), (183_000, 1, 2048), (10**8, 1, 4096), (10**8, 3, 4098)],
)
def test_the_batch_follows_the_rows(rows, replicas, size):
    assert Schedule.of(TrainingOptions(), rows, replicas).batch_size == size


def test_checks_come_twice_an_epoch_and_more_often_in_long_ones_but_cost_little():
    assert Schedule.of(TrainingOptions(batch_size=100), 10_000, 1).check_steps == 50
    assert Schedule.of(TrainingOptions(batch_size=100), 1_000_000, 1, 10_000).check_steps == 400
    assert Schedule.of(TrainingOptions(batch_size=100), 1_000_000, 1, 100_000).check_steps == 2000
    assert Schedule.of(TrainingOptions(batch_size=100), 1_000, 1).check_steps == 20


def test_without_validation_too_an_id_that_no_batch_had_is_exported_with_its_penalty(source, tmp_path):
    model = DeepFM([IdField(0, 30, 2)], embedding_size=2, hidden_units=[4])
    optimizer = LazyAdam(0.01, table_l2=0.1, dense_numbers=0)
    steps = TrainingSteps(model, optimizer, make_strategy("none"))
    steps.build(source)
    (table,) = optimizer._large_tables
    before = np.linalg.norm(table.numpy()[29])
    options = TrainingOptions(batch_size=6, epochs=6, warmup_steps=0)
    with TensorBoardLog(None) as log:
        checkpoints = TrainingCheckpoints(tmp_path, steps)
        train(steps, Schedule.of(options, 23, 1), options, source, None, checkpoints, log)
    assert np.linalg.norm(table.numpy()[29]) < 0.9 * before


def test_multi_worker_without_tf_config_says_what_to_set(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ConfigError, match="`multi_worker`, but TF_CONFIG is not set"):
        make_strategy("multi_worker")
    assert is_chief(make_strategy("none"))
