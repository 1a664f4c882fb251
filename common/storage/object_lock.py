"""A lock in an object store, which has neither locks nor a write that fails where another was quicker.

    <url>/2f1c….json     one claim: its owner's card, with a beat that is counted up

Whoever wants the lock puts a claim of its own and then lists: alone there, it holds the lock; otherwise it withdraws
and tries again after a moment. Of two that put at the same time at least one sees the other, because both stores
promise that a listing sees every finished write; so there are never two that found themselves alone. Owners count their
beat up; a claim whose beat stands still for a lease belongs to a dead owner and is removed, which is said. Beats are
compared, never clocks. An owner that was silent for a lease itself (a machine that slept) takes its lock for lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from hivemill.common.clock import seconds_since, utc_now
from hivemill.common.errors import InfrastructureError, LockHeldError
from hivemill.common.processes import is_alive
from hivemill.common.storage import object_store, urls

Card = dict[str, Any]
_PAUSE_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long is waited for a living owner, how often one beats, and after which silence it is dead."""

    wait_seconds: float = 0.0
    lease_seconds: float = 60.0
    beat_seconds: float = 10.0


@contextlib.contextmanager
def object_lock(
    url: str,
    what: str,
    patience: Patience = Patience(),
    say: Callable[[str], None] = lambda line: None,
    lost: Callable[[str], None] = lambda reason: None,
) -> Iterator[Card | None]:
    """Holds the lock of the folder `url` for `what`; yields the card of a dead owner that was taken over, else None.

    `say` is told of waiting and of a dead owner; `lost` is called from another thread when the lock was taken away.
    Raises LockHeldError naming the owner, InfrastructureError where the store does not answer.
    """
    card = {"run_id": what, "host": socket.gethostname(), "pid": os.getpid(), "since_utc": utc_now(), "beat": 0}
    claim = object_store.join(url, f"{uuid.uuid4().hex}.json")
    left = _acquire(url, claim, card, patience, say)
    with _Heartbeat(url, claim, card, patience, lost):
        yield left


def owner(url: str, lease_seconds: float = 60.0) -> Card | None:
    """Who holds the lock: {run_id, host, pid, since_utc, beat, age_seconds}, or None.

    Told from one look and by clocks, so it is shown and never acted on.
    """
    return next((card for card in _shown(url) if card["silent_seconds"] < lease_seconds and not _died_here(card)), None)


def stale(url: str, lease_seconds: float = 60.0) -> Card | None:
    """The card that a dead owner left."""
    return next((card for card in _shown(url) if card["silent_seconds"] >= lease_seconds or _died_here(card)), None)


def remove(url: str, dead_host: str | None = None, patience: Patience = Patience()) -> Card | None:
    """Removes the claim that a dead owner left; returns its card. `dead_host` is known to be dead: nothing is watched.

    Raises LockHeldError where the owner lives, or is on another host.
    """
    claims = _claims(url)
    card = next(iter(claims.values()), None)
    if card is None:
        return None
    if dead_host is None:
        with object_lock(url, "unlock", patience) as left:
            return left
    if card.get("host") != dead_host:
        raise LockHeldError(
            f"{urls.shown(url)} belongs to a process on {card.get('host', '?')}, not on {dead_host}",
            hint="`hivemill status` shows the owner.",
        )
    if dead_host == socket.gethostname() and not _died_here(card):
        raise LockHeldError(f"process {card.get('pid')} of {urls.shown(url)} lives, on this host", hint="Stop it.")
    for name in claims:
        object_store.delete(name)
    return card


def words(card: Card) -> str:
    """Whose card it is: run, process, host and time."""
    return (
        f"{card.get('run_id', 'unknown run')}, process {card.get('pid', '?')} on {card.get('host', '?')}, "
        f"since {card.get('since_utc', '?')}"
    )


def _acquire(url: str, claim: str, card: Card, patience: Patience, say: Callable[[str], None]) -> Card | None:
    deadline = time.monotonic() + patience.wait_seconds
    watch, is_told, left = _Watch(patience.lease_seconds), False, None
    while True:
        others = _claims(url)
        for name, dead in watch.dead(others):
            say(f"Takes over the lock of {words(dead)}: {watch.why(dead)}.")
            object_store.delete(name)
            left = others.pop(name)
        if not others and _is_alone(url, claim, card):
            return left
        owner = watch.lives(others)
        if owner and time.monotonic() >= deadline:
            raise _held(url, owner)
        if others and not is_told:
            one = next(iter(others.values()))
            say(f"The lock {urls.shown(url)} is of {words(one)}; watching it for {patience.lease_seconds:.0f} s.")
            is_told = True
        time.sleep(_PAUSE_SECONDS * (0.5 + random.random()))


def _is_alone(url: str, claim: str, card: Card) -> bool:
    """Puts the claim; withdraws it again where another one is there."""
    _write(claim, card)
    try:
        if set(_claims(url)) == {claim}:
            return True
    except BaseException:
        with contextlib.suppress(InfrastructureError):
            object_store.delete(claim)
        raise
    object_store.delete(claim)
    return False


class _Watch:
    """Tells the living from the dead among other claims, by their beats."""

    def __init__(self, lease_seconds: float):
        self._lease = lease_seconds
        self._seen: dict[str, tuple[Any, float]] = {}
        self._beaten: set[str] = set()

    def dead(self, claims: dict[str, Card]) -> list[tuple[str, Card]]:
        now = time.monotonic()
        for name, card in claims.items():
            beat, since = self._seen.get(name, (card.get("beat"), now))
            if beat != card.get("beat"):
                self._beaten.add(name)
                since = now
            self._seen[name] = (card.get("beat"), since)
        return [
            (name, card)
            for name, card in claims.items()
            if _died_here(card) or now - self._seen[name][1] >= self._lease
        ]

    def lives(self, claims: dict[str, Card]) -> Card | None:
        """An owner that has been seen to beat, or whose process is on this host."""
        here = socket.gethostname()
        return next((card for name, card in claims.items() if name in self._beaten or card.get("host") == here), None)

    def why(self, card: Card) -> str:
        return "that process is dead" if _died_here(card) else f"no heartbeat for {self._lease:.0f} s"


class _Heartbeat:
    def __init__(self, url: str, claim: str, card: Card, patience: Patience, lost: Callable[[str], None]):
        self._url, self._claim, self._card, self._patience, self._lost = url, claim, card, patience, lost
        self._done = threading.Event()
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="object-lock")

    def __enter__(self) -> _Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        with contextlib.suppress(InfrastructureError):  # a claim that stays is of a dead owner a lease from now
            object_store.delete(self._claim)

    def _beat(self) -> None:
        while not self._done.wait(self._patience.beat_seconds):
            try:
                claims = _claims(self._url)
                if self._claim not in claims or (len(claims) > 1 and self._was_silent()):
                    self._lost(f"the lock {urls.shown(self._url)} was taken away from this process")
                    return
                self._card = {**self._card, "beat": self._card["beat"] + 1}
                _write(self._claim, self._card)
                self._last = time.monotonic()
            except InfrastructureError:  # a store that is away for a moment is no reason to stop; nobody else reads it
                continue

    def _was_silent(self) -> bool:
        return time.monotonic() - self._last >= self._patience.lease_seconds


def _claims(url: str) -> dict[str, Card]:
    """Cards by URL of the claim. One that was withdrawn between listing and reading is none."""
    found = {}
    for name in object_store.sizes(url):
        claim = object_store.join(url, name)
        content = object_store.read_bytes(claim)
        if content is not None:
            found[claim] = _card(content)
    return found


def _card(content: bytes) -> Card:
    with contextlib.suppress(ValueError):
        card = json.loads(content)
        return card if isinstance(card, dict) else {}
    return {}


def _write(claim: str, card: Card) -> None:
    object_store.write_bytes(claim, json.dumps(card | {"beat_utc": utc_now()}).encode())


def _shown(url: str) -> list[Card]:
    """Cards with how long they have been silent and how old they are, by the hosts' clocks."""
    ages = {"silent_seconds": "beat_utc", "age_seconds": "since_utc"}
    return [
        card | {name: seconds_since(card.get(key)) or 0 for name, key in ages.items()} for card in _claims(url).values()
    ]


def _died_here(card: Card) -> bool:
    """Only a process of this host can be told dead at once."""
    return card.get("host") == socket.gethostname() and not is_alive(card.get("pid"))


def _held(url: str, card: Card) -> LockHeldError:
    return LockHeldError(
        f"another process holds {urls.shown(url)}: {words(card)}",
        hint="Wait for it (`hivemill status`, `--lock-wait MINUTES`) or stop that process. `hivemill unlock` removes "
        "the lock of a dead host.",
    )
