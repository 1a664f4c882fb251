"""The rollout: start, step, abort, rollback of one model, one call at a time.

    start ──> 1 % ──> 5 % ──> 25 % ──> 50 % ──> 100 %: stable is the new version, `previous` the old one
                └───────┴───────┴────────┴──> abort: canary is stable again       └──> rollback: stable is `previous`

Labels: `stable` and `canary` always point to a loaded version (outside a rollout to the same one, so that whoever still
asks for canary is served); `previous` keeps the last stable version loaded for the way back (docs/rollout.md).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from hivemill.common.errors import (
    ConfigError,
    DataNotReadyError,
    InfrastructureError,
    ModelNotBlessedError,
    RolloutAbortedError,
)
from hivemill.serving.rollout import guardrails
from hivemill.serving.rollout.guardrails import GREEN, RED, WAIT, Judgement
from hivemill.serving.rollout.label_transitions import ABORT, PROMOTE, ROLLBACK, START, Mover, move_from
from hivemill.serving.rollout.metrics import RolloutMetrics
from hivemill.serving.rollout.model_server import AVAILABLE, LabelledServer, VersionState
from hivemill.serving.rollout.options import RolloutOptions
from hivemill.serving.rollout.rollout_lock import alone
from hivemill.serving.rollout.state import ABORTED, DONE, ROLLED_BACK, Rollout, new_rollout, rollout_of
from hivemill.serving.store.labels import StoreState
from hivemill.serving.store.model_store import CANARY, PREVIOUS, STABLE, ModelStore

if TYPE_CHECKING:
    from hivemill.serving.store.mirror import StoreMirror


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a call did: `message` for people, the rollout after it, and what the guardrails said, if asked."""

    message: str
    rollout: Rollout | None
    judgement: Judgement | None = None
    warnings: tuple[str, ...] = ()


class RolloutMachine:
    """Rollouts of one model. Every call first ends what a killed one has begun.

    Raises LockHeldError while another call is at work, InfrastructureError where the servers or the mirror do not
    follow. Every call that ends well leaves the mirror up to date.
    """

    def __init__(
        self,
        store: ModelStore,
        options: RolloutOptions,
        server: LabelledServer | None,
        mirror: StoreMirror | None = None,
    ):
        """`server` None moves labels without asking anyone. `mirror` is the store's copy in a bucket, if it has one."""
        self._store, self._options, self._server = store, options, server
        reads_mirror = options.server_reads == "mirror"
        self._mover = Mover(store, server, options.load_timeout_seconds, mirror, reads_mirror)
        self._has_gone_back = False

    def start(self, version: int | None = None, why: str | None = None, again: bool = False) -> Outcome:
        """Puts `version`, the newest when None, under canary at the first percentage."""
        with self._alone() as notes:
            state = self._store.state()
            canary = self._startable(state, version, again)
            rollout = new_rollout(canary, state.labels[STABLE], self._options.percentages[0])
            self._mover.carry_out(move_from(state, START, why, {CANARY: canary}, rollout, run_id=self._run_id(canary)))
            return self._outcome(f"Version {canary} is canary at {rollout.percent} %.", notes)

    def step(self, metrics: RolloutMetrics, why: str | None = None, auto: bool = False) -> Outcome:
        """The next percentage, where time, sample and guardrails allow it; the last one makes canary stable.

        Without `auto`, raises ModelNotBlessedError where a guardrail is red, DataNotReadyError where one waits. With
        `auto`, red aborts the rollout (RolloutAbortedError) and waiting is no error; with manual approval no step is
        taken.
        """
        with self._alone() as notes:
            rollout = self._running()
            judgement = self._judged(rollout, metrics)
            if judgement.colour == RED:
                self._refuse(rollout, judgement, auto)
            if judgement.colour == WAIT:
                return self._waiting(rollout, judgement, auto, notes)
            percent = guardrails.next_percent(rollout, self._options)
            if auto and self._options.approval == "manual":
                message = f"Green at {rollout.percent} %: `hivemill rollout step` takes it to {percent} %."
                return self._outcome(message, notes, judgement)
            self._advance(rollout, percent, metrics.variants.canary.impressions, why)
            told = "100 %: it is stable now" if percent == 100 else f"{percent} %"
            return self._outcome(f"Version {rollout.canary} is at {told}.", notes, judgement)

    def abort(self, why: str | None = None) -> Outcome:
        """Gives all traffic back to stable. Raises ConfigError where no rollout is running."""
        with self._alone(strictly=False) as notes:
            if self._has_gone_back:
                return self._outcome("It was interrupted; it is done now.", notes)
            rollout = self._running()
            self._abort(rollout, why)
            return self._outcome(f"Aborted: {rollout.stable} serves all again.", notes)

    def rollback(self, why: str | None = None) -> Outcome:
        """Back to the last stable version: aborts a running rollout, or undoes the last promotion."""
        with self._alone(strictly=False) as notes:
            if self._has_gone_back:
                return self._outcome("It was interrupted; it is done now.", notes)
            state = self._store.state()
            rollout = rollout_of(state.rollout)
            if rollout is not None and rollout.is_running():
                self._abort(rollout, why)
                return self._outcome(f"Aborted: {rollout.stable} serves all again.", notes)
            bad, good = state.labels.get(STABLE), state.labels.get(PREVIOUS)
            if rollout is None or good is None or rollout.state != DONE:
                raise ConfigError(
                    f"there is nothing to roll back: no version of {self._store.model} has the label `{PREVIOUS}`",
                    hint="`hivemill rollout start VERSION --again` rolls out any version of `hivemill models`.",
                )
            labels = {STABLE: good, CANARY: good, PREVIOUS: None}
            ended = rollout.ended(ROLLED_BACK, why)
            rejected = {str(bad): why or "rolled back"}
            self._mover.carry_out(move_from(state, ROLLBACK, why, labels, ended, rejected, self._run_id(bad)))
            return self._outcome(f"Rolled back: {good} is stable again.", notes)

    def end_interrupted(self) -> Outcome:
        """Does nothing but what every call does first."""
        with self._alone() as notes:
            return self._outcome(notes[0] if notes else "Nothing was interrupted.", notes)

    def _advance(self, rollout: Rollout, percent: int, impressions: int, why: str | None) -> None:
        if percent == 100:
            state = self._store.state()
            labels = {STABLE: rollout.canary, CANARY: rollout.canary, PREVIOUS: rollout.stable}
            ended = rollout.ended(DONE, why)
            self._mover.carry_out(move_from(state, PROMOTE, why, labels, ended, run_id=self._run_id(rollout.canary)))
            return
        stepped = dataclasses.asdict(rollout.at(percent, impressions))

        def changed(state: StoreState) -> StoreState:
            return dataclasses.replace(state, rollout=stepped)

        self._store.change(changed, f"step to {percent} %", why, self._run_id(rollout.canary))

    def _abort(self, rollout: Rollout, why: str | None) -> None:
        state = self._store.state()
        labels = {STABLE: rollout.stable, CANARY: rollout.stable}
        rejected = {str(rollout.canary): why or "aborted"}
        ended, run_id = rollout.ended(ABORTED, why), self._run_id(rollout.canary)
        self._mover.carry_out(move_from(state, ABORT, why, labels, ended, rejected, run_id))

    def _judged(self, rollout: Rollout, metrics: RolloutMetrics) -> Judgement:
        now = datetime.datetime.now(datetime.timezone.utc)
        refusal = guardrails.refusal(rollout, metrics, self._options, now)
        if refusal:
            raise DataNotReadyError(refusal, hint="docs/rollout.md says what the metrics must be of.")
        judgement = guardrails.judge(rollout, metrics, self._options, now)
        return Judgement((*judgement.findings, *self._loaded(rollout)))

    def _loaded(self, rollout: Rollout) -> list[guardrails.GuardrailFinding]:
        """A version that the servers lost gets no more traffic."""
        if self._server is None:
            return []
        state = self._server.states(self._store.model).get(rollout.canary, VersionState("unknown"))
        message = f"version {rollout.canary} is {state.state} at the server {state.error}".rstrip()
        colour = GREEN if state.state == AVAILABLE else RED if state.error else WAIT
        return [guardrails.GuardrailFinding("loaded", colour, message)]

    def _refuse(self, rollout: Rollout, judgement: Judgement, auto: bool) -> NoReturn:
        why = "; ".join(judgement.messages(RED))
        if not auto:
            raise ModelNotBlessedError(
                f"version {rollout.canary} stays at {rollout.percent} %: {why}",
                hint="`hivemill rollout abort` gives all traffic back to stable.",
                details=judgement.to_document(),
            )
        self._abort(rollout, why)
        raise RolloutAbortedError(
            f"version {rollout.canary} was aborted at {rollout.percent} %: {why}",
            hint=f"Version {rollout.stable} serves all again. `hivemill rollout status` and the audit log have it.",
            details=judgement.to_document(),
        )

    def _waiting(self, rollout: Rollout, judgement: Judgement, auto: bool, notes: list[str]) -> Outcome:
        message = f"Version {rollout.canary} stays at {rollout.percent} %: " + "; ".join(judgement.messages(WAIT))
        if auto:
            return self._outcome(message, notes, judgement)
        raise DataNotReadyError(message, hint="Try again later.", details=judgement.to_document())

    def _startable(self, state: StoreState, version: int | None, again: bool) -> int:
        """The version to try. Raises ConfigError where it cannot be."""
        rollout = rollout_of(state.rollout)
        if rollout is not None and rollout.is_running():
            raise ConfigError(
                f"a rollout of version {rollout.canary} is running, at {rollout.percent} %",
                hint="`hivemill rollout step` goes on with it, `hivemill rollout abort` ends it.",
            )
        if STABLE not in state.labels:
            raise ConfigError(f"{self._store.model} has no stable version yet", hint="`hivemill run` pushes the first.")
        versions = self._store.versions()
        canary = versions[-1] if version is None else version
        if canary not in versions:
            raise ConfigError(
                f"there is no version {canary} of {self._store.model}", hint="`hivemill models` lists those that are."
            )
        if canary == state.labels[STABLE]:
            raise ConfigError(f"version {canary} is stable already", hint="`hivemill models` lists the others.")
        if str(canary) in state.rejected and not again:
            raise ConfigError(
                f"version {canary} was taken back before: {state.rejected[str(canary)]}",
                hint="With --again it is tried once more.",
            )
        return canary

    def _run_id(self, version: int | None) -> str | None:
        """The run that pushed the version; nothing that a rollback should fail for."""
        if version is None:
            return None
        with contextlib.suppress(InfrastructureError):
            return self._store.record(version).get("run_id")
        return None

    def _running(self) -> Rollout:
        rollout = rollout_of(self._store.state().rollout)
        if rollout is None or not rollout.is_running():
            raise ConfigError(
                f"no rollout of {self._store.model} is running", hint="`hivemill rollout start` begins one."
            )
        return rollout

    def _outcome(self, message: str, notes: list[str], judgement: Judgement | None = None) -> Outcome:
        try:
            self._mover.sync_mirror()
        except InfrastructureError as error:
            raise InfrastructureError(f"{message} But {error.message}", hint=error.hint) from error
        rollout = rollout_of(self._store.state().rollout)
        return Outcome(message, rollout, judgement, (*notes, *self._mover.warnings))

    @contextlib.contextmanager
    def _alone(self, strictly: bool = True) -> Iterator[list[str]]:
        """Holds the lock of the model's rollouts; yields what became of an interrupted call."""
        if not self._store.versions() and not self._store.folder.is_dir():
            raise ConfigError(
                f"{self._store.place} has no model {self._store.model}", hint="`hivemill run` pushes one."
            )
        with alone(self._store):
            ended = self._mover.end_interrupted(strictly)
            self._has_gone_back = ended is not None and ended.leads_back
            yield [ended.message] if ended else []
