"""The component through its real executor, with real Beam in memory; TensorFlow and Beam read what it writes."""

import datetime
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import apache_beam as beam
import grpc
import pyarrow as pa
import pyarrow.parquet
import pytest
import tensorflow as tf
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils, standard_artifacts

from hivemill.common import progress
from hivemill.common.errors import DataCorruptError, DataNotReadyError, InfrastructureError
from hivemill.components.artifacts import WindowManifest
from hivemill.components.hive_example_gen import beam as beam_convert
from hivemill.components.hive_example_gen import executor
from hivemill.components.hive_example_gen.cache.tfrecord import TFRecordWriter
from hivemill.components.hive_example_gen.component import HiveLogExampleGen
from hivemill.components.hive_example_gen.options import (
    BadRowOptions,
    CompletenessOptions,
    SourceOptions,
    WindowOptions,
)
from hivemill.components.hive_example_gen.planning.window import plan_window

DATE = datetime.date(2026, 11, 15)
WINDOW = WindowOptions(train_days=3, validation_days=1, eval_days=1)
# Without a package or image option TFX packs itself into an archive for every executor, which takes seconds.
IN_MEMORY = ["--runner=FnApiRunner", "--sdk_container_image=none"]


class Case:
    """A table of hours on four days; day d has rows with the ids 10 d and 10 d + 1 in each of two hours."""

    def __init__(self, folder):
        self.folder = folder
        self.table = folder / "table"
        for day in range(12, 16):
            for hour in ("06", "07"):
                self.file(day, hour).parent.mkdir(parents=True)
                self.file(day, hour).write_bytes(b"%d\x01a\x02b\n%d\x01\\N\n" % (10 * day, 10 * day + 1))
        self.options = {
            "columns": {"id": "bigint", "tags": "array<string>"},
            "partition_columns": {"dt": "string", "hour": "int"},
        }

    def file(self, day, hour="06"):
        return self.table / f"dt=2026-11-{day}" / f"hour={hour}" / "000000_0"

    @property
    def source(self):
        return SourceOptions(table=str(self.table), **self.options)

    def plan(self, window=WINDOW):
        return plan_window(self.source, window, DATE, str(self.folder / "partitions"))

    def component(self, window=WINDOW, fingerprint=None):
        return HiveLogExampleGen(
            source=self.source,
            window=window,
            date=DATE,
            plan_fingerprint=fingerprint or self.plan(window).fingerprint,
            partitions_path=str(self.folder / "partitions"),
        )

    def run(self, name="run", beam_arguments=IN_MEMORY, **arguments):
        self.examples, self.manifest_artifact = standard_artifacts.Examples(), WindowManifest()
        self.examples.uri = str(self.folder / name / "examples")
        self.manifest_artifact.uri = str(self.folder / name / "manifest")
        outputs = {"examples": [self.examples], "manifest": [self.manifest_artifact]}
        context = BaseBeamExecutor.Context(beam_arguments, tmp_dir=str(self.folder / "tmp"), unique_id=name)
        executor.HiveExampleGenExecutor(context).Do({}, outputs, self.component(**arguments).exec_properties)

    def shards(self, split):
        return sorted(Path(self.examples.uri, f"Split-{split}").iterdir())

    def manifest(self):
        return json.loads(Path(self.manifest_artifact.uri, "manifest.json").read_text())


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def _ids(serialized):
    return sorted(tf.train.Example.FromString(data).features.feature["id"].int64_list.value[0] for data in serialized)


def test_splits_are_read_by_tensorflow_and_by_beam(case):
    case.run()
    dataset = tf.data.TFRecordDataset(list(map(str, case.shards("train"))), compression_type="GZIP")
    assert _ids(dataset.as_numpy_iterator()) == [120, 120, 121, 121, 130, 130, 131, 131]
    example = tf.train.Example.FromString(next(dataset.as_numpy_iterator())).features.feature
    assert {name: feature.WhichOneof("kind") for name, feature in example.items()} == {
        "id": "int64_list",
        "tags": "bytes_list",
        "dt": "bytes_list",
        "hour": "int64_list",
    }
    assert (example["dt"].bytes_list.value[0], example["hour"].int64_list.value[0]) == (b"2026-11-12", 6)
    read = []
    with beam.Pipeline(argv=["--runner=FnApiRunner"]) as pipeline:
        pattern = str(Path(case.examples.uri, "Split-eval", "*"))
        records = pipeline | beam.io.ReadFromTFRecord(pattern) | beam.combiners.ToList()
        _ = records | beam.Map(lambda found: Path(case.folder, "read").write_bytes(b"".join(sorted(found))))
    read = Path(case.folder, "read").read_bytes()
    eval_set = tf.data.TFRecordDataset(list(map(str, case.shards("eval"))), compression_type="GZIP")
    assert read == b"".join(sorted(eval_set.as_numpy_iterator()))


def test_the_artifacts_say_what_tfx_and_the_report_read(case):
    case.run()
    assert artifact_utils.decode_split_names(case.examples.split_names) == ["train", "validation", "eval"]
    assert case.examples.get_string_custom_property("payload_format") == "FORMAT_TF_EXAMPLE"
    assert case.examples.get_string_custom_property("file_format") == "tfrecords_gzip"
    rows = {
        name: case.examples.get_int_custom_property(name) for name in ("num_rows", "num_rows_train", "num_rows_eval")
    }
    assert rows == {"num_rows": 16, "num_rows_train": 8, "num_rows_eval": 4}
    assert case.manifest_artifact.get_int_custom_property("num_rows") == 16


def test_the_manifest(case):
    case.run()
    manifest, plan = case.manifest(), case.plan()
    assert manifest["window"] == {
        "train": ["2026-11-12", "2026-11-13"],
        "validation": ["2026-11-14"],
        "eval": ["2026-11-15"],
    }
    assert (manifest["version"], manifest["date"], manifest["table"]) == (1, "2026-11-15", "table")
    assert manifest["num_rows"] == {"train": 8, "validation": 4, "eval": 4}
    assert (manifest["missing"], manifest["late"], manifest["fingerprint"]) == ([], [], plan.fingerprint)
    status = case.file(12).stat()
    assert manifest["partitions"][0] == {
        "split": "train",
        "partition": "dt=2026-11-12/hour=06",
        "files": [
            {
                "path": "dt=2026-11-12/hour=06/000000_0",
                "bytes": status.st_size,
                "modified_ns": status.st_mtime_ns,
            }
        ],
        "rows": 2,
        "bad_rows": {},
        "row_notes": {},
        "bytes": status.st_size,
        "fingerprint": plan.splits["train"][0].fingerprint,
    }


def test_a_second_run_converts_nothing_and_gives_the_same(case, monkeypatch):
    case.run()
    first = case.manifest()
    monkeypatch.setattr(
        executor.HiveExampleGenExecutor, "_make_beam_pipeline", lambda self: pytest.fail("a pipeline was made")
    )
    case.run("again")
    assert case.manifest() == first
    dataset = tf.data.TFRecordDataset(list(map(str, case.shards("train"))), compression_type="GZIP")
    assert len(list(dataset)) == 8
    assert case.shards("train")[0].stat().st_nlink == 3  # the cache, and a link from each run


def test_one_new_day_is_all_that_is_converted(case, monkeypatch):
    case.run()
    case.file(15).write_bytes(b"7\x01\\N\n")
    converted = []
    real = beam_convert.convert_partition
    monkeypatch.setattr(beam_convert, "convert_partition", lambda p, *rest: converted.append(p.name) or real(p, *rest))
    case.run("again")
    assert converted == ["dt=2026-11-15/hour=06"]
    assert case.manifest()["num_rows"]["eval"] == 3


def test_progress_is_reported(case):
    reports = []
    progress.listen(lambda *report: reports.append(report))
    try:
        case.run()
    finally:
        progress.listen(None)
    assert reports[-1] == (16, 16, "rows")


def test_data_that_changed_since_the_plan_is_refused(case):
    fingerprint = case.plan().fingerprint
    case.file(13).write_bytes(b"1\x01a\n")
    with pytest.raises(DataNotReadyError, match="changed between the plan and the run") as raised:
        case.run(fingerprint=fingerprint)
    assert raised.value.exit_code == 3
    assert not (case.folder / "run").exists()


def test_a_missing_day_is_refused_or_left_out_as_the_window_says(case):
    for hour in ("06", "07"):
        os.remove(case.file(13, hour))
    os.removedirs(case.file(13, "06").parent)
    os.removedirs(case.file(13, "07").parent)
    with pytest.raises(DataNotReadyError, match="1 missing: dt=2026-11-13"):
        case.run()
    case.run(window=WINDOW.model_copy(update={"incomplete": "shrink"}))
    assert (case.manifest()["missing"], case.manifest()["num_rows"]["train"]) == (["dt=2026-11-13"], 4)


def test_bad_rows_stop_the_run_above_their_share_and_are_left_out_below_it(case):
    case.file(13).write_bytes(b"x\x01a\n")
    with pytest.raises(
        DataNotReadyError, match=r"1 of the 7 rows of split 'train' \(14.3 %\) cannot be read"
    ) as raised:
        case.run()
    assert "\n  dt=2026-11-13/hour=06/000000_0: row 1, column 'id': " in raised.value.message
    assert not (case.folder / "run").exists()
    case.options["bad_rows"] = BadRowOptions(max_share=0.2)
    assert all(partition.cached for partition in case.plan().partitions)
    case.run()
    assert (case.manifest()["bad_rows"], case.manifest()["num_rows"]["train"]) == ({"train": {"value": 1}}, 6)


def test_an_error_of_a_worker_comes_through_beam_as_itself(case):
    packed = gzip.compress(b"120\x01a\n" * 1_000)
    case.file(13).with_suffix(".gz").write_bytes(packed[:-10])
    case.file(13).unlink()
    with pytest.raises(DataCorruptError, match=r"dt=2026-11-13/hour=06/000000_0.gz ") as raised:
        case.run()
    assert raised.value.hint is not None
    assert not (case.folder / "run").exists()
    assert [path.name for path in (case.folder / "partitions").iterdir() if path.name.startswith(".")] == []


def test_partitions_that_disagree_on_a_column(case):
    case.options["columns"] = None
    for day in range(12, 16):
        for hour in ("06", "07"):
            pa.parquet.write_table(pa.table({"c": ["x"] if (day, hour) == (14, "07") else [1]}), case.file(day, hour))
    with pytest.raises(
        DataNotReadyError, match="'c' is bytes in dt=2026-11-14/hour=07 and int64 in dt=2026-11-12/hour=06"
    ):
        case.run()


def test_a_split_without_rows(case):
    case.options["columns"] = None
    for day in range(12, 16):
        for hour in ("06", "07"):
            pa.parquet.write_table(
                pa.table({"c": pa.array([] if day == 15 else [1], pa.int64())}), case.file(day, hour)
            )
    with pytest.raises(DataNotReadyError, match=r"1 too small: dt=2026-11-15: 0 rows < 50.0 % of the median 2 rows"):
        case.run()
    unjudged = WINDOW.model_copy(update={"completeness": CompletenessOptions(min_share_of_median=None)})
    with pytest.raises(DataNotReadyError, match="split 'eval' has no row"):
        case.run(window=unjudged)


def test_a_cache_that_cannot_be_written(case):
    (case.folder / "partitions").write_text("a file where the folder should be")
    with pytest.raises(InfrastructureError, match="cannot write converted partitions"):
        case.run()


def test_the_writer_makes_the_bytes_that_tensorflow_makes(tmp_path):
    records = [b"", b"hello", b"\xff" * 1000]
    with tf.io.TFRecordWriter(str(tmp_path / "theirs"), "GZIP") as theirs:
        for record in records:
            theirs.write(record)
    with TFRecordWriter(tmp_path / "ours") as ours:
        ours.write(records)
    assert gzip.decompress((tmp_path / "ours").read_bytes()) == gzip.decompress((tmp_path / "theirs").read_bytes())


@pytest.mark.slow
def test_worker_processes_give_the_same_manifest(case, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    case.run()
    first = case.manifest()
    os.rename(case.folder / "partitions", case.folder / "partitions_of_first")
    case.run("again", [*IN_MEMORY, "--direct_running_mode=multi_processing", "--direct_num_workers=2"])
    assert case.manifest() == first


@pytest.fixture
def worker_pool():
    """Beam's own external worker pool in a process of its own, with this Python on its PATH."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    pool = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        grpc.channel_ready_future(grpc.insecure_channel(f"localhost:{port}")).result(60)
        yield f"localhost:{port}"
    finally:
        os.killpg(pool.pid, signal.SIGKILL)  # its workers too; SIGINT is ignored below a shell's background job
        pool.wait(60)


@pytest.mark.slow
def test_an_external_worker_pool_gives_the_same_examples(case, worker_pool):
    case.run()
    first, records = case.manifest(), _records(case)
    os.rename(case.folder / "partitions", case.folder / "partitions_of_first")
    environment = ["--environment_type=EXTERNAL", f"--environment_config={worker_pool}"]
    case.run("again", ["--runner=PortableRunner", "--job_endpoint=embed", *environment, *IN_MEMORY[1:]])
    assert case.manifest() == first
    assert _records(case) == records


def _records(case):
    """Examples by split, sorted: the order of rows in a shard and of features in bytes is each process's own."""
    shards = {split: list(map(str, case.shards(split))) for split in ("train", "validation", "eval")}
    return {
        split: sorted(
            tf.train.Example.FromString(data).SerializeToString(deterministic=True)
            for data in tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator()
        )
        for split, files in shards.items()
    }


def test_format_properties_are_those_of_tfx():
    from tfx.components.util import examples_utils

    examples = standard_artifacts.Examples()
    examples_utils.set_payload_format(examples, examples_utils.example_gen_pb2.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(examples, "tfrecords_gzip")
    written = {name: examples.get_string_custom_property(name) for name in executor.FORMAT_PROPERTIES}
    assert written == executor.FORMAT_PROPERTIES
