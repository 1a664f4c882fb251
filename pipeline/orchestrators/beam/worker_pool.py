"""Beam's external worker pool with this Python in its workers.

    python -m hivemill.pipeline.orchestrators.beam.worker_pool --service_port=50000

Beam's own (`apache_beam.runners.worker.worker_pool_main`) starts `python` from PATH, which may be another one, and
data-validation 1.16.1 does not load in it. This one starts the interpreter that it runs in, prepared for TensorFlow;
the protocol and the handling of its processes are Beam's. It fetches no staged files: its Python has the package.
Its answers carry its versions (pipeline.doctor.worker_python), which Beam's own does not tell.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import FrameType

import grpc
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.worker import worker_pool_main

from hivemill.common import runtime
from hivemill.pipeline.doctor.worker_python import versions_as_metadata

_WORKER = "import sys; from hivemill.pipeline.orchestrators.beam.worker_pool import work; work(*sys.argv[1:])"


class WorkerPool(worker_pool_main.BeamFnExternalWorkerPoolServicer):
    """One process per worker that a runner asks for; what they print goes where the pool prints."""

    def StartWorker(
        self, start_worker_request: beam_fn_api_pb2.StartWorkerRequest, unused_context: object
    ) -> beam_fn_api_pb2.StartWorkerResponse:
        request = start_worker_request
        command = [sys.executable, "-c", _WORKER, request.control_endpoint.url, request.worker_id]
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        except OSError as error:
            return beam_fn_api_pb2.StartWorkerResponse(error=f"{sys.executable} does not start: {error}")
        self._worker_processes[request.worker_id] = process
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(
        self, stop_worker_request: beam_fn_api_pb2.StopWorkerRequest, context: grpc.ServicerContext
    ) -> beam_fn_api_pb2.StopWorkerResponse:
        context.set_trailing_metadata(versions_as_metadata())
        return super().StopWorker(stop_worker_request, context)


def work(control_endpoint: str, worker_id: str) -> None:
    """A worker's whole life: until the runner at `control_endpoint` (host:port) closes its connection."""
    runtime.prepare_tensorflow()
    from apache_beam.runners.worker.sdk_worker import SdkHarness

    SdkHarness(control_endpoint, worker_id=worker_id).run()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM or SIGINT, then ends its workers."""
    parser = argparse.ArgumentParser(
        prog="python -m hivemill.pipeline.orchestrators.beam.worker_pool", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--service_port", type=int, required=True, help="it listens on all interfaces")
    port = parser.parse_args(arguments).service_port
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    address, server = WorkerPool.start(use_process=True, port=port)
    print(f"worker pool at {address}", flush=True)
    print(
        f"Warning: no authentication. It listens at port {port} of all interfaces, and whoever reaches it can run code "
        "here. Let only the runners reach it (firewall, network policy).",
        file=sys.stderr,
        flush=True,
    )
    stopped.wait()
    server.stop(0)  # the workers end with Beam's own atexit handler


if __name__ == "__main__":
    main()
