"""`hivemill`: the command line. docs/cli.md is the contract; scripts and schedules rely on it.

Only the standard library is imported here and where verbs declare their options, so that `--help` is there at once;
what a verb needs, it imports when it runs.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hivemill.common.errors import ConfigError, HivemillError, InfrastructureError
from hivemill.common.runtime import remove_generated_files
from hivemill.common.storage import scratch
from hivemill.pipeline.cli.output import Output, as_json
from hivemill.pipeline.cli.verbs import (
    backfill,
    data,
    experiment,
    models,
    monitoring,
    node,
    orchestrators,
    rollout,
    runs,
    schedule,
    serve,
    start,
)

INTERRUPTED, BROKEN_PIPE = 130, 141  # 128 + the signal's number, as shells have it
_ENVIRONMENT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
_EPILOG = """\
a new user's start:
  hivemill init shop
  cd shop
  hivemill plan --date 2026-11-15
  hivemill run --date 2026-11-15

exit codes:
  0 done, or nothing to do     4 data verdict red            7 another run holds the lock
  1 a defect of ours           5 model not blessed           8 rollout aborted
  2 usage or configuration     6 infrastructure failed     130 interrupted
  3 data not ready             9 a data file is damaged
"""


def entry() -> NoReturn:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a name in Chinese must not break a terminal in Latin-1
    code = main()
    with contextlib.suppress(BrokenPipeError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    scratch.remove_all()
    if "tensorflow" in sys.modules:
        remove_generated_files()
        os._exit(code)  # TensorFlow Transform sometimes dies in its destructors, after correct work
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. Never raises, but for `--help` and `--version` (SystemExit 0)."""
    words = list(sys.argv[1:] if argv is None else argv)
    output = Output(json="--json" in words)
    debug = "--debug" in words
    try:
        arguments = _parse(words)
        output = Output(json=arguments.json)
        return arguments.verb_function(arguments, output)
    except HivemillError as error:
        return _fail(error, output, debug)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone. What is left in the buffer must not raise once more at exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        return _fail(_of_the_environment(error) or _defect(error), output, debug)
    except Exception as error:
        return _fail(_defect(error), output, debug)


def parser() -> argparse.ArgumentParser:
    """The whole command line. Every verb and option in it stands in docs/cli.md; a test sees to that."""
    top = _Parser(
        prog="hivemill",
        description="From a partitioned Hive click log to a pushed DeepFM click model.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    top.add_argument(
        "--config", type=Path, default=Path("hivemill.yaml"), metavar="FILE", help="default: hivemill.yaml"
    )
    top.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of the config")
    top.add_argument("--json", action="store_true", help="print one JSON document on standard output, nothing else")
    top.add_argument("--debug", action="store_true", help="show the traceback of an error")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    common = _common_options()
    for module in (
        start,
        runs,
        backfill,
        node,
        orchestrators,
        models,
        rollout,
        experiment,
        data,
        serve,
        monitoring,
        schedule,
    ):
        module.add_verbs(verbs, common)
    return top


class _Parser(argparse.ArgumentParser):
    """Mistakes in usage take the way of all other errors, so that `--json` and the exit code hold for them too."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{self.prog}: {message}", hint=f"`{self.prog} --help` shows the options and an example.")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(f"hivemill {version()}")
        parser.exit()


def version() -> str:
    """The installed version."""
    from importlib import metadata

    return metadata.version("hivemill")


def _common_options() -> argparse.ArgumentParser:
    """The global options once more, for after the verb. They leave alone what stood before it."""
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    hidden = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
    common.add_argument("--config", type=Path, **hidden)
    common.add_argument("--set", action="append", dest="set_after_verb", metavar="KEY=VALUE", **hidden)
    common.add_argument("--json", action="store_true", **hidden)
    common.add_argument("--debug", action="store_true", **hidden)
    return common


def _parse(words: list[str]) -> argparse.Namespace:
    arguments = parser().parse_args(words)
    arguments.set = arguments.set + getattr(arguments, "set_after_verb", [])
    return arguments


def _fail(error: HivemillError, output: Output, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    if output.json:
        card = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
        print(as_json({"error": {**card, "exit_code": error.exit_code}}))
    output.error(error.message, error.hint)
    return error.exit_code


def _of_the_environment(error: OSError) -> HivemillError | None:
    if error.errno not in _ENVIRONMENT_ERRORS:
        return None
    place = f"{error.filename}: " if error.filename else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = "Free some space." if full else "Check the disk and the rights of this user on that place."
    return InfrastructureError(f"{place}{error.strerror}", hint=hint)


def _defect(error: Exception) -> HivemillError:
    hint = "Run it again with --debug for the traceback, and report it with that."
    return HivemillError(f"this is a defect of ours: {type(error).__name__}: {error}", hint=hint)
