"""A node that is stopped leaves no job on Dataflow behind."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import types

import apache_beam as beam
import pytest
from apache_beam.internal.gcp import auth
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.dataflow import dataflow_runner

from hivemill.common.errors import InfrastructureError
from hivemill.pipeline.orchestrators.beam.dataflow import jobs_end_with_the_node
from hivemill.pipeline.runs.sigterm import stopped_by_sigterm
from tests.pipeline.orchestrators import google_services
from tests.pipeline.orchestrators.google_services import BUCKET, PROJECT, REGION


@pytest.fixture
def google(tmp_path, monkeypatch):
    """A service whose jobs run until they are cancelled."""
    for name in ("_credentials", "_credentials_init"):  # of the process, once found
        monkeypatch.setattr(auth._Credentials, name, None)
    quick = types.SimpleNamespace(sleep=lambda _: time.sleep(0.05), time=time.time)
    monkeypatch.setattr(dataflow_runner, "time", quick)  # Beam asks every 5 s
    google = google_services.Google(tmp_path, lambda _: "JOB_STATE_RUNNING")
    with google_services.serving(google):
        for name, value in google.environment().items():
            monkeypatch.setenv(name, value)
        yield google


def beam_args(google) -> list[str]:
    return [
        "--runner=DataflowRunner",
        f"--project={PROJECT}",
        f"--region={REGION}",
        f"--temp_location=gs://{BUCKET}/beam",
        "--sdk_container_image=host/image:1",
        f"--dataflow_endpoint=http://localhost:{google.port}",
    ]


def wait_for_job(google) -> None:
    with beam.Pipeline(options=PipelineOptions(beam_args(google))) as pipeline:
        _ = pipeline | beam.Create([1]) | beam.Map(str)


def no_thread_polls() -> bool:
    polling = (thread for thread in threading.enumerate() if "poll_for_job_completion" in thread.name)
    for thread in polling:
        thread.join(10)
    return not any("poll_for_job_completion" in thread.name for thread in threading.enumerate())


def sigterm_when_submitted(google) -> None:
    while not google.jobs or "currentState" not in google.jobs[0]:
        time.sleep(0.01)
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_cancels_the_job(google, caplog):
    threading.Thread(target=sigterm_when_submitted, args=(google,), daemon=True).start()
    started = time.monotonic()
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(InfrastructureError, match="stopped by SIGTERM"),
        stopped_by_sigterm(),
        jobs_end_with_the_node(beam_args(google)),
    ):
        wait_for_job(google)
    assert [job["currentState"] for job in google.jobs] == ["JOB_STATE_CANCELLED"]
    assert "Dataflow job job-1 is cancelled" in caplog.text
    assert time.monotonic() - started < 8
    assert no_thread_polls()


def test_a_job_that_failed_is_not_cancelled(google):
    google.run_job = lambda _: "JOB_STATE_FAILED"
    with pytest.raises(dataflow_runner.DataflowRuntimeException), jobs_end_with_the_node(beam_args(google)):
        wait_for_job(google)
    assert [job["currentState"] for job in google.jobs] == ["JOB_STATE_FAILED"]


def test_a_job_that_cannot_be_cancelled_hides_no_error(google, caplog, monkeypatch):
    def refuse(*_):
        raise PermissionError("no right to update jobs")

    threading.Thread(target=sigterm_when_submitted, args=(google,), daemon=True).start()
    with (
        pytest.raises(InfrastructureError, match="stopped by SIGTERM"),
        stopped_by_sigterm(),
        jobs_end_with_the_node(beam_args(google)),
    ):
        monkeypatch.setattr(dataflow_runner.DataflowPipelineResult, "cancel", refuse)
        wait_for_job(google)
    assert "Dataflow job job-1 goes on: it could not be cancelled (no right to update jobs)" in caplog.text
    google.jobs[0]["currentState"] = "JOB_STATE_CANCELLED"  # so that Beam's thread ends
    assert no_thread_polls()


def test_other_runners_are_left_alone():
    untouched = dataflow_runner.DataflowRunner.run_pipeline
    with jobs_end_with_the_node(["--runner=FnApiRunner"]):
        assert dataflow_runner.DataflowRunner.run_pipeline is untouched
    with jobs_end_with_the_node(["--runner=DataflowRunner"]):
        assert dataflow_runner.DataflowRunner.run_pipeline is not untouched
    assert dataflow_runner.DataflowRunner.run_pipeline is untouched
