"""A scheduler's stop (SIGTERM) ends a run in time: cleanly where the run can, at once where it cannot.

The signal raises InfrastructureError in the main thread, so that a run records it and frees its lock. That may take too
long, or never happen: a library may be deep in C++ code, or swallow the error. So a thread learns of the signal at the
same moment (Python's C handler writes it to a pipe), and ends the process when the grace is over. A run that ends so is
one more killed run: it goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

from hivemill.common.errors import InfrastructureError

GRACE_SECONDS = 8.0  # schedulers kill after 10 s or more (docker stop: 10, Kubernetes: 30, systemd: 90)
_HINT = "Run it again: it goes on where it stopped."
LastWords = Callable[[InfrastructureError], None]


class Stop:
    """Why the process stops, for whoever ends it: a signal from outside, or a reason of our own."""

    def __init__(self) -> None:
        self._reason = f"stopped by {signal.SIGTERM.name}"
        self.last_words: LastWords = lambda error: None

    def now(self, reason: str) -> None:
        """Stops this process as SIGTERM would, from any thread."""
        self._reason = reason
        os.kill(os.getpid(), signal.SIGTERM)

    def error(self) -> InfrastructureError:
        return InfrastructureError(self._reason, hint=_HINT)


@contextlib.contextmanager
def stopped_by_sigterm(grace_seconds: float = GRACE_SECONDS) -> Iterator[Stop]:
    """SIGTERM raises InfrastructureError in this thread; after the grace `last_words` are called and the process ends.

    `last_words` must be quick and take no lock that the main thread may hold. Elsewhere than in the main thread, where
    Python has no signals, this does nothing.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def raise_it(number: int, frame: object) -> None:
        raise stop.error()

    watch = _Watch(stop, grace_seconds)
    saved = signal.signal(signal.SIGTERM, raise_it)
    try:
        with watch:
            yield stop
    finally:
        signal.signal(signal.SIGTERM, saved)


class _Watch:
    """Learns of SIGTERM by Python's wakeup descriptor, which the C handler writes to whatever the main thread does."""

    def __init__(self, stop: Stop, grace_seconds: float):
        self._stop, self._grace = stop, grace_seconds
        self._over = threading.Event()

    def __enter__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._saved = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, daemon=True, name="sigterm")
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._saved)
        self._over.set()
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"\0")  # closing it would not do where a forked child has it open too
        os.close(self._writer)
        self._thread.join()
        os.close(self._reader)

    def _watch(self) -> None:
        while (received := os.read(self._reader, 1)) and not self._over.is_set():
            if received[0] != signal.SIGTERM:
                continue
            if self._over.wait(self._grace):
                return
            with contextlib.suppress(Exception):
                self._stop.last_words(self._stop.error())
            os._exit(InfrastructureError.exit_code)
