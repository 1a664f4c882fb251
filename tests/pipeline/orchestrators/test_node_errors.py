"""Errors of a node keep their meaning on every way they can take to the command line."""

import traceback

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException
from google.api_core import exceptions
from google.auth.exceptions import DefaultCredentialsError

from hivemill.common.errors import DataNotReadyError, InfrastructureError
from hivemill.pipeline.orchestrators.node_launcher import translated


class _Refuse(beam.DoFn):
    def process(self, element):
        raise DataNotReadyError("part-0: row 7, column `price`: 'abc' is not a double", hint="Mend the row.")


def _error_through_beam() -> BaseException:
    with pytest.raises(Exception) as caught, beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as p:
        _ = p | beam.Create([1]) | beam.ParDo(_Refuse())
    return caught.value


def test_error_raised_in_a_beam_worker_comes_back_whole():
    found = translated(_error_through_beam())
    assert type(found) is DataNotReadyError
    assert found.message == "part-0: row 7, column `price`: 'abc' is not a double"
    assert found.hint == "Mend the row."


def test_error_that_came_as_text_from_another_process_comes_back_whole():
    text = "".join(traceback.format_exception(_error_through_beam()))
    found = translated(RuntimeError("Pipeline failed in state FAILED: " + text))
    assert (type(found), found.message, found.hint) == (
        DataNotReadyError,
        "part-0: row 7, column `price`: 'abc' is not a double",
        "Mend the row.",
    )


def test_error_in_the_chain_is_found():
    try:
        try:
            raise DataNotReadyError("dt=2026-11-15 is empty")
        except DataNotReadyError as cause:
            raise RuntimeError("executor failed") from cause
    except RuntimeError as error:
        assert translated(error).message == "dt=2026-11-15 is empty"


@pytest.mark.parametrize("number", [28, 30, 13])
def test_disk_errors_are_infrastructure(number):
    found = translated(OSError(number, "No space left on device", "/data/x"))
    assert isinstance(found, InfrastructureError)
    assert "/data/x" in found.message


def test_full_disk_in_beams_text_is_infrastructure():
    assert isinstance(translated(RuntimeError("OSError: [Errno 28] No space left on device")), InfrastructureError)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.Forbidden("POST https://dataflow.googleapis.com/v1b3/projects/p: the caller has no permission"),
        DefaultCredentialsError("Your default credentials were not found."),
        DataflowRuntimeException("Dataflow pipeline failed. State: FAILED, Error:\nQuota exceeded", None),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_google_cloud_are_infrastructure(error):
    found = translated(error)
    assert isinstance(found, InfrastructureError)
    assert found.message == " ".join(str(error).split())
    assert "runner.beam_args" in found.hint


def test_error_of_a_worker_on_dataflow_comes_back_whole():
    text = "".join(traceback.format_exception(_error_through_beam()))
    found = translated(DataflowRuntimeException(f"Dataflow pipeline failed. State: FAILED, Error:\n{text}", None))
    assert (type(found), found.hint) == (DataNotReadyError, "Mend the row.")


def test_what_is_ours_stays_what_it_is():
    error = ZeroDivisionError("x")
    assert translated(error) is error


def test_errors_that_are_chained_in_a_circle_end():
    """As `raise error from error` does; once this held a run for ever."""
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__cause__, second.__cause__ = second, first
    assert translated(first) is first
    second.__context__ = second.__cause__ = InfrastructureError("the disk is full")
    assert translated(first).message == "the disk is full"
