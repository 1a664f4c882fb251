"""Which Python a worker pool starts. A wrong one leaves the client waiting without an end.

A pool is asked to stop a worker that it does not have, which does nothing. Hivemill's own adds its versions to the
answer; Beam's answers without them, and starts `python` from PATH.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata

_ASK = (
    "import json, platform, importlib.metadata as m; import apache_beam; "
    "print(json.dumps([platform.python_version(), m.version('apache-beam')]))"
)
_SECONDS = 60
_SECONDS_TO_ANSWER = 5
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_KEYS = ("hivemill-python", "hivemill-beam")
_NO_WORKER = "hivemill doctor asks"


def pool_address(beam_args: Sequence[str]) -> str | None:
    """host:port of the external worker pool that the options name, as each task manager sees it; None without one."""
    from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions

    if not any("EXTERNAL" in argument for argument in beam_args):
        return None
    options = PipelineOptions(list(beam_args)).view_as(PortableOptions)
    if options.environment_type != "EXTERNAL":
        return None
    return options.environment_config or options.lookup_environment_option("external_service_address") or None


def is_local(address: str) -> bool:
    return address.rpartition(":")[0] in _LOCAL


def wanted() -> list[str]:
    """This process's versions of Python and Beam, which workers must have too."""
    return [platform.python_version(), metadata.version("apache-beam")]


def versions_as_metadata() -> tuple[tuple[str, str], ...]:
    """The versions as gRPC metadata."""
    return tuple(zip(_KEYS, wanted(), strict=True))


def ask(address: str) -> list[str] | None:
    """Versions of Python and Beam of the pool at `address`; [] from a pool that tells none; None where none answers."""
    import grpc
    from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        request = beam_fn_api_pb2.StopWorkerRequest(worker_id=_NO_WORKER)
        try:
            _, call = stub.StopWorker.with_call(request, timeout=_SECONDS_TO_ANSWER)
        except grpc.RpcError:
            return None
        told = {each.key: each.value for each in call.trailing_metadata() or ()}
    return [told[key] for key in _KEYS if key in told]


def why_wrong() -> str | None:
    """None where `python` on PATH has this process's versions of Python and Beam; otherwise what is wrong with it."""
    try:
        done = subprocess.run(["python", "-c", _ASK], capture_output=True, text=True, timeout=_SECONDS, check=False)
        received = json.loads(done.stdout) if done.returncode == 0 else None
    except FileNotFoundError:
        return "no `python` on PATH"
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        return f"`python` on PATH does not answer as Python does ({error})"
    if received is None:
        said = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        return f"`python` on PATH imports no Apache Beam (exit code {done.returncode}: {said})"
    if received != wanted():
        return f"`python` on PATH and its Apache Beam are {received}; {wanted()} are needed"
    return None
