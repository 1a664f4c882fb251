"""The verbs `tensorboard` and `alerts test`: looking at verdicts, and trying out who is told of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.pipeline.cli.output import Output, add_verb, table

_LOCAL = "127.0.0.1"


def add_verbs(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    summary = "open TensorBoard: the trend of all runs, their verdicts and training curves"
    verb = add_verb(verbs, "tensorboard", tensorboard, summary, "hivemill tensorboard --port 6006", common)
    verb.add_argument("--port", type=_port, default=6006, metavar="N", help="of the local page (default: 6006)")
    verb.add_argument("--host", default=_LOCAL, metavar="H", help="address to listen at (default: 127.0.0.1)")
    verb.add_argument("--open", action="store_true", help="open it in the browser")
    verb.add_argument("--write-only", action="store_true", help="write the files and print their folder; no server")
    alerts = verbs.add_parser("alerts", help="send a test alert", description="Who is told of verdicts.")
    actions = alerts.add_subparsers(metavar="ACTION", required=True)
    summary = "send a test message through every channel of the config, and say what became of each"
    add_verb(actions, "test", test_alerts, summary, "hivemill alerts test", common)


def tensorboard(arguments: argparse.Namespace, output: Output) -> int:
    """Runs TensorBoard until it is interrupted. It reads local files only and fetches nothing."""
    from hivemill.common.storage import urls
    from hivemill.pipeline.config import loader
    from hivemill.pipeline.root import object_root
    from hivemill.pipeline.tensorboard import write_trend

    loaded = loader.load(arguments.config, arguments.set).config
    if arguments.write_only and urls.is_url(loaded.root):
        hint = "Without it, TensorBoard reads a copy of all runs; `tensorboard --logdir` reads one run's folder there."
        raise ConfigError(f"--write-only needs a root on a disk; root is {urls.shown(loaded.root)}", hint=hint)
    object_root.fetch_all_runs(loaded.root_path())
    folder = write_trend(loaded.root_path())
    url = f"http://{arguments.host}:{arguments.port}/"
    if arguments.write_only:
        output.show({"folder": str(folder)}, str(folder))
        return 0
    output.show({"folder": str(folder), "url": url}, f"TensorBoard of {folder} at {url} (Ctrl-C ends it)")
    sys.stdout.flush()
    return _serve(folder, arguments.host, arguments.port, url if arguments.open else None)


def test_alerts(arguments: argparse.Namespace, output: Output) -> int:
    from hivemill.pipeline.alerts.delivery import Alerts
    from hivemill.pipeline.config import loader

    loaded = loader.load(arguments.config, arguments.set).config
    if not loaded.alerts.channels:
        hint = "Name one, e.g. {type: webhook, preset: slack, url_env: SLACK_URL}; docs/alerts.md has them all."
        raise ConfigError("`alerts.channels` is empty: there is nobody to tell", hint=hint)
    reports = Alerts(loaded.alerts, loaded.root_path()).test(loaded.name)
    rows = [(one["channel"], one["state"], one["attempts"], one["error"]) for one in reports]
    output.show({"alerts": reports}, table(("CHANNEL", "STATE", "ATTEMPTS", "ERROR"), rows))
    return InfrastructureError.exit_code if any(one["state"] == "failed" for one in reports) else 0


def _serve(folder: Path, host: str, port: int, open_url: str | None) -> int:
    """TensorBoard in a process of its own, so that Ctrl-C and its exit are its own too."""
    import subprocess
    import threading
    import webbrowser

    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", host, "--port", str(port)]
    # The Python reader follows the links to the runs, the quick one does not.
    process = subprocess.Popen([*command, "--load_fast", "false", "--reload_interval", "15"])
    if open_url:
        threading.Timer(5, webbrowser.open, [open_url]).start()
    try:
        return InfrastructureError.exit_code if process.wait() else 0
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return 0


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"must be a port, 1 to 65535; received {text!r}")
    return int(text)
