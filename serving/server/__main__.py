"""`python -m hivemill.serving.server`: the dev server alone, as the serving check starts it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hivemill.common import runtime
from hivemill.common.errors import HivemillError
from hivemill.serving.server.options import ServerOptions


def main() -> int:
    """Exit codes as in docs/cli.md."""
    parser = argparse.ArgumentParser(prog="python -m hivemill.serving.server", description=__doc__, allow_abbrev=False)
    parser.add_argument("--model-config", type=Path, required=True, metavar="FILE")
    parser.add_argument("--socket", metavar="PATH", help="a Unix socket for gRPC; no ports then")
    parser.add_argument("--port", type=int, default=8500, metavar="N")
    parser.add_argument("--rest-port", type=int, default=8501, metavar="N")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when standard input does")
    arguments = parser.parse_args()
    has_ports = arguments.socket is None
    options = ServerOptions(
        model_config=arguments.model_config,
        port=arguments.port if has_ports else None,
        rest_port=arguments.rest_port if has_ports else None,
        socket_path=arguments.socket,
    )
    try:
        runtime.tensorflow_core_only()
        from hivemill.serving.server.app import serve

        return serve(options, arguments.exit_with_parent)
    except HivemillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
