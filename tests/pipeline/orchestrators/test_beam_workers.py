"""Beam's steps in prepared worker processes: of an external pool, and of the runner that starts its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from tests.pipeline.orchestrators.beam_engines import REPOSITORY, worker_pool

pytestmark = pytest.mark.slow


@pytest.fixture(params=["pool", "processes"])
def workers(request, tmp_path, monkeypatch) -> Iterator[list[str]]:
    """Beam options that use workers whose PATH has no `python`."""
    if request.param == "processes":
        monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}:{Path(__file__).parent}")
        monkeypatch.setenv("PATH", "/nowhere")
        yield [
            "--runner=hivemill.pipeline.orchestrators.beam.worker_processes.WorkerProcesses",
            "--direct_num_workers=2",
        ]
        return
    with worker_pool(tmp_path / "log") as address:
        yield [
            *("--runner=PortableRunner", "--job_endpoint=embed"),
            *("--environment_type=EXTERNAL", f"--environment_config={address}"),
        ]


def _where_this_runs(_: int) -> str:
    import os
    import sys

    return json.dumps([sys.executable, os.getpid(), "tfx_bsl.arrow.sql_util" in sys.modules])


def test_a_worker_is_a_prepared_process_of_the_same_python(tmp_path, workers):
    with beam.Pipeline(options=PipelineOptions(workers)) as pipeline:
        found = pipeline | beam.Create([1]) | beam.Map(_where_this_runs)
        _ = found | beam.Map((tmp_path / "found").write_text)
    python, process, prepared = json.loads((tmp_path / "found").read_text())
    assert (python, prepared) == (sys.executable, True)
    assert process != os.getpid()


def test_statistics(tmp_path, workers):
    """What StatisticsGen does with its examples: data-validation in the workers."""
    import tensorflow_data_validation as tfdv
    from tensorflow_metadata.proto.v0 import statistics_pb2

    batches = [pa.RecordBatch.from_pydict({"id": [[start], [start + 1]]}) for start in (0, 2)]
    with beam.Pipeline(options=PipelineOptions(workers)) as pipeline:
        found = pipeline | beam.Create(batches) | beam.Reshuffle() | tfdv.GenerateStatistics(tfdv.StatsOptions())
        _ = found | beam.Map(lambda each: each.SerializeToString()) | beam.Map((tmp_path / "found").write_bytes)
    statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString((tmp_path / "found").read_bytes())
    means = {each.path.step[0]: each.num_stats.mean for each in statistics.datasets[0].features}
    assert means == {"id": 1.5}
