"""Statistics on one machine against TFDV's own on Beam, over the same rows, field by field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tensorflow_data_validation")

import tensorflow as tf
import tensorflow_data_validation as tfdv
from apache_beam.options.pipeline_options import PipelineOptions
from google.protobuf import json_format
from tfx.types import standard_artifacts

from hivemill.common.errors import ConfigError
from hivemill.components.hive_example_gen.summary import from_examples, split_summary
from hivemill.components.statistics_gen import executor
from tests.components.hive_example_gen.summary.summary_case import SummaryCase


def _example(row: int) -> bytes:
    features = {
        "user": tf.train.Feature(bytes_list=tf.train.BytesList(value=[f"u{row % 97}".encode()])),
        "price": tf.train.Feature(float_list=tf.train.FloatList(value=[] if row % 5 == 0 else [row % 311 / 7])),
        "click": tf.train.Feature(int64_list=tf.train.Int64List(value=[row % 3 == 0])),
        "tags": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"a", b"b", b"c"][: row % 4])),
    }
    if row % 11:
        features["rare"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[row]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("examples") / "Split-train"
    folder.mkdir()
    for part in range(2):
        with tf.io.TFRecordWriter(str(folder / f"data-{part}.gz"), "GZIP") as writer:
            for row in range(part * 1500, (part + 1) * 1500):
                writer.write(_example(row))
    return sorted(map(str, folder.iterdir()))


def _fields(proto) -> dict:
    """The features by name: their order says nothing."""
    (dataset,) = json.loads(json_format.MessageToJson(proto))["datasets"]
    by_name = {json.dumps(feature["path"]): feature for feature in dataset.pop("features")}
    return {"dataset": dataset, **by_name}


def _nearly(value):
    """Floats in another order of summation differ in their last digits."""
    if isinstance(value, dict):
        return {key: _nearly(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_nearly(item) for item in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def test_they_are_tfdvs_own(files, tmp_path, monkeypatch):
    monkeypatch.setattr(from_examples, "BATCH_ROWS", 700)  # several batches, the last one short
    _assert_same(split_summary.made_of(files, executor.STATISTICS, tmp_path).statistics(), files, tmp_path)


def test_those_of_converted_partitions_are_tfdvs_own(tmp_path):
    uri = SummaryCase(tmp_path).run(executor.STATISTICS)
    files = sorted(map(str, Path(uri, "Split-train").iterdir()))
    _assert_same(split_summary.carried(uri, ["train"], executor.STATISTICS).statistics(), files, tmp_path)


def _assert_same(ours, files: list[str], tmp_path: Path) -> None:
    """As TFDV's on Beam, of the same rows."""
    options = PipelineOptions(["--runner=FnApiRunner"])
    pattern = str(Path(files[0]).parent / "*")
    theirs = tfdv.generate_statistics_from_tfrecord(pattern, str(tmp_path / "stats"), pipeline_options=options)
    ours, theirs = _fields(ours), _fields(theirs)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert _nearly(ours[name]) == _nearly(theirs[name]), name


def test_the_executor_writes_tfxs_artifact(files, tmp_path):
    examples, made = standard_artifacts.Examples(), standard_artifacts.ExampleStatistics()
    examples.uri, examples.split_names, examples.span = str(Path(files[0]).parents[1]), '["train", "eval"]', 7
    made.uri = str(tmp_path)
    executor.StatisticsGenExecutor().Do(
        {"examples": [examples]}, {"statistics": [made]}, {"exclude_splits": '["eval"]'}
    )
    assert (made.split_names, made.span) == ('["train"]', 7)
    read = tfdv.load_stats_binary(str(tmp_path / "Split-train" / "FeatureStats.pb"))
    assert read.datasets[0].num_examples == 3000


def test_other_options_are_refused_by_name(files):
    with pytest.raises(ConfigError, match="StatisticsGen: stats_options_json is not supported on one machine"):
        executor.StatisticsGenExecutor().Do(
            {"examples": []}, {"statistics": []}, {"stats_options_json": '{"sample_rate": 0.5}'}
        )
