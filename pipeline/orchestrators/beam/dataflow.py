"""What a node leaves on Google Cloud Dataflow when it is stopped: no job that works for nobody."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from hivemill.pipeline.config.worker_rules import is_dataflow


@contextlib.contextmanager
def jobs_end_with_the_node(beam_args: Sequence[str]) -> Iterator[None]:
    """Where Beam options name Dataflow: a job that was submitted inside, and is not waited for any more because an
    error ends the node (SIGTERM raises one), is cancelled. Beam leaves it running, and paid, until it ends by itself.

    A job that cannot be cancelled is named in the log; the error that ends the node is raised in any case.
    """
    if not is_dataflow(beam_args):
        yield
        return
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner

    submitted: list[Any] = []
    run_pipeline = DataflowRunner.run_pipeline

    def noted(*arguments: Any, **options: Any) -> Any:
        submitted.append(run_pipeline(*arguments, **options))
        return submitted[-1]

    DataflowRunner.run_pipeline = noted  # each executor makes its runner by name, so only the class can be changed
    try:
        yield
    except BaseException:
        for result in submitted:
            _cancel(result)
        raise
    finally:
        DataflowRunner.run_pipeline = run_pipeline


def _cancel(result: Any) -> None:
    if result.is_in_terminal_state():
        return
    try:
        result.cancel()
        logging.warning("Dataflow job %s is cancelled, for its node ends.", result.job_id())
    except Exception as error:
        logging.error("Dataflow job %s goes on: it could not be cancelled (%s).", result.job_id(), error)
