"""What `rollout step --auto` tells: a rollout that was aborted, and one that waits longer than it should.

Judged from the store alone, after every step: an abort that was killed before it could tell of itself, or whose alert
nobody took, is told of by the next one; who has been told already is not told again.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from hivemill.common.errors import InfrastructureError
from hivemill.pipeline.alerts import messages
from hivemill.pipeline.alerts.delivery import Alerts, Reports
from hivemill.pipeline.alerts.messages import Alert
from hivemill.serving.rollout.state import ABORTED, Rollout, rollout_of

if TYPE_CHECKING:
    from hivemill.pipeline.config.schema import PipelineConfig
    from hivemill.serving.store.model_store import ModelStore

_NEWS_HOURS = 24  # what was aborted longer ago is none, to a channel that was set up since


def tell(config: PipelineConfig, store: ModelStore, message: str) -> Reports:
    """`message` is what the step said. Nothing, and no report, where there is nothing to tell. Does not raise."""
    try:
        alert = _alert(config, store, message)
    except InfrastructureError:  # of the store; the step has said it
        return []
    if alert is None:
        return []
    reports = Alerts(config.alerts, config.root_path()).rollout(alert)
    return [report for report in reports if report["state"] != "duplicate"]


def _alert(config: PipelineConfig, store: ModelStore, message: str) -> Alert | None:
    rollout = rollout_of(store.state().rollout)
    if rollout is None:
        return None
    hours, longest = _hours_at_this_step(rollout), config.alerts.max_rollout_wait_hours
    if rollout.state == ABORTED and hours < _NEWS_HOURS:
        return messages.of_aborted_rollout(rollout, *_origin(store, rollout))
    if rollout.is_running() and longest is not None and hours > longest:
        return messages.of_waiting_rollout(rollout, *_origin(store, rollout), hours, message)
    return None


def _hours_at_this_step(rollout: Rollout) -> float:
    since = datetime.datetime.fromisoformat(rollout.step_since_utc)
    return (datetime.datetime.now(datetime.timezone.utc) - since).total_seconds() / 3600


def _origin(store: ModelStore, rollout: Rollout) -> tuple[str, str]:
    """Run and date that the version is of; one that was copied in by hand has none."""
    try:
        record = store.record(rollout.canary)
    except InfrastructureError:
        record = {}
    return record.get("run_id") or "unknown", record.get("run_date") or rollout.started_utc[:10]
