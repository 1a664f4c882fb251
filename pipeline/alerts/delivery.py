"""Alerts: who is told of a verdict, once each, without a run ever failing for it.

`<root>/alerts.json` remembers the colour of the last verdict and what each channel was sent. What became of each alert
stands in the run's run.json under `alerts`.
"""

from __future__ import annotations

import concurrent.futures
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hivemill.common.storage.atomic import write_json_atomically
from hivemill.pipeline.alerts import messages
from hivemill.pipeline.alerts.channels import DeliveryError, key_of, name_of, send
from hivemill.pipeline.alerts.messages import Alert
from hivemill.pipeline.alerts.options import AlertOptions
from hivemill.pipeline.runs import records

STATE_JSON = "alerts.json"
_REMEMBERED = 500

Reports = list[dict[str, Any]]


class Alerts:
    """The alerts of one pipeline. No method raises: a failure is a report, `{event, channel, state, attempts, error}`.

    `state` is sent, failed, or duplicate (this channel had the same alert before).
    """

    def __init__(
        self,
        options: AlertOptions,
        root: Path,
        environment: Mapping[str, str] = os.environ,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self._options, self._path = options, Path(root) / STATE_JSON
        self._environment, self._sleep = environment, sleep
        self._lock = threading.Lock()  # the overrun's thread and the run's end may meet

    def verdict(self, verdict: Mapping[str, Any], report: str | None = None) -> Reports:
        """Tells of a finished run, and remembers its colour for the recovery."""
        return self._safely("verdict", lambda: self._verdict(verdict, report))

    def overrun(self, run_id: str, date: str, minutes: float) -> Reports:
        return self._safely("overrun", lambda: self._deliver(messages.of_overrun(run_id, date, minutes)))

    def rollout(self, alert: Alert) -> Reports:
        """Tells of a rollout (messages.of_aborted_rollout, of_waiting_rollout)."""
        return self._safely(alert.event, lambda: self._deliver(alert))

    def test(self, name: str) -> Reports:
        """One test message to every channel, whatever its events are."""
        return self._safely("test", lambda: self._deliver(messages.of_test(name)))

    def _safely(self, event: str, function: Callable[[], Reports]) -> Reports:
        try:
            with self._lock:
                return function()
        except Exception as error:  # a defect here, a full disk: the run's outcome stands
            return [_report(event, "all", "failed", 0, type(error).__name__)]

    def _verdict(self, verdict: Mapping[str, Any], report: str | None) -> Reports:
        state = self._state()
        last = (state.get("last") or {}).get("colour")
        alert = messages.of_verdict(verdict, last, report)
        reports = self._deliver(alert) if alert else []
        self._save({**self._state(), "last": {key: verdict[key] for key in ("colour", "date", "run_id")}})
        return reports

    def _deliver(self, alert: Alert) -> Reports:
        wanted = [one for one in self._options.channels if alert.event in (*one.events, "test")]
        if not wanted:
            return []
        state = self._state()
        had = state.get("sent", {}).get(alert.key, {})
        with concurrent.futures.ThreadPoolExecutor(len(wanted)) as pool:  # a slow one does not hold up the others
            reports = list(pool.map(lambda one: self._to_channel(one, alert, had), wanted))
        told = [key_of(one) for one, report in zip(wanted, reports, strict=True) if report["state"] == "sent"]
        now_had = had | dict.fromkeys(told, records.utc_now())
        if alert.event != "test" and now_had != had:
            sent = {**state.get("sent", {}), alert.key: now_had}
            self._save({**state, "sent": dict(list(sent.items())[-_REMEMBERED:])})
        return reports

    def _to_channel(self, channel: Any, alert: Alert, had: Mapping[str, str]) -> dict[str, Any]:
        name = name_of(channel)
        if key_of(channel) in had:
            return _report(alert.event, name, "duplicate", 0)
        problem = ""
        for attempt in range(1, self._options.attempts + 1):
            try:
                send(channel, alert, self._environment, self._options.timeout_seconds)
                return _report(alert.event, name, "sent", attempt)
            except DeliveryError as error:
                problem = str(error)
                if error.is_final or attempt == self._options.attempts:
                    break
                self._sleep(self._options.first_wait_seconds * 2 ** (attempt - 1))
        return _report(alert.event, name, "failed", attempt, problem)

    def _state(self) -> dict[str, Any]:
        state = records.read_json(self._path)
        return state if isinstance(state, dict) else {"version": 1}

    def _save(self, state: dict[str, Any]) -> None:
        if self._options.channels:
            write_json_atomically(self._path, {**state, "version": 1})


class OverrunWatch:
    """Tells of a run that takes longer than `alerts.max_run_minutes`, while it runs. A context manager.

    `age_seconds` is how long the run goes on already; `keep` gets what became of it at once, in another thread.
    `reports` has the same after the context is left.
    """

    def __init__(
        self,
        alerts: Alerts,
        minutes: float | None,
        run_id: str,
        date: str,
        age_seconds: float = 0.0,
        keep: Callable[[Reports], None] = lambda reports: None,
    ):
        self.reports: Reports = []
        self._timer: threading.Timer | None = None

        def tell() -> None:
            self.reports.extend(alerts.overrun(run_id, date, minutes))
            keep(self.reports)

        if minutes is not None:
            self._is_due = age_seconds >= minutes * 60
            self._timer = threading.Timer(max(0.0, minutes * 60 - age_seconds), tell)
            self._timer.daemon = True

    def __enter__(self) -> OverrunWatch:
        if self._timer:
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer:
            if not self._is_due:  # what was due before the work began is told, however short the work was
                self._timer.cancel()
            self._timer.join(timeout=60)  # it may be sending


def _report(event: str, channel: str, state: str, attempts: int, error: str | None = None) -> dict[str, Any]:
    return {"event": event, "channel": channel, "state": state, "attempts": attempts, "error": error}
