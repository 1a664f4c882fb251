"""One run at a time below a root: a lock file that the operating system frees when its owner dies."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import InfrastructureError, LockHeldError

LOCK_NAME = "run.lock"


@contextlib.contextmanager
def run_lock(root: Path, run_id: str) -> Iterator[None]:
    """Holds `<root>/run.lock` for `run_id`.

    flock is tied to the open file, so a killed owner (SIGKILL too) leaves no stale lock; the text only tells who it is.
    Raises LockHeldError naming the owner, InfrastructureError where the root cannot be written.
    """
    path = root / LOCK_NAME
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (held for the whole run)
    except OSError as error:
        raise InfrastructureError(
            f"root {root} cannot be written: {error.strerror}",
            hint="Set `root` in hivemill.yaml to a folder that this user may write.",
        ) from error
    with file:
        _acquire(file, path)
        file.seek(0)
        file.truncate()
        json.dump(_owner_card(run_id), file)
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def owner(root: Path) -> dict[str, Any] | None:
    """Who holds the lock below `root`: {run_id, host, pid, since_utc}, or None when it is free."""
    path = root / LOCK_NAME
    try:
        with open(path, "r+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
            except BlockingIOError:
                return _read_card(file)
    except FileNotFoundError:
        return None
    except PermissionError:
        with open(path, encoding="utf-8") as file:
            return _read_card(file) or None


def _acquire(file: Any, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        card = _read_card(file)
        raise LockHeldError(
            f"another run holds {path}: {card.get('run_id', 'unknown run')}, process {card.get('pid', '?')} "
            f"on {card.get('host', '?')}, since {card.get('since_utc', '?')}",
            hint="Wait for it (`hivemill status`), or stop that process; a dead one holds no lock.",
        ) from None


def _owner_card(run_id: str) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return {"run_id": run_id, "host": socket.gethostname(), "pid": os.getpid(), "since_utc": now}


def _read_card(file: Any) -> dict[str, Any]:
    file.seek(0)
    with contextlib.suppress(json.JSONDecodeError):
        return json.load(file)
    return {}
