"""One run at a time below a root: a lock file with its owner's card.

Two things hold it together. The operating system's lock (flock) ends with the process, however it ends. Where several
hosts share the root, that lock may be known to one host only; so the owner also counts a heartbeat up in its card, and
whoever finds the card of another host watches the count before it believes that the owner is dead. Counts are compared,
never clocks: a host whose clock is wrong steals nothing.

A root in an object store has its lock there (common.storage.object_lock).
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hivemill.common.clock import seconds_since, utc_now
from hivemill.common.errors import InfrastructureError, LockHeldError
from hivemill.common.processes import is_alive
from hivemill.common.storage import object_lock
from hivemill.common.storage.object_lock import words
from hivemill.pipeline.root import object_root

LOCK_NAME = "run.lock"
BEAT_SECONDS = 10.0
LEASE_SECONDS = 60.0  # an owner on another host that misses six beats is dead
_FLICKER_SECONDS = 1.0  # `owner` takes the lock for an instant, which is no reason to refuse a run
_POLL_SECONDS = 0.05
_CARD_BYTES = 512  # a card is written over in one piece, always of one length: no reader sees half of one

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class LockOptions:
    """How patient a run is. Tests take shorter times; `wait_seconds` is `run --lock-wait`."""

    wait_seconds: float = 0.0
    lease_seconds: float = LEASE_SECONDS
    beat_seconds: float = BEAT_SECONDS


@contextlib.contextmanager
def run_lock(
    root: Path,
    run_id: str,
    options: LockOptions = LockOptions(),
    say: Say = lambda line: None,
    lost: Callable[[str], None] = lambda reason: None,
) -> Iterator[dict[str, Any] | None]:
    """Holds `<root>/run.lock` for `run_id`; yields the card of a dead owner that was taken over, else None.

    Args:
        say: told of waiting, and of a dead owner. A lock is never taken over silently.
        lost: called from another thread when the lock was taken away (`hivemill unlock --dead-host`).

    Raises:
        LockHeldError: naming the owner. InfrastructureError: where the root cannot be written.
    """
    copy = object_root.behind(root)
    if copy is not None:
        with copy.locked(run_id, _patience(options), say, lost) as left:
            yield left
        return
    path = root / LOCK_NAME
    with _acquired(path, options, say) as file:
        left = _taken_over(path, options, say)
        card = _owner_card(run_id)
        _write_card(file, card)
        try:
            with _Heartbeat(file, path, card, options.beat_seconds, lost):
                yield left
        finally:  # an error too: a card that stays says that its owner died, and another host watches it for a lease
            if _is_current(file, path):
                file.truncate(0)


@contextlib.contextmanager
def backfill_lock(root: Path, folder: Path, what: str, say: Say) -> Iterator[None]:
    """One backfill at a time below `root`, with its journals in `folder`; its runs take the root's lock one by one."""
    copy = object_root.behind(root)
    if copy is None:
        with run_lock(folder, what, say=say):
            yield
        return
    with object_lock.object_lock(f"{copy.lock_url}-backfill", what, say=say):
        copy.fetch()
        try:
            yield
        finally:
            copy.put()


def owner(root: Path) -> dict[str, Any] | None:
    """Who holds the lock below `root`: {run_id, host, pid, since_utc, beat, age_seconds}, or None when it is free.

    A card of another host counts as held while its last beat is younger than the lease, by the file's time.
    """
    copy = object_root.behind(root)
    return object_lock.owner(copy.lock_url) if copy else _card_where(root, is_held=True)


def stale(root: Path) -> dict[str, Any] | None:
    """The card that a dead owner left, as `owner` gives it; the next run takes its lock over and says so."""
    copy = object_root.behind(root)
    return object_lock.stale(copy.lock_url) if copy else _card_where(root, is_held=False)


def remove(root: Path, dead_host: str | None, options: LockOptions = LockOptions()) -> dict[str, Any] | None:
    """Removes the lock that a dead owner left; returns its card, or None where there was nothing to remove.

    `dead_host` names the owner's host, of which somebody knows that it is dead: nothing is watched, and a lock that the
    file server still keeps for that host is replaced. Raises LockHeldError where the owner lives.
    """
    copy = object_root.behind(root)
    if copy is not None:
        return object_lock.remove(copy.lock_url, dead_host, _patience(options))
    path = root / LOCK_NAME
    card = _peek(path)
    if card is None:
        return None
    if dead_host is not None:
        _check_dead_host(card, dead_host, path)
        path.unlink()  # an owner that lives after all sees at its next beat that its file is gone, and stops
        return card
    with _acquired(path, dataclasses.replace(options, wait_seconds=0.0)) as file:
        _taken_over(path, options, lambda line: None)
        file.truncate(0)
    return card


def _patience(options: LockOptions) -> object_lock.Patience:
    return object_lock.Patience(options.wait_seconds, options.lease_seconds, options.beat_seconds)


def _check_dead_host(card: dict[str, Any], dead_host: str, path: Path) -> None:
    host = card.get("host", "?")
    if host != dead_host:
        raise LockHeldError(
            f"{path} belongs to a process on {host}, not on {dead_host}", hint="`hivemill status` shows the owner."
        )
    if host == socket.gethostname() and is_alive(card.get("pid")):
        raise LockHeldError(
            f"process {card.get('pid')} of {path} lives, on this host", hint="Stop it (kill PID) and wait 10 seconds."
        )


@contextlib.contextmanager
def _acquired(path: Path, options: LockOptions, say: Say = lambda line: None) -> Iterator[Any]:
    """The open lock file, locked on this host. Waits as long as the options say."""
    deadline = time.monotonic() + max(options.wait_seconds, _FLICKER_SECONDS)
    is_told = options.wait_seconds <= 0
    while (file := _locked_file(path)) is None:
        if time.monotonic() >= deadline:
            raise _held(path, _card_at(path))
        if not is_told:
            say(f"Waiting at most {options.wait_seconds / 60:g} min for the lock of {words(_card_at(path))}")
            is_told = True
        time.sleep(_POLL_SECONDS)
    with file:
        yield file


def _locked_file(path: Path) -> Any | None:
    """None where somebody else has it, or the file was replaced between opening and locking."""
    file = _opened(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_current(file, path):
            return file
    except BlockingIOError:
        pass
    file.close()
    return None


def _taken_over(path: Path, options: LockOptions, say: Say) -> dict[str, Any] | None:
    """With the lock of this host held: the card of a dead owner. Raises LockHeldError where its owner still beats."""
    card = _card_at(path)
    if not card:
        return None
    if card.get("host") == socket.gethostname():
        say(f"Takes over the lock of {words(card)}: that process is dead.")
        return card
    say(f"The lock is of {words(card)}; watching it for {options.lease_seconds:.0f} s.")
    deadline = time.monotonic() + options.lease_seconds
    while time.monotonic() < deadline:
        time.sleep(min(1.0, options.lease_seconds / 20))
        now = _card_at(path)
        if now != card:
            raise _held(path, now or card)
    say(f"Takes over the lock of {words(card)}: no heartbeat for {options.lease_seconds:.0f} s.")
    return card


class _Heartbeat:
    """Counts the card's beat up while the run goes on, and notices when the lock file is no longer ours."""

    def __init__(self, file: Any, path: Path, card: dict[str, Any], seconds: float, lost: Callable[[str], None]):
        self._file, self._path, self._card, self._seconds, self._lost = file, path, card, seconds, lost
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="run-lock")

    def __enter__(self) -> _Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._done.wait(self._seconds):
            try:
                if not _is_current(self._file, self._path) or not _is_of(_read_card(self._file), self._card):
                    self._lost(f"the lock {self._path} was taken away from this run")
                    return
                self._card = {**self._card, "beat": self._card["beat"] + 1}
                _write_card(self._file, self._card)
            except OSError:
                continue  # a disk that is full or away for a moment is no reason to stop; the next beat tries again


def _opened(path: Path) -> Any:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
    except OSError as error:
        raise InfrastructureError(
            f"root {path.parent} cannot be written: {error.strerror}",
            hint="Set `root` in hivemill.yaml to a folder that this user may write.",
        ) from error


def _is_current(file: Any, path: Path) -> bool:
    """False where the file at `path` is another one by now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _is_of(card: dict[str, Any], mine: dict[str, Any]) -> bool:
    return all(card.get(key) == mine[key] for key in ("run_id", "host", "pid", "since_utc"))


def _held(path: Path, card: dict[str, Any]) -> LockHeldError:
    return LockHeldError(
        f"another run holds {path}: {words(card)}",
        hint="Wait for it (`hivemill status`, `--lock-wait MINUTES`) or stop that process; a killed one holds no lock. "
        "`hivemill unlock` removes the lock of a dead host.",
    )


def _owner_card(run_id: str) -> dict[str, Any]:
    return {"run_id": run_id, "host": socket.gethostname(), "pid": os.getpid(), "since_utc": utc_now(), "beat": 0}


def _write_card(file: Any, card: dict[str, Any]) -> None:
    data = json.dumps(card).encode().ljust(_CARD_BYTES)
    os.pwrite(file.fileno(), data, 0)
    os.ftruncate(file.fileno(), len(data))


def _card_where(root: Path, is_held: bool) -> dict[str, Any] | None:
    path = root / LOCK_NAME
    card = _peek(path)
    if card is None or _believed_held(path, card) != is_held:
        return None
    return card


def _believed_held(path: Path, card: dict[str, Any]) -> bool:
    if card["is_locked"]:
        return True
    is_foreign = card.get("host") != socket.gethostname()
    return is_foreign and card["silent_seconds"] < LEASE_SECONDS


def _peek(path: Path) -> dict[str, Any] | None:
    """The card with `is_locked` (on this host), `silent_seconds` and `age_seconds`; None where nobody left one."""
    try:
        with open(path, "rb", buffering=0) as file:
            is_locked = not _could_lock(file)
            card = _read_card(file)
            silent = max(0.0, time.time() - os.fstat(file.fileno()).st_mtime)
    except FileNotFoundError:
        return None
    if not card and not is_locked:
        return None
    return {
        **card,
        "is_locked": is_locked,
        "silent_seconds": round(silent),
        "age_seconds": seconds_since(card.get("since_utc")),
    }


def _could_lock(file: Any) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return True


def _card_at(path: Path) -> dict[str, Any]:
    """Opened anew, because a network filesystem promises fresh content at opening only."""
    try:
        with open(path, "rb", buffering=0) as file:
            return _read_card(file)
    except FileNotFoundError:
        return {}


def _read_card(file: Any) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        card = json.loads(os.pread(file.fileno(), 4 * _CARD_BYTES, 0) or b"{}")
        return card if isinstance(card, dict) else {}
    return {}
