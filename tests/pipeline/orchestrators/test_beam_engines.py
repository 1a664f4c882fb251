"""One input, five engines of Beam: DirectRunner, worker processes, an external worker pool, Flink, Spark. The same
artifacts.

ExampleGen, StatisticsGen, Transform and Evaluator run as they do in a run, launched from the compiled pipeline. Trainer
is no Beam pipeline, and its model depends on the order of rows: the first run's model stands in for it in the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hivemill.pipeline.cli import main
from tests.pipeline import given_model
from tests.pipeline.orchestrators import beam_engines
from tests.pipeline.same_artifacts import assert_same
from tests.pipeline.shop import RUN_DATE, make_shop, only_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

NODES = ("HiveLogExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "DataVerdict")
NODES += ("Transform", "Trainer", "Evaluator")
# With --update_compatibility_version DirectRunner takes its own engine; without it, it would first download another.
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
        assert main.main([*words, *begin]) == 0
        pipeline = Path(compiled.read_text())
        if model is not None:
            given_model.give(pipeline, model)
        for node in NODES:
            assert main.main([*words, "--node", node, "--pipeline", str(pipeline)]) == 0, _log(config)
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
    words = ["--runner=hivemill.pipeline.orchestrators.beam.worker_processes.WorkerProcesses", "--direct_num_workers=2"]
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
