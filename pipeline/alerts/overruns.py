"""A run in steps that takes longer than `alerts.max_run_minutes`: told once, by whichever step notices.

No process lives as long as such a run. So each step looks at the run's age when it starts, and has a thread that looks
again when the time is up; the run's record keeps what was told, for the steps after it. The caller holds the lock.
"""

from __future__ import annotations

import contextlib
import datetime
from typing import Any

import yaml
from pydantic import ValidationError

from hivemill.pipeline.alerts.delivery import Alerts, OverrunWatch, Reports
from hivemill.pipeline.alerts.options import AlertOptions
from hivemill.pipeline.runs.records import RunFolder

_EVENT = "overrun"


def watch(folder: RunFolder, options: AlertOptions | None = None) -> OverrunWatch:
    """A context manager around the work of one step. `options`: those that the run was begun with, when left out."""
    options = options or _begun_with(folder)
    record = folder.read() or {}
    minutes = None if _is_told(record) else options.max_run_minutes
    return OverrunWatch(
        Alerts(options, folder.path.parents[1]),
        minutes,
        folder.run_id,
        record.get("date", ""),
        age_seconds=_age_seconds(record),
        keep=lambda reports: _keep(folder, reports),
    )


def told(record: dict[str, Any]) -> Reports:
    """What the steps of this run have sent before its end."""
    return [one for one in record.get("alerts", ()) if one["event"] == _EVENT]


def _is_told(record: dict[str, Any]) -> bool:
    """False where a channel failed: the next step tries it again, and those that have had it are not asked twice."""
    reports = told(record)
    return bool(reports) and all(one["state"] != "failed" for one in reports)


def _keep(folder: RunFolder, reports: Reports) -> None:
    """One report a channel: the newest, except that what was sent stays sent."""
    record = folder.read()
    if record is None or not reports:
        return
    sent = {one["channel"]: one for one in told(record) if one["state"] == "sent"}
    others = [one for one in record.get("alerts", ()) if one["event"] != _EVENT]
    record["alerts"] = [*others, *(sent.get(one["channel"], one) for one in reports)]
    with contextlib.suppress(OSError):  # a full disk: alerts.json keeps the channels from being told twice
        folder.write(record)


def _age_seconds(record: dict[str, Any]) -> float:
    """By this host's clock. One that was set back since gives 0: the alert comes late, and does not stay away."""
    try:
        started = datetime.datetime.fromisoformat(record["started_utc"])
    except (KeyError, TypeError, ValueError):
        return 0.0
    return max(0.0, (datetime.datetime.now(datetime.timezone.utc) - started).total_seconds())


def _begun_with(folder: RunFolder) -> AlertOptions:
    """From the config that `begin` left. An alert is no reason to fail a node: what cannot be read has no limit."""
    try:
        document = yaml.safe_load(folder.file("config.yaml").read_text(encoding="utf-8"))
        return AlertOptions.model_validate(document["alerts"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValidationError):
        return AlertOptions()
