"""What Beam's own worker pool would start: `python` from PATH. A wrong one leaves the client waiting without an end."""

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
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


def local_pool(beam_args: Sequence[str]) -> str | None:
    """host:port of an external worker pool on this machine; None where the options name none.

    A pool elsewhere has a PATH of its own, which cannot be seen from here.
    """
    from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions

    if not any("EXTERNAL" in argument for argument in beam_args):
        return None
    options = PipelineOptions(list(beam_args)).view_as(PortableOptions)
    if options.environment_type != "EXTERNAL":
        return None
    address = options.environment_config or options.lookup_environment_option("external_service_address") or ""
    return address if address.rpartition(":")[0] in _LOCAL else None


def why_wrong() -> str | None:
    """None where `python` on PATH has this process's versions of Python and Beam; otherwise what is wrong with it."""
    wanted = [platform.python_version(), metadata.version("apache-beam")]
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
    if received != wanted:
        return f"`python` on PATH and its Apache Beam are {received}; {wanted} are needed"
    return None
