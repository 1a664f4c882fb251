"""One command at a time moves a model's rollout: a lock beside the labels, which dies with its holder."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from typing import TextIO

from hivemill.common.errors import LockHeldError
from hivemill.common.storage.object_lock import object_lock
from hivemill.serving.store.audit import signature
from hivemill.serving.store.bucket import BucketModelStore
from hivemill.serving.store.model_store import ModelStore

LOCK_FILE = ".rollout.lock"


@contextlib.contextmanager
def alone(store: ModelStore) -> Iterator[None]:
    """Holds the lock of the model's rollouts. Raises LockHeldError naming who else is at work."""
    if isinstance(store, BucketModelStore):
        with object_lock(store.lock_of(f"rollout-{store.model}"), f"a rollout command for {store.model}"):
            yield
        return
    with open(store.folder / LOCK_FILE, "a+") as lock:
        _acquire(lock, store.model)
        yield


def _acquire(lock: TextIO, model: str) -> None:
    """The text in the file only tells who it is."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise LockHeldError(
            f"another rollout command for {model} is at work: {lock.read().strip() or 'unknown'}",
            hint="Wait until it is done, or end it: a start that is still loading is taken back then.",
        ) from None
    lock.truncate(0)
    who = signature()
    lock.write(f"process {who['pid']} of {who['who']} on {who['host']} since {who['time_utc']}")
    lock.flush()
