"""Peak resident memory of this process over a stretch of time."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil

_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """`with PeakMemory() as memory: …; memory.peak_bytes`.

    Linux keeps the peak itself (VmHWM; writing 5 to clear_refs sets it back, proc(5)); elsewhere a thread samples it.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0

    def __enter__(self) -> PeakMemory:
        try:
            _CLEAR_REFS.write_text("5")
            self._sampler = None
        except OSError:
            self._sampler = _Sampler()
            self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._sampler is None:
            self.peak_bytes = _high_water_mark_bytes()
        else:
            self.peak_bytes = self._sampler.stop()


def _high_water_mark_bytes() -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


class _Sampler(threading.Thread):
    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._process, self._peak, self._done = psutil.Process(), 0, threading.Event()

    def run(self) -> None:
        while True:
            self._peak = max(self._peak, self._process.memory_info().rss)
            if self._done.wait(0.1):
                return

    def stop(self) -> int:
        self._done.set()
        self.join()
        return self._peak
