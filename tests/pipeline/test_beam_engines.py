"""One input, five engines of Beam: DirectRunner, worker processes, an external worker pool, Flink, Spark. The same
artifacts.

ExampleGen, StatisticsGen, Transform and Evaluator run as they do in a run, launched from the compiled pipeline. Trainer
is no Beam pipeline, and its model depends on the order of rows: the first run's model stands in for it in the others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import beam_engines
import given_model
import pytest
import tensorflow as tf
from google.protobuf import json_format, text_format
from shop import RUN_DATE, make_shop, only_run, tree
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from components.transform.layout import FIELD_VALUES_KEY
from pipeline import cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

NODES = ("HiveLogExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "DataVerdict")
NODES += ("Transform", "Trainer", "Evaluator")
# With --update_compatibility_version DirectRunner takes its own engine; without it, it would first download another.
OF_SAVED_MODEL = tuple(f"transform_fn/{name}" for name in ("saved_model.pb", "fingerprint.pb", "variables/"))
VOCABULARIES = ("item_id", "category", "position", "device", "context")
# Of float32 columns; of sums, where a deviation is the difference of large ones.
FLOAT32, FLOAT64 = 1e-6, 1e-9
DIRECT = ["--runner=DirectRunner", "--update_compatibility_version=2.77.0", "--direct_num_workers=1"]


class Ran:
    """The nodes of one run below `config`'s root, by where their artifacts are."""

    def __init__(self, config: Path):
        self._artifacts = config.parent / "root" / "artifacts"
        self.run = only_run(config)

    def place(self, node: str, output: str) -> Path:
        (folder,) = (self._artifacts / node / output).iterdir()
        return folder


@pytest.fixture(scope="module")
def launched(tmp_path_factory) -> Callable[..., Ran]:
    """Runs NODES of one log in a root of its own, with Beam options; the log is generated once."""
    folder = tmp_path_factory.mktemp("engines")
    log = make_shop(folder / "input", rows_per_day=1_000).parent / "log"

    def launch(name: str, beam_args: list[str], model: Path | None = None) -> Ran:
        config = folder / name / "hivemill.yaml"
        config.parent.mkdir()
        config.write_text((folder / "input" / "hivemill.yaml").read_text(encoding="utf-8"), encoding="utf-8")
        (config.parent / "log").symlink_to(log)
        args = json.dumps([*beam_args, "--sdk_container_image=hivemill"])
        words = ["--config", str(config), "--set", f"runner.beam_args={args}", "node"]
        compiled = config.parent / "compiled"
        begin = ["--begin", "--date", RUN_DATE, "--job", name, "--pipeline-to", str(compiled)]
        assert cli.main([*words, *begin]) == 0
        pipeline = Path(compiled.read_text())
        if model is not None:
            given_model.give(pipeline, model)
        for node in NODES:
            assert cli.main([*words, "--node", node, "--pipeline", str(pipeline)]) == 0, _log(config)
        return Ran(config)

    return launch


def _log(config: Path) -> str:
    return (only_run(config) / "log.txt").read_text(errors="replace")[-8000:]


@pytest.fixture(scope="module")
def direct(launched) -> Ran:
    return launched("direct", DIRECT)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    with beam_engines.worker_pool(tmp_path_factory.mktemp("pool") / "log") as address:
        yield ["--environment_type=EXTERNAL", f"--environment_config={address}"]


@pytest.fixture(scope="module")
def flink(tmp_path_factory):
    jar = beam_engines.job_server_jar("flink")
    with beam_engines.flink(jar, tmp_path_factory.mktemp("flink")) as endpoint:
        yield ["--runner=PortableRunner", f"--job_endpoint={endpoint}", "--parallelism=2"]


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    jar = beam_engines.job_server_jar("spark")
    with beam_engines.spark(jar, tmp_path_factory.mktemp("spark")) as endpoint:
        # Without the cache each of a job's stages starts workers anew.
        yield ["--runner=PortableRunner", f"--job_endpoint={endpoint}", "--environment_cache_millis=600000"]


def test_worker_processes_give_the_artifacts_of_direct_runner(launched, direct, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(beam_engines.REPOSITORY))
    words = ["--runner=pipeline.runners.worker_processes.WorkerProcesses", "--direct_num_workers=2"]
    ran = launched("processes", words, direct.place("Trainer", "model"))
    assert_same(ran, direct)


def test_external_worker_pool_gives_the_artifacts_of_direct_runner(launched, direct, pool):
    embedded = ["--runner=PortableRunner", "--job_endpoint=embed"]
    ran = launched("pool", [*embedded, *pool], direct.place("Trainer", "model"))
    assert_same(ran, direct)


def test_flink_gives_the_artifacts_of_direct_runner(launched, direct, flink, pool):
    ran = launched("flink", [*flink, *pool], direct.place("Trainer", "model"))
    assert_same(ran, direct)


def test_spark_gives_the_artifacts_of_direct_runner(launched, direct, spark, pool):
    ran = launched("spark", [*spark, *pool], direct.place("Trainer", "model"))
    assert_same(ran, direct)


def assert_same(one: Ran, other: Ran) -> None:
    """Shards and the order of rows, columns and map entries are an engine's own. What is computed from floats is the
    same within rounding (sums in its own order, batches of its own sizes), everything else to the byte."""
    for read in (examples, graph, plain_files):
        assert read(one) == read(other)
    for read, rounding in ((transformed, FLOAT32), (statistics, FLOAT64), (metrics, FLOAT64)):
        assert differences(read(one), read(other), rounding) == {}


def examples(ran: Ran) -> dict[str, list[bytes]]:
    """ExampleGen's, by split, sorted."""
    place = ran.place("HiveLogExampleGen", "examples")
    found = {
        split: sorted(each.SerializeToString(deterministic=True) for each in parsed(place / split))
        for split in ("Split-train", "Split-validation", "Split-eval")
    }
    assert all(len(rows) > 500 for rows in found.values())
    return found


def transformed(ran: Ran) -> dict[str, Any]:
    """Transform's, as one value per path. Rows are sorted by what holds no rounded float first."""
    place = ran.place("Transform", "transformed_examples")
    found: dict[str, Any] = {}
    for split in ("Split-train", "Split-validation"):
        rows = []
        for each in parsed(place / split):
            floats = list(each.features.feature.pop(FIELD_VALUES_KEY).float_list.value)
            rows.append((each.SerializeToString(deterministic=True), floats))
        found |= leaves(sorted(rows), split)
    return found


def parsed(split: Path) -> Iterator[tf.train.Example]:
    shards = tf.data.TFRecordDataset(sorted(map(str, split.iterdir())), compression_type="GZIP")
    return (tf.train.Example.FromString(record) for record in shards.as_numpy_iterator())


def graph(ran: Ran) -> dict[str, bytes]:
    """Vocabularies, schemas and metadata. A SavedModel is no two times the same bytes: its examples stand for it."""
    found = in_order(tree(ran.place("Transform", "transform_graph")))
    assert {f"transform_fn/assets/vocabulary_{name}" for name in VOCABULARIES} < found.keys()
    return {name: content for name, content in found.items() if not name.startswith(OF_SAVED_MODEL)}


def plain_files(ran: Ran) -> list[dict[str, bytes]]:
    places = (("HiveLogExampleGen", "manifest"), ("SchemaGen", "schema"), ("DataVerdict", "verdict"))
    return [in_order(tree(ran.place(*each))) for each in (*places, ("Evaluator", "blessing"))]


def in_order(files: dict[str, bytes]) -> dict[str, bytes]:
    """The columns of schemas by name: an inferred schema has them in the order in which the engine gave statistics."""
    return {name: _sorted_schema(it) if name.endswith("schema.pbtxt") else it for name, it in files.items()}


def _sorted_schema(text: bytes) -> bytes:
    schema = text_format.Parse(text, schema_pb2.Schema())
    for columns in (schema.feature, schema.string_domain):
        by_name = sorted(columns, key=lambda each: each.name)
        del columns[:]
        columns.extend(by_name)
    assert schema.feature
    return text_format.MessageToString(schema).encode()


def statistics(ran: Ran) -> dict[str, Any]:
    """Data-validation's statistics as one value per path, the features by name."""
    found: dict[str, Any] = {}
    for file in ran.place("StatisticsGen", "statistics").glob("Split-*/FeatureStats.pb"):
        (dataset,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes()).datasets
        features = {each.path.step[0]: json_format.MessageToDict(each) for each in dataset.features}
        found |= leaves([dataset.num_examples, features], file.parent.name)
    assert len(found) > 1_000
    return found


def metrics(ran: Ran) -> dict[str, Any]:
    """The model's verdict as one value per path: metrics and their intervals, of the whole and of slices."""
    verdict = json.loads((ran.place("Evaluator", "verdict") / "verdict.json").read_text(encoding="utf-8"))
    assert verdict["slices"][0]["metrics"]["example_count"] > 1_000 and len(verdict["slices"]) > 2
    return leaves(verdict, "verdict")


def leaves(value: Any, path: str) -> dict[str, Any]:
    """{"Split-eval.1.price.numStats.mean": 3.5, …}"""
    if not isinstance(value, dict | list | tuple):
        return {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {key: leaf for name, each in items for key, leaf in leaves(each, f"{path}.{name}").items()}


def differences(one: dict[str, Any], other: dict[str, Any], rounding: float) -> dict[str, tuple[Any, Any]]:
    """What two engines do not agree on, by path."""
    pairs = {path: (one.get(path), other.get(path)) for path in one.keys() | other.keys()}
    return {path: pair for path, pair in pairs.items() if not _same(*pair, rounding)}


def _same(one: Any, other: Any, rounding: float) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=rounding, abs_tol=rounding)
    return one == other
