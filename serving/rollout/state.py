"""Where a rollout stands: what labels.json says under `rollout`, typed."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping
from typing import Any

from hivemill.common.clock import utc_now

RUNNING, DONE, ABORTED, ROLLED_BACK = "running", "done", "aborted", "rolled back"


@dataclasses.dataclass(frozen=True)
class Rollout:
    """One rollout.

    Attributes:
        canary: the version that is tried.
        stable: the version that it is to replace, and to which everything returns.
        state: running, done, aborted or rolled back.
        percent: share of the users that get canary: 0 before the first step and after an abort.
        step_since_utc: when this percentage began.
        step_impressions: canary's impressions that were counted when it began.
        why: what ended it.
    """

    id: str
    canary: int
    stable: int
    state: str
    percent: int
    started_utc: str
    step_since_utc: str
    step_impressions: int = 0
    why: str | None = None

    def is_running(self) -> bool:
        return self.state == RUNNING

    def at(self, percent: int, impressions: int) -> Rollout:
        """The next step begins now."""
        return dataclasses.replace(self, percent=percent, step_since_utc=utc_now(), step_impressions=impressions)

    def ended(self, state: str, why: str | None) -> Rollout:
        percent = 100 if state == DONE else 0
        return dataclasses.replace(self, state=state, percent=percent, step_since_utc=utc_now(), why=why)


def new_rollout(canary: int, stable: int, percent: int) -> Rollout:
    now = utc_now()
    return Rollout(
        id=f"rollout-{uuid.uuid4().hex[:8]}",
        canary=canary,
        stable=stable,
        state=RUNNING,
        percent=percent,
        started_utc=now,
        step_since_utc=now,
    )


def rollout_of(document: Mapping[str, Any] | None) -> Rollout | None:
    """Unknown keys of a newer version are left out."""
    if document is None:
        return None
    known = {field.name for field in dataclasses.fields(Rollout)} & document.keys()
    return Rollout(**{name: document[name] for name in known})
