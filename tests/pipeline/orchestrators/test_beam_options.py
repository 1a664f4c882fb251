"""The Beam options of docs/clusters.md, up to submission: Beam knows each, finds no fault, and submits what they say.

Where Beam would start a job server, its `java` is a script that notes its words, and the job server is one of the
test's own, which takes a pipeline and refuses to run it. Google's services are played by google_services.
"""

from __future__ import annotations

import importlib
import logging
import re
import time
from concurrent import futures
from pathlib import Path
from typing import Any

import apache_beam as beam
import grpc
import pytest
import yaml
from apache_beam.internal.gcp import auth
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions, PortableOptions, StandardOptions
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc, beam_runner_api_pb2
from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException
from google.protobuf import json_format

from tests.pipeline.orchestrators import google_services

PAGE = Path(__file__).parents[3] / "docs" / "clusters.md"
BLOCKS = [
    yaml.safe_load(block)["runner"]["beam_args"]
    for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
]
FLINK = next(block for block in BLOCKS if "--runner=FlinkRunner" in block)
DATAFLOW = next(block for block in BLOCKS if "--runner=DataflowRunner" in block)
SPARK = next(block for block in BLOCKS if "--runner=SparkRunner" in block)
FLINK_SERVER = next(block for block in BLOCKS if "--job_endpoint=localhost:8099" in block)
POOL = "localhost:50000"


class Refusing(beam_job_api_pb2_grpc.JobServiceServicer):
    """Keeps the pipeline and the options that are submitted, and says no."""

    def __init__(self) -> None:
        self.taken: list[beam_job_api_pb2.PrepareJobRequest] = []

    def DescribePipelineOptions(self, request: Any, context: grpc.ServicerContext) -> Any:
        return beam_job_api_pb2.DescribePipelineOptionsResponse()

    def Prepare(self, request: beam_job_api_pb2.PrepareJobRequest, context: grpc.ServicerContext) -> Any:
        self.taken.append(request)
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "taken, and not run")


@pytest.fixture
def job_server():
    servicer, server = Refusing(), grpc.server(futures.ThreadPoolExecutor(4))
    beam_job_api_pb2_grpc.add_JobServiceServicer_to_server(servicer, server)
    servicer.port = server.add_insecure_port("localhost:0")
    server.start()
    yield servicer
    server.stop(0)


@pytest.fixture
def java(tmp_path) -> Path:
    """A launcher that notes its words beside it, and stays until it is ended."""
    script = tmp_path / "java"
    script.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$0.part"\nmv "$0.part" "$0.words"\nexec sleep 60\n')
    script.chmod(0o755)
    return script


def words_of(java: Path) -> list[str]:
    noted, deadline = Path(f"{java}.words"), time.monotonic() + 30
    while not noted.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return noted.read_text().splitlines()


def submit(arguments: list[str]) -> None:
    pipeline = beam.Pipeline(options=PipelineOptions(arguments))
    _ = pipeline | beam.Create([1]) | beam.Map(str)
    with pytest.raises(grpc.RpcError, match="taken, and not run"):
        pipeline.run()


def check_submitted(job_server: Refusing, **wanted: Any) -> None:
    """One pipeline, whose Python steps run in the pool, with these options."""
    (taken,) = job_server.taken
    external = "beam:env:external:v1"
    (environment,) = [each for each in taken.pipeline.components.environments.values() if each.urn == external]
    assert beam_runner_api_pb2.ExternalPayload.FromString(environment.payload).endpoint.url == POOL
    options = json_format.MessageToDict(taken.pipeline_options)
    assert {key: options[f"beam:option:{key}:v1"] for key in wanted} == wanted


def _unknown(caplog, arguments: list[str]) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        PipelineOptions(arguments).get_all_options()
    return [record.getMessage() for record in caplog.records if "unparseable" in record.getMessage()]


@pytest.mark.parametrize("arguments", BLOCKS, ids=lambda block: block[0].partition("=")[2] + block[1].partition("=")[2])
def test_beam_takes_the_options_of_the_page(caplog, arguments):
    assert _unknown(caplog, arguments) == []
    options = PipelineOptions(arguments)
    assert PipelineOptionsValidator(options, None).validate() == []
    runner = options.view_as(StandardOptions).runner
    if "." in runner:
        module, _, name = runner.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))
    else:
        assert runner in StandardOptions.KNOWN_RUNNER_NAMES
    if runner in ("PortableRunner", "FlinkRunner", "SparkRunner"):
        assert options.view_as(PortableOptions).environment_config == POOL


def test_submission_to_a_job_server_that_runs(job_server):
    submit([each.replace("8099", str(job_server.port)) for each in FLINK_SERVER])
    check_submitted(job_server, parallelism="2")


@pytest.mark.parametrize(
    ("arguments", "words", "wanted"),
    [
        (FLINK, ["--flink-master", "http://flink-jobmanager:8081"], {"parallelism": "8"}),
        (SPARK, ["--spark-master-url", "spark://spark-master:7077"], {"spark_master_url": "spark://spark-master:7077"}),
    ],
    ids=["Flink", "Spark"],
)
def test_submission_where_beam_starts_the_job_server(tmp_path, job_server, java, arguments, words, wanted):
    jar = tmp_path / "job-server.jar"
    jar.touch()
    here = [re.sub(r"(?<=_job_server_jar=).*", str(jar), each) for each in arguments]
    submit([*here, f"--job_server_java_launcher={java}", f"--job_port={job_server.port}"])
    check_submitted(job_server, **wanted)
    said = words_of(java)
    start = said.index("-jar")
    assert said[start + 1 : start + 4] == [str(jar), *words]
    assert said[said.index("--job-port") + 1] == str(job_server.port)


def test_submission_to_dataflow(tmp_path, monkeypatch):
    """A job that the service ends at once; what the four nodes submit, and that it runs, is test_dataflow's."""
    for name in ("_credentials", "_credentials_init"):  # of the process, once found
        monkeypatch.setattr(auth._Credentials, name, None)
    google = google_services.Google(tmp_path, lambda _: "JOB_STATE_FAILED")
    with google_services.serving(google):
        for name, value in google.environment().items():
            monkeypatch.setenv(name, value)
        here = [each.replace("gs://a-bucket", f"gs://{google_services.BUCKET}") for each in DATAFLOW]
        options = PipelineOptions([*here, f"--dataflow_endpoint=http://localhost:{google.port}"])
        pipeline = beam.Pipeline(options=options)
        _ = pipeline | beam.Create([1]) | beam.Map(str)
        with pytest.raises(DataflowRuntimeException, match=r"Dataflow pipeline failed\. State: FAILED"):
            pipeline.run().wait_until_finish()
    (job,) = google.jobs
    assert job["path"] == "/v1b3/projects/a-project/locations/europe-west1/jobs"
    (workers,) = job["environment"]["workerPools"]
    assert f"--sdk_container_image={workers['workerHarnessContainerImage']}" in DATAFLOW
    # Where the environment has pip, Beam also leaves its list of packages, which no worker reads.
    staged = {name.rpartition("/")[2] for name in google.objects} - {"submission_environment_dependencies.txt"}
    assert staged == {"pipeline.pb"}
    assert google.refused == []


def test_an_option_that_beam_does_not_know_is_seen(caplog):
    assert "--flink_mastr" in "".join(_unknown(caplog, [*FLINK, "--flink_mastr=x"]))


def test_an_environment_without_its_address_is_seen():
    arguments = [each for each in FLINK if "environment_config" not in each]
    options = PipelineOptions([*arguments, "--environment_option=process_command=x"])
    assert PipelineOptionsValidator(options, None).validate() != []
    assert options.view_as(FlinkRunnerOptions).flink_master == "flink-jobmanager:8081"
