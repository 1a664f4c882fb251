"""Before any cost: waits for a window that is not complete yet, and keeps the account of it.

Nothing is locked and nothing is written meanwhile, so that a run for another date can go on.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from hivemill.common.errors import DataCorruptError, DataNotReadyError, InfrastructureError
from hivemill.components.hive_example_gen.options import WindowOptions
from hivemill.pipeline.runs import records
from hivemill.pipeline.runs.plan import RunPlan

_NOTHING_KEPT = (
    "Nothing was started. Load what is missing and run again, or raise window.completeness.wait_limit_minutes."
)


@dataclasses.dataclass(frozen=True)
class Lateness:
    """How a window came to be what it is; part of run.json and of the run's manifest, never of a fingerprint.

    Attributes:
        awaited: {partition, was, waited_seconds} for each that was incomplete: what at first, and seen so how long.
        left_out: what the run goes on without, by kind.
    """

    policy: str
    since_utc: str | None = None
    waited_seconds: int = 0
    awaited: tuple[dict[str, Any], ...] = ()
    left_out: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        left_out = {kind: list(names) for kind, names in self.left_out.items()}
        return {**dataclasses.asdict(self), "awaited": list(self.awaited), "left_out": left_out}


def plan_when_ready(
    make_plan: Callable[[], RunPlan],
    window: WindowOptions,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> tuple[RunPlan, Lateness | None]:
    """The plan of a run and, where it was waited for, the account of that.

    Without the policy `wait` the plan comes back as it is: whoever runs it checks it under the lock.

    Raises:
        DataNotReadyError: with the policy `wait`, when the limit is over. ConfigError, InfrastructureError.
    """
    return _Wait(make_plan, window, say, sleep, now).go() if window.incomplete == "wait" else (make_plan(), None)


def left_out(plan: RunPlan) -> Lateness | None:
    """The account of a run that goes on without what is incomplete; None where its window is whole."""
    return Lateness("shrink", left_out=plan.window.incomplete) if plan.window.incomplete else None


@dataclasses.dataclass(frozen=True)
class _Look:
    """`reason`: why the window is not ready; None where it is, and then there is a plan."""

    plan: RunPlan | None
    reason: str | None

    @property
    def fingerprint(self) -> str | None:
        return self.plan.window.fingerprint if self.plan and self.reason is None else None


class _Wait:
    def __init__(
        self,
        make_plan: Callable[[], RunPlan],
        window: WindowOptions,
        say: Callable[[str], None],
        sleep: Callable[[float], None],
        now: Callable[[], float],
    ):
        self._make_plan, self._say, self._sleep, self._now = make_plan, say, sleep, now
        self._interval = window.completeness.wait_interval_seconds
        self._limit = 60 * window.completeness.wait_limit_minutes
        self._started = now()
        self._since = records.utc_now()
        self._awaited: dict[str, dict[str, Any]] = {}

    def go(self) -> tuple[RunPlan, Lateness | None]:
        look = self._look(is_first=True)
        if look.plan is not None and look.reason is None:
            return look.plan, None
        limit = _duration(self._limit)
        self._say(f"Waiting at most {limit}, with a look every {_duration(self._interval)}: {look.reason}")
        while True:
            self._wait(look)
            earlier, look = look, self._look()
            if look.plan is not None and look.reason is None:
                if _is_settled(look.plan) or look.fingerprint == earlier.fingerprint:
                    self._say(f"Complete after {_duration(self._waited())}.")
                    return look.plan, self._lateness()
                look = self._unsettled(look, earlier)
            elif look.reason != earlier.reason:
                self._say(f"Still waiting after {_duration(self._waited())}: {look.reason}")

    def _wait(self, look: _Look) -> None:
        left = self._limit - self._waited()
        if left > 0:
            self._sleep(min(self._interval, left))
        elif look.reason is None:
            self._sleep(self._interval)  # it is all there; one look more decides
        else:
            raise DataNotReadyError(f"waited {_duration(self._waited())} in vain: {look.reason}", hint=_NOTHING_KEPT)

    def _unsettled(self, look: _Look, earlier: _Look) -> _Look:
        """Without a marker file nobody says that a partition is finished: two looks must see the same files."""
        if earlier.fingerprint is not None and self._waited() >= self._limit:
            raise DataNotReadyError(
                f"waited {_duration(self._waited())} in vain: the window's files are still being written",
                hint=_NOTHING_KEPT,
            )
        if earlier.fingerprint is None:
            self._say(f"All there after {_duration(self._waited())}; one look more, to see that nothing changes.")
        return look

    def _look(self, is_first: bool = False) -> _Look:
        try:
            plan = self._make_plan()
        except (DataNotReadyError, DataCorruptError) as error:  # a file that is being written looks damaged
            return _Look(None, error.message)
        except InfrastructureError as error:
            if is_first:
                raise
            return _Look(None, error.message)  # a server that restarts at night is no reason to give up
        self._account_for(plan)
        try:
            plan.window.check()
        except DataNotReadyError as error:
            return _Look(plan, error.message)
        return _Look(plan, None)

    def _account_for(self, plan: RunPlan) -> None:
        items = {name: kind for kind in ("missing", "late", "empty") for name in getattr(plan.window, kind)}
        items |= {judgement.partition: "small" for judgement in plan.window.small}
        for name, kind in items.items():
            first = self._awaited.setdefault(name, {"partition": name, "was": kind, "waited_seconds": 0})
            first["waited_seconds"] = self._waited()

    def _waited(self) -> int:
        return round(self._now() - self._started)

    def _lateness(self) -> Lateness:
        return Lateness("wait", self._since, self._waited(), tuple(self._awaited.values()))


def _is_settled(plan: RunPlan) -> bool:
    return plan.window.success_file is not None


def _duration(seconds: float) -> str:
    """`45 s`, `12 min`, `6 h`, `1 h 30 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join(f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min")) if count)
