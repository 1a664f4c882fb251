"""What a person sees of a run: one line per node, live progress on a terminal, plain lines elsewhere.

Libraries write to file descriptors 1 and 2 as they please (TensorFlow from C++), so during a run both point at the log
file and the console keeps the real standard error for itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from hivemill.common import progress
from hivemill.pipeline.runs.records import NodeRecord

_REFRESH_SECONDS = 0.5


class Console:
    """Writes a run's progress to `stream` (standard error by default)."""

    def __init__(self, stream: TextIO | None = None):
        self._own = stream or sys.stderr
        self.rebind(None)
        self._node, self._node_started, self._drawn = "", 0.0, 0.0
        self._base: int | None = None

    def rebind(self, stream: TextIO | None) -> None:
        """Writes to `stream` from now on (None: its own again), because descriptor 2 points elsewhere during a run."""
        self._stream = stream or self._own
        self._live = self._stream.isatty()

    def line(self, text: str) -> None:
        self._erase()
        self._stream.write(text + "\n")
        self._stream.flush()

    def node_starts(self, node_id: str) -> None:
        self._node, self._node_started, self._base = node_id, time.monotonic(), None
        progress.listen(self._on_progress)
        if self._live:
            self._draw("…")

    def node_ended(self, record: NodeRecord) -> None:
        progress.listen(None)
        rows = f"{record.rows:>13,} rows" if record.rows is not None else " " * 18
        memory = f"{(record.peak_memory_bytes or 0) / 2**20:>8,.0f} MiB"
        self.line(f"{record.node_id:<20}{record.state:<10}{record.seconds:>8.1f} s{rows}{memory}")
        for note in progress.take_notes():
            self.line(f"{'':<20}{note}")

    def _on_progress(self, done: int, total: int | None, unit: str) -> None:
        now = time.monotonic()
        if not self._live or now - self._drawn < _REFRESH_SECONDS:
            return
        if self._base is None:  # a resumed training starts with work that this process did not do
            self._base, self._node_started = done, now
        speed = (done - self._base) / max(now - self._node_started, 1e-9)
        text = f"{done:,}" + (f" of {total:,}" if total else "") + f" {unit}"
        if speed > 0:
            text += f", {speed:,.0f} {unit}/s"
            text += f", {max(total - done, 0) / speed:,.0f} s left" if total else ""
        self._draw(text)

    def _draw(self, text: str) -> None:
        self._drawn = time.monotonic()
        self._stream.write(f"\r\x1b[K{self._node:<20}running   {text}")
        self._stream.flush()

    def _erase(self) -> None:
        if self._live:
            self._stream.write("\r\x1b[K")


@contextlib.contextmanager
def library_noise_to(log: Path) -> Iterator[TextIO]:
    """Sends everything written to descriptors 1 and 2, and all logging, to `log`; yields the real standard error."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved_out, saved_err = os.dup(1), os.dup(2)
    real_error = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
    handler = logging.FileHandler(log, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    saved_level, saved_handlers = root.level, root.handlers[:]
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    try:
        yield real_error
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(saved_out, 1)
        os.dup2(saved_err, 2)
        os.close(saved_out)
        os.close(saved_err)
        real_error.close()
        root.handlers[:] = saved_handlers
        root.setLevel(saved_level)
        handler.close()
