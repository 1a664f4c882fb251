"""What is shown of a run once its verdict stands: TensorBoard, report page, index, alerts. None of it changes the
outcome: a defect of a page must not turn a pushed model into a failed run."""

from __future__ import annotations

import contextlib
import datetime
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hivemill.common.errors import HivemillError, LockHeldError
from hivemill.common.storage.scratch import scratch_folder
from hivemill.pipeline import tensorboard
from hivemill.pipeline.alerts.delivery import Alerts, Reports
from hivemill.pipeline.config.schema import PipelineConfig
from hivemill.pipeline.documents import verdict
from hivemill.pipeline.report import page
from hivemill.pipeline.root import object_root
from hivemill.pipeline.runs import records
from hivemill.pipeline.runs.records import RunFolder

Say = Callable[[str], None]


def show(folder: RunFolder, root: Path, say: Say) -> None:
    """Writes the run's TensorBoard card, the trend over all runs, the report page and the index of all runs."""
    steps: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("TensorBoard card", lambda: tensorboard.write_run(folder.path)),
        ("TensorBoard trend", lambda: tensorboard.write_trend(root)),
        ("report page", lambda: page.write_report(folder.path)),
        ("index of all runs", lambda: page.write_index(root)),
    )
    for name, step in steps:
        try:
            step()
        except Exception:
            with open(folder.file(records.LOG_TXT), "a", encoding="utf-8") as log:
                traceback.print_exc(file=log)
            say(f"The {name} could not be written; see {object_root.place_of(folder.file(records.LOG_TXT))}")


def tell(alerts: Alerts, made: dict[str, Any], folder: RunFolder, say: Say) -> Reports:
    """Sends the alerts that the verdict calls for; returns what became of them, for run.json."""
    reports = alerts.verdict(made, object_root.place_of(folder.file(records.REPORT_HTML)))
    _say_failed(reports, say)
    return reports


@contextlib.contextmanager
def failures_told(config: PipelineConfig, date: datetime.date, say: Say) -> Iterator[None]:
    """Late data, and whatever else stops a run before its first node, is told too; the error goes on its way.

    Another run that holds the lock is no news: it tells of itself.
    """
    try:
        yield
    except LockHeldError:
        raise
    except HivemillError as error:
        record = {"run_id": f"{date.isoformat()}-not-started", "date": date.isoformat()}
        card = {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
        alerts = Alerts(config.alerts, _root_or_scratch(config))
        _say_failed(alerts.verdict(verdict.assemble(record, {}, card)), say)
        with contextlib.suppress(HivemillError):
            object_root.put_changes(config.root_path())
        raise


def _root_or_scratch(config: PipelineConfig) -> Path:
    """A bucket that does not answer is news too: then the alert is sent without its memory."""
    try:
        return config.root_path()
    except HivemillError:
        return scratch_folder("alerts")


def _say_failed(reports: Reports, say: Say) -> None:
    for one in reports:
        if one["state"] == "failed":
            say(f"The alert ({one['event']}) was not delivered to {one['channel']}: {one['error']}")
