"""A Beam runner of one machine, with worker processes that are prepared for TensorFlow.

    --runner=pipeline.orchestrators.beam.worker_processes.WorkerProcesses --direct_num_workers=4

It is DirectRunner's engine (FnApiRunner). That engine's own `--direct_running_mode=multi_processing` starts workers
that nothing prepares: they load another Keras, and data-validation 1.16.1 does not load in them.
"""

from __future__ import annotations

import shlex
import sys

from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.transforms.environments import SubprocessSDKEnvironment


class WorkerProcesses(fn_runner.FnApiRunner):
    """Beam makes it from its dotted name, without arguments. Each Beam pipeline starts its workers anew."""

    def __init__(self) -> None:
        command = f"{shlex.quote(sys.executable)} -m {__name__}"
        super().__init__(default_environment=SubprocessSDKEnvironment.from_command_string(command))


def work() -> None:
    """A worker's whole life: until the runner that started it closes its connection."""
    from hivemill.common import runtime

    runtime.prepare_tensorflow()
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main([])


if __name__ == "__main__":
    work()
