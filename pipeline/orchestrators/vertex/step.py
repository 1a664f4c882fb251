"""One task of Vertex AI: TFX's own entry point, `kubeflow_v2_run_executor`, in a process that Hivemill has prepared.

`python -m hivemill.pipeline.orchestrators.vertex.step` with that entry point's arguments, as the compiled file has
them.
"""

from __future__ import annotations

import os
import runpy
import sys
import traceback

from hivemill.common import runtime
from hivemill.common.errors import HivemillError
from hivemill.common.storage import scratch

_ENTRY_POINT = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"


def main() -> int:
    """The exit code: 0, that of a HivemillError (docs/cli.md), or 1."""
    runtime.prepare_tensorflow()
    import hivemill.components.tfx_io.filesystem  # noqa: F401 (gs:// by Arrow, for the task's own files too)

    try:
        runpy.run_module(_ENTRY_POINT, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except HivemillError as error:
        # The last lines are what Vertex AI's log shows of a task that failed.
        traceback.print_exc()
        print(f"error: {error.message}" + (f"\n  {error.hint}" if error.hint else ""), file=sys.stderr)
        return error.exit_code
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    runtime.remove_generated_files()
    scratch.remove_all()
    os._exit(code)  # TensorFlow Transform sometimes dies in its destructors, after correct work
