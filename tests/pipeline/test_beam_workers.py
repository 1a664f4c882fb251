"""Beam's steps in an external worker pool, with the pool's own Python: `python -m pipeline.runners.worker_pool`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

pytestmark = pytest.mark.slow

_REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def pool() -> Iterator[list[str]]:
    """Beam options that use a pool whose PATH has no `python`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pipeline.runners.worker_pool", f"--service_port={port}"]
    environment = {**os.environ, "PYTHONPATH": f"{_REPOSITORY}:{Path(__file__).parent}", "PATH": "/nowhere"}
    process = subprocess.Popen(command, cwd=_REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == f"worker pool at localhost:{port}\n"
        yield [
            *("--runner=PortableRunner", "--job_endpoint=embed"),
            *("--environment_type=EXTERNAL", f"--environment_config=localhost:{port}"),
        ]
    finally:
        process.terminate()
        assert process.wait(30) == 0


def _where_this_runs(_: int) -> str:
    import os
    import sys

    return json.dumps([sys.executable, os.getpid(), "tfx_bsl.arrow.sql_util" in sys.modules])


def test_a_worker_is_a_prepared_process_of_the_same_python(tmp_path, pool):
    with beam.Pipeline(options=PipelineOptions(pool)) as pipeline:
        found = pipeline | beam.Create([1]) | beam.Map(_where_this_runs)
        _ = found | beam.Map((tmp_path / "found").write_text)
    python, process, prepared = json.loads((tmp_path / "found").read_text())
    assert (python, prepared) == (sys.executable, True)
    assert process != os.getpid()


def test_statistics(tmp_path, pool):
    """What StatisticsGen does with its examples: data-validation in the workers."""
    import tensorflow_data_validation as tfdv
    from tensorflow_metadata.proto.v0 import statistics_pb2

    batches = [pa.RecordBatch.from_pydict({"id": [[start], [start + 1]]}) for start in (0, 2)]
    with beam.Pipeline(options=PipelineOptions(pool)) as pipeline:
        found = pipeline | beam.Create(batches) | beam.Reshuffle() | tfdv.GenerateStatistics(tfdv.StatsOptions())
        _ = found | beam.Map(lambda each: each.SerializeToString()) | beam.Map((tmp_path / "found").write_bytes)
    statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString((tmp_path / "found").read_bytes())
    means = {each.path.step[0]: each.num_stats.mean for each in statistics.datasets[0].features}
    assert means == {"id": 1.5}
