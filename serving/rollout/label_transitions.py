"""Moving labels: load, label, drain. Each phase is one write of labels.json, and a killed move is ended by the next.

    load    the versions to come are served too, without a label, until the servers report them AVAILABLE
    label   the labels point to them; what they pointed to is still served, so no request in flight fails
    drain   only labelled versions are served; the move is over

labels.json says under `pending` what is going on, from the first phase to the last. A start or a promotion that was
killed while loading is taken back: no client has seen it. After `label`, and always on the way back to stable, a killed
move goes on. Where servers do not follow, a start or a promotion is taken back at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hivemill.common.errors import InfrastructureError
from hivemill.serving.rollout.model_server import LabelledServer, wait_until_available
from hivemill.serving.rollout.state import Rollout
from hivemill.serving.store.labels import StoreState
from hivemill.serving.store.model_store import ModelStore

if TYPE_CHECKING:
    from hivemill.serving.store.mirror import StoreMirror

LOAD, LABEL = "load", "label"
START, PROMOTE, ABORT, ROLLBACK = "start", "promote", "abort", "rollback"
_RETURNS = (ABORT, ROLLBACK)


@dataclasses.dataclass(frozen=True)
class Move:
    """What a move wants to reach.

    Attributes:
        labels, rollout: of the state after it.
        rejected: why, by version, where the move takes one back.
        labels_before, rollout_before: where it begins, and what taking it back restores.
    """

    action: str
    why: str | None
    labels: Mapping[str, int]
    rollout: Mapping[str, Any]
    labels_before: Mapping[str, int]
    rollout_before: Mapping[str, Any] | None
    rejected: Mapping[str, str] = dataclasses.field(default_factory=dict)
    run_id: str | None = None

    def leads_back(self) -> bool:
        """Such a move is never given up: stable is where everything shall end."""
        return self.action in _RETURNS

    def needs_loading(self) -> bool:
        return not {*self.labels.values()} <= {*self.labels_before.values()}


@dataclasses.dataclass(frozen=True)
class Ended:
    """What became of an interrupted move; `leads_back` where it was on its way back to stable, and is there now."""

    message: str
    leads_back: bool


def move_from(
    state: StoreState,
    action: str,
    why: str | None,
    labels: Mapping[str, int | None],
    rollout: Rollout,
    rejected: Mapping[str, str] | None = None,
    run_id: str | None = None,
) -> Move:
    """`labels` are those that change; None for one that goes."""
    after = {label: version for label, version in {**state.labels, **labels}.items() if version is not None}
    document = dataclasses.asdict(rollout)
    return Move(action, why, after, document, dict(state.labels), state.rollout, rejected or {}, run_id)


class Mover:
    """Carries out moves. With `server` None, whatever reads models.config follows in its own time.

    The caller holds the rollout's lock. `warnings` has what went wrong without harm.
    """

    def __init__(
        self,
        store: ModelStore,
        server: LabelledServer | None,
        load_timeout_seconds: float,
        mirror: StoreMirror | None = None,
        server_reads_mirror: bool = False,
    ):
        self._store, self._server, self._mirror = store, server, mirror
        self._place_of_server = mirror if mirror and server_reads_mirror else store
        self._load_timeout_seconds = load_timeout_seconds
        self.warnings: list[str] = []

    def carry_out(self, move: Move) -> StoreState:
        """Sees the move through. Raises InfrastructureError where the servers do not follow.

        It is taken back then, unless it leads back to stable: the store says so from the first moment, for clients that
        read it and for servers that poll it, and the move stays pending until every server was told.
        """
        try:
            if move.needs_loading():
                self._write(move, LOAD, _loading)
                self._tell()
            if move.needs_loading() or not move.leads_back():
                self._wait(move)
            self._write(move, LABEL, _labelled)
            return self._end(move)
        except InfrastructureError as error:
            if not move.leads_back():
                if self._store.state().pending is not None:
                    self._take_back(move, error.message)
                raise
            raise InfrastructureError(
                f"the store is back at {sorted({*move.labels.values()})}, but {error.message}",
                hint="Run it again until every one was told; a server that polls models.config follows by itself.",
            ) from error

    def end_interrupted(self, strictly: bool = True) -> Ended | None:
        """Ends what a killed call began, and says what became of it; None where there was nothing.

        Not `strictly`: a start or promotion is ended in the store whatever the servers say, because the caller is about
        to lead everything back to stable.
        """
        pending = self._store.complete().pending
        if pending is None:
            return None
        move = Move(**{name: value for name, value in pending.items() if name != "phase"})
        if pending["phase"] == LOAD and not move.leads_back():
            self._take_back(move, "it was interrupted while loading")
            return Ended(f"an interrupted {move.action} was taken back", leads_back=False)
        if pending["phase"] == LOAD:
            self.carry_out(move)
        else:
            self._end(move, strictly or move.leads_back())
        return Ended(f"an interrupted {move.action} was finished", move.leads_back())

    def sync_mirror(self, state: StoreState | None = None) -> None:
        """Brings the mirror up to the store; does nothing without one."""
        if self._mirror is not None:
            self._mirror.sync(state)

    def _end(self, move: Move, strictly: bool = True) -> StoreState:
        is_back = move.leads_back() or not strictly
        try:
            self._tell_back() if is_back else self._tell()
            # Told before it is written: killed in between, the move is still pending and the next call tells it again.
            drained = _drained(self._store.state(), move)
            self._tell_back(drained) if is_back else self._tell(drained)
        except InfrastructureError as error:
            if strictly:
                raise
            self.warnings.append(error.message)
        return self._write(move, None, _drained)

    def _take_back(self, move: Move, why: str) -> None:
        def restored(state: StoreState) -> StoreState:
            return dataclasses.replace(
                state, labels=move.labels_before, rollout=move.rollout_before, also_served=(), pending=None
            )

        self._store.change(restored, f"{move.action}: taken back", why, move.run_id)
        try:
            self._tell_back()
        except InfrastructureError as error:
            self.warnings.append(f"it was not told that the {move.action} was taken back: {error.message}")

    def _write(self, move: Move, phase: str | None, changed: Callable[[StoreState, Move], StoreState]) -> StoreState:
        def guarded(state: StoreState) -> StoreState:
            if phase is not None and state.labels not in (move.labels_before, move.labels):
                raise InfrastructureError(
                    f"somebody moved the labels meanwhile: {dict(state.labels)}", hint="Run again."
                )
            pending = {"phase": phase, **dataclasses.asdict(move)} if phase else None
            return dataclasses.replace(changed(state, move), pending=pending)

        return self._store.change(guarded, f"{move.action}: {phase or 'done'}", move.why, move.run_id)

    def _wait(self, move: Move) -> None:
        if self._server is not None:
            versions = sorted({*move.labels.values()})
            wait_until_available(self._server, self._store.model, versions, self._load_timeout_seconds)

    def _tell(self, state: StoreState | None = None) -> None:
        """The mirror first: servers that read it must find what they are told to load."""
        self.sync_mirror(state)
        self._reload(state)

    def _tell_back(self, state: StoreState | None = None) -> None:
        """On the way back the servers come first, and neither keeps the other from being told."""
        failures = []
        for told in (self._reload, self.sync_mirror):
            try:
                told(state)
            except InfrastructureError as error:
                failures.append(error)
        if failures:
            raise InfrastructureError("; ".join(each.message for each in failures), hint=failures[0].hint)

    def _reload(self, state: StoreState | None) -> None:
        if self._server is not None:
            self._server.reload(self._place_of_server.server_config(state))


def _loading(state: StoreState, move: Move) -> StoreState:
    return dataclasses.replace(state, also_served=_without_label(move.labels, state.labels))


def _labelled(state: StoreState, move: Move) -> StoreState:
    return dataclasses.replace(
        state,
        labels=move.labels,
        also_served=_without_label(move.labels_before, move.labels),
        rollout=move.rollout,
        rejected={**state.rejected, **move.rejected},
    )


def _drained(state: StoreState, move: Move) -> StoreState:
    return dataclasses.replace(state, also_served=())


def _without_label(served: Mapping[str, int], labels: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(sorted({*served.values()} - {*labels.values()}))
