"""Live progress of the node that runs now: executors report, whoever shows it listens.

A process has one listener; without one, reports go nowhere, so library use and worker processes cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable

Listener = Callable[[int, "int | None", str], None]
_listener: Listener | None = None
_notes: list[str] = []


def listen(listener: Listener | None) -> None:
    """Installs the one listener of this process (None removes it)."""
    global _listener
    _listener = listener


def report(done: int, total: int | None = None, unit: str = "rows") -> None:
    """Says that `done` of `total` units are finished; `total` is None where it cannot be known."""
    if _listener is not None:
        _listener(done, total, unit)


def note(text: str) -> None:
    """Something that stands below the line of the node that runs now."""
    _notes.append(text)


def take_notes() -> list[str]:
    """The notes since the last call."""
    taken = list(_notes)
    _notes.clear()
    return taken
