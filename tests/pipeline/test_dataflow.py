"""Every Beam node of the DAG by Beam's DataflowRunner, its root and its table in Cloud Storage.

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import beam_engines
import google_services
import pytest
import same_artifacts
import yaml
from apache_beam.portability.api import beam_runner_api_pb2
from google_services import BUCKET, PROJECT, REGION
from shop import CONFIG, RUN_DATE, make_shop

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
PAGE = (HERE.parents[1] / "docs" / "clusters.md").read_text(encoding="utf-8")
(BLOCK,) = [block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "--runner=DataflowRunner" in block]
BEAM_ARGS = [each.replace("a-bucket", BUCKET) for each in yaml.safe_load(BLOCK)["runner"]["beam_args"]]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@dataclasses.dataclass
class Ran:
    """A DAG that was executed by hand below `artifacts`."""

    artifacts: Path
    log: str

    def place(self, node: str, output: str) -> Path:
        (folder,) = (self.artifacts / node / output).iterdir()
        return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dataflow")
    make_shop(folder, rows_per_day=600)
    return folder


@pytest.fixture(scope="module")
def google(folder) -> Iterator[google_services.Google]:
    """After the DAG was executed with it."""
    google = google_services.Google(folder, lambda job: _executed(job, google, pool, folder))
    with contextlib.ExitStack() as stack:
        stack.enter_context(google_services.serving(google))
        stack.enter_context(_environment(google.environment()))
        pool = stack.enter_context(beam_engines.worker_pool(folder / "pool.log"))
        yield google


@pytest.fixture(scope="module")
def ran(folder, google) -> Ran:
    for file in (folder / "log" / "clicks").rglob("*"):
        if file.is_file():
            google.objects[file.relative_to(folder / "log").as_posix()] = file.read_bytes()
    log = _dag_executed(
        folder / "dataflow.yaml",
        root=ROOT,
        source={**CONFIG["source"], "table": f"gs://{BUCKET}/clicks"},
        metadata={"backend": "mysql", "host": "nobody.asks", "user": "hivemill"},
        runner={"beam_args": [*BEAM_ARGS, f"--dataflow_endpoint=http://localhost:{google.port}"]},
    )
    for name, content in google.objects.items():
        file = folder / BUCKET / name
        if not name.endswith("/"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    return Ran(folder / BUCKET / "hivemill" / "artifacts", log)


@pytest.fixture(scope="module")
def in_a_folder(folder) -> Ran:
    """The same by the default runner, table and root in folders."""
    return Ran(folder / "root" / "artifacts", _dag_executed(folder / "local.yaml"))


def _dag_executed(config: Path, **sections: Any) -> str:
    config.write_text(yaml.safe_dump({**CONFIG, **sections}), encoding="utf-8")
    command = [sys.executable, str(HERE / "dag_by_hand.py"), str(config), RUN_DATE]
    environment = {**os.environ, "PYTHONPATH": str(beam_engines.REPOSITORY)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    logs = "".join(_end_of(config.parent / name) for name in ("jobs.log", "pool.log"))
    assert done.returncode == 0, done.stderr[-6000:] + logs
    return done.stderr


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


def test_nothing_but_the_fake_was_asked(ran, google):
    assert google.refused == []
    assert "Unable to find default credentials" not in ran.log
    assert "unparseable" not in ran.log


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
    assert "packages" not in workers
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
