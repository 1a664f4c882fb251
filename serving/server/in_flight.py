"""A bound on the bytes of all requests in progress, over both protocols.

A few bytes of a message can stand for many in memory. So a request first claims its received size times the largest
growth that decoding can cause, and only then is decoded. Small requests pass beside a large one; a request that finds
no room within a second is refused with RESOURCE_EXHAUSTED (HTTP 429), and clients may try again later.
"""

from __future__ import annotations

import threading
from types import TracebackType

import grpc

from hivemill.serving.server.api.errors import ServingError

DECODED_FACTOR = 32
"""Bytes in memory for one byte received. The worst found: JSON `[[],[],…]` and Examples of two bytes each."""
_WAIT_SECONDS = 1.0


class InFlight:
    """The bytes that all requests together may hold. Thread-safe."""

    def __init__(self, limit: int):
        self.limit = limit
        self._held, self._changed = 0, threading.Condition()

    def claim(self) -> Claim:
        return Claim(self)

    @property
    def held(self) -> int:
        with self._changed:
            return self._held

    def _change(self, difference: int, wait_seconds: float) -> None:
        with self._changed:
            has_room = self._changed.wait_for(lambda: self._held + difference <= self.limit, wait_seconds)
            if difference > 0 and not has_room:
                raise ServingError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"the requests in progress hold {self._held} of {self.limit} bytes, and this one needs "
                    f"{difference} more; try again later, or send smaller requests",
                )
            self._held += difference
            self._changed.notify_all()


class Claim:
    """What one request holds. `release` more than once does nothing more."""

    def __init__(self, in_flight: InFlight):
        self._in_flight, self.bytes, self._is_released = in_flight, 0, False

    def resize(self, size: int, wait_seconds: float | None = None) -> None:
        """Holds `size` bytes from now on; the whole bound at most, so that the largest request can run alone.

        Raises ServingError (RESOURCE_EXHAUSTED) where there is no room within the time, a second by default.
        """
        size = min(size, self._in_flight.limit)
        wait = _WAIT_SECONDS if wait_seconds is None else max(0.0, min(_WAIT_SECONDS, wait_seconds))
        self._in_flight._change(size - self.bytes, wait if size > self.bytes else 0.0)
        self.bytes = size

    def release(self) -> None:
        if not self._is_released:
            self._is_released = True
            self._in_flight._change(-self.bytes, 0.0)

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
