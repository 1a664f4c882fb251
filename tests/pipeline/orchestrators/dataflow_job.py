"""What stands for Dataflow's service: executes a submitted job with Beam's own engine, and workers of a pool.

    python dataflow_job.py PIPELINE_PROTO HOST:PORT

Each container of the job becomes a worker of the pool at HOST:PORT; nothing else of the job is changed. It imports Beam
alone: the steps' code is unpickled in the workers.
"""

from __future__ import annotations

import sys
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2, endpoints_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner


def main(proto: str, pool: str) -> None:
    pipeline = beam_runner_api_pb2.Pipeline.FromString(Path(proto).read_bytes())
    address = beam_runner_api_pb2.ExternalPayload(endpoint=endpoints_pb2.ApiServiceDescriptor(url=pool))
    for environment in pipeline.components.environments.values():
        assert environment.urn == common_urns.environments.DOCKER.urn, environment.urn
        environment.urn = common_urns.environments.EXTERNAL.urn
        environment.payload = address.SerializeToString()
        del environment.dependencies[:]
    fn_runner.FnApiRunner().run_via_runner_api(pipeline, PipelineOptions([])).wait_until_finish()


if __name__ == "__main__":
    main(*sys.argv[1:])
