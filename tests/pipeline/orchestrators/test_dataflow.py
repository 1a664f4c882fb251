"""`hivemill run` with Beam's DataflowRunner, root and table in Cloud Storage, metadata on MariaDB.

What is submitted is Beam's own; what takes it (google_services) is on this machine. The job is looked at, and then run
as it was submitted by Beam's own engine: its steps are unpickled in workers of a pool, which stands for the container,
and all that these and the nodes have in common is the bucket.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from apache_beam.portability.api import beam_runner_api_pb2

from hivemill.pipeline.metadata.options import PASSWORD_VARIABLE
from tests.pipeline import mariadb, same_artifacts
from tests.pipeline.orchestrators import beam_engines, google_services
from tests.pipeline.orchestrators.google_services import BUCKET, PROJECT, REGION
from tests.pipeline.shop import CONFIG, RUN_DATE, hivemill_command, make_shop

HERE = Path(__file__).parent
ROOT = f"gs://{BUCKET}/hivemill"
IMAGE = "europe-west1-docker.pkg.dev/a-project/images/hivemill-dataflow:1"
ACCOUNT = "workers@a-project.iam.gserviceaccount.com"
NODES = ["HiveLogExampleGen", "StatisticsGen", "Transform", "Evaluator"]
STEPS = {
    "HiveLogExampleGen": ["ConvertPartitions/Spread", "ConvertPartitions/Convert"],
    "StatisticsGen": ["GenerateStatistics[train]/RunStatsGenerators", "WriteStatsOutput[eval]/WriteStats"],
    "Transform": ["Analyze/CacheableCombineMerge[quantiles]", "EncodeAndWrite[TransformIndex0]/WriteToTFRecord"],
    "Evaluator": ["ReadEvalSplit/RawRecordBeamSource", "Evaluate/ExtractAndEvaluate", "Evaluate/WriteResults"],
}
PAGE = (HERE.parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")
(BLOCK,) = [block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "--runner=DataflowRunner" in block]
BEAM_ARGS = [each.replace("a-bucket", BUCKET) for each in yaml.safe_load(BLOCK)["runner"]["beam_args"]]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@dataclasses.dataclass
class Ran:
    """A finished run, by where its artifacts are."""

    artifacts: Path

    def place(self, node: str, output: str) -> Path:
        (folder,) = (self.artifacts / node / output).iterdir()
        return folder


@dataclasses.dataclass
class Stopped:
    """What a run that got SIGTERM while its first job ran has left."""

    exit_code: int
    seconds: float
    states: list[str]
    said: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dataflow")
    make_shop(folder, rows_per_day=600)
    return folder


@pytest.fixture(scope="module")
def google(folder) -> Iterator[google_services.Google]:
    """With the table in its bucket. Its jobs run until they are cancelled."""
    google = google_services.Google(folder, lambda _: "JOB_STATE_RUNNING")
    for file in (folder / "log" / "clicks").rglob("*"):
        if file.is_file():
            google.objects[file.relative_to(folder / "log").as_posix()] = file.read_bytes()
    with google_services.serving(google), _environment(google.environment()):
        yield google


@pytest.fixture(scope="module")
def config(folder, google) -> Iterator[Path]:
    (folder / "mariadb").mkdir()
    database = mariadb.server(folder / "mariadb")
    document = {
        **CONFIG,
        "root": ROOT,
        "source": {**CONFIG["source"], "table": f"gs://{BUCKET}/clicks"},
        "metadata": {"backend": "mysql", "host": "127.0.0.1", "port": database.port, "user": "hivemill"},
        "runner": {"beam_args": [*BEAM_ARGS, f"--dataflow_endpoint=http://localhost:{google.port}"]},
    }
    file = folder / "dataflow.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")  # features have an order
    with _environment({PASSWORD_VARIABLE: mariadb.PASSWORD}):
        yield file
    database.kill()


@pytest.fixture(scope="module")
def stopped(google, config) -> Stopped:
    process = _start(config)
    deadline = time.monotonic() + 120
    while not any("currentState" in job for job in google.jobs):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.terminate()
    started = time.monotonic()
    _, said = process.communicate(timeout=60)
    seconds = time.monotonic() - started
    states = [job["currentState"] for job in google.jobs]
    google.jobs.clear()
    return Stopped(process.returncode, seconds, states, said)


@pytest.fixture(scope="module")
def ran(folder, google, config, stopped) -> Ran:
    """The same run again, by a service that runs its jobs to the end."""
    with beam_engines.worker_pool(folder / "pool.log") as pool:
        google.run_job = lambda job: _executed(job, google, pool, folder)
        process = _start(config)
        _, said = process.communicate(timeout=900)
    logs = "".join(_end_of(folder / name) for name in ("jobs.log", "pool.log")) + "\n".join(google.errors[-10:])
    assert process.returncode == 0, said[-6000:] + logs
    for name, content in google.objects.items():
        if not name.endswith("/"):
            file = folder / BUCKET / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    return Ran(folder / BUCKET / "hivemill" / "artifacts")


@pytest.fixture(scope="module")
def in_a_folder(folder) -> Ran:
    """The same by the default runner, table and root in folders."""
    _, said = (process := _start(folder / "hivemill.yaml")).communicate(timeout=900)
    assert process.returncode == 0, said[-6000:]
    return Ran(folder / "root" / "artifacts")


def _start(config: Path) -> subprocess.Popen:
    command = hivemill_command(config, "run", "--date", RUN_DATE)
    environment = {**os.environ, "PYTHONPATH": str(beam_engines.REPOSITORY)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


def _executed(job: dict[str, Any], google: google_services.Google, pool: str, folder: Path) -> str:
    proto = folder / f"{job['id']}.pb"
    proto.write_bytes(_staged_pipeline(job, google))
    with open(folder / "jobs.log", "ab") as log:
        command = [sys.executable, str(HERE / "dataflow_job.py"), str(proto), pool]
        done = subprocess.run(command, stdout=log, stderr=log, timeout=600)
    return "JOB_STATE_DONE" if done.returncode == 0 else "JOB_STATE_FAILED"


def _staged_pipeline(job: dict[str, Any], google: google_services.Google) -> bytes:
    url = job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]
    return google.objects[url.removeprefix(f"gs://{BUCKET}/")]


def _end_of(file: Path) -> str:
    return f"\n{file.name}:\n{file.read_text(errors='replace')[-4000:]}" if file.exists() else ""


@pytest.fixture
def jobs(ran, google) -> dict[str, dict[str, Any]]:
    """By node, in the order in which they came."""
    assert len(google.jobs) == len(NODES)
    return dict(zip(NODES, google.jobs, strict=True))


def test_a_stopped_run_cancels_its_job(stopped):
    assert stopped.exit_code == 6, stopped.said
    assert stopped.states == ["JOB_STATE_CANCELLED"]
    assert "stopped by SIGTERM" in stopped.said
    assert stopped.seconds < 10


def test_nothing_but_the_fake_was_asked(ran, google):
    assert google.refused == []
    (log,) = (ran.artifacts.parent / "runs").glob("*/log.txt")
    said = log.read_text(errors="replace")
    assert "Unable to find default credentials" not in said
    assert "unparseable" not in said


def test_the_model_is_in_the_store(ran):
    (model,) = (ran.artifacts.parent / "models" / "shop").glob("*/saved_model.pb")
    labels = json.loads((ran.artifacts.parent / "models" / "shop" / "labels.json").read_text())
    assert labels["labels"] == {"stable": int(model.parent.name)}


@pytest.mark.parametrize("node", NODES)
def test_what_is_submitted(jobs, node):
    job = jobs[node]
    assert job["path"] == f"/v1b3/projects/{PROJECT}/locations/{REGION}/jobs"
    environment = job["environment"]
    assert environment["serviceAccountEmail"] == ACCOUNT
    assert environment["userAgent"]["name"] == "Apache Beam Python {}.{} SDK".format(*sys.version_info)
    assert "use_runner_v2" in environment["experiments"]
    (workers,) = environment["workerPools"]
    assert workers["workerHarnessContainerImage"] == IMAGE
    assert [each["containerImage"] for each in workers["sdkHarnessContainerImages"]] == [IMAGE]
    assert workers["machineType"] == "n2-standard-4"
    assert workers["autoscalingSettings"]["maxNumWorkers"] == 8
    assert workers["ipConfiguration"] == 2  # WORKER_IP_PRIVATE
    # Where the environment has pip, Beam adds its list of packages, which no worker installs.
    names = {one["name"] for one in workers.get("packages", ())}
    assert names <= {"submission_environment_dependencies.txt"}
    assert environment["tempStoragePrefix"].startswith(f"storage.googleapis.com/{BUCKET}/beam/")


@pytest.mark.parametrize("node", NODES)
def test_the_steps_of_the_node_are_in_the_pipeline(jobs, google, node):
    pipeline = beam_runner_api_pb2.Pipeline.FromString(_staged_pipeline(jobs[node], google))
    names = {each.unique_name for each in pipeline.components.transforms.values()}
    assert [step for step in STEPS[node] if step not in names] == []
    environments = pipeline.components.environments.values()
    images = {beam_runner_api_pb2.DockerPayload.FromString(each.payload).container_image for each in environments}
    assert images == {IMAGE}


def test_the_jobs_made_the_artifacts_of_a_root_in_a_folder(ran, in_a_folder):
    same_artifacts.assert_same_data(ran, in_a_folder)


def test_the_evaluator_judged_all_rows(ran, in_a_folder):
    """The models differ, for the order of the rows that they are trained on is an engine's own."""
    verdicts = [
        json.loads((each.place("Evaluator", "verdict") / "verdict.json").read_text()) for each in (ran, in_a_folder)
    ]
    counts = [[part["metrics"]["example_count"] for part in verdict["slices"]] for verdict in verdicts]
    assert counts[0] == counts[1]
    assert [verdict["problem"] for verdict in verdicts] == [None, None]
    assert verdicts[0]["slices"][0]["metrics"]["auc"] > 0.5
    blessing = ran.place("Evaluator", "blessing")
    assert [file.name for file in blessing.iterdir()] == ["BLESSED" if verdicts[0]["blessed"] else "NOT_BLESSED"]
