"""What a node costs beside its wall time: CPU seconds, peak memory, and the bytes that it leaves behind."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from pathlib import Path

from hivemill.common.storage import object_store, urls
from hivemill.pipeline.orchestrators.peak_memory import PeakMemory


class NodeCost:
    """`with NodeCost() as cost: …; cost.cpu_seconds, cost.peak_memory_bytes`.

    CPU seconds are user and system time of this process and of child processes that have ended (getrusage(2)); workers
    on other machines are not among them.
    """

    def __init__(self) -> None:
        self.cpu_seconds = 0.0
        self._memory = PeakMemory()

    @property
    def peak_memory_bytes(self) -> int:
        return self._memory.peak_bytes

    def __enter__(self) -> NodeCost:
        self._started = _cpu_seconds()
        self._memory.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._memory.__exit__(*error)
        self.cpu_seconds = _cpu_seconds() - self._started


def output_bytes(uris: Iterable[str]) -> int:
    """Size of all files of the artifacts at `uris`, folders or URLs; a file that the node linked counts as well."""
    return sum(_bytes_at(uri) for uri in uris)


def _bytes_at(uri: str) -> int:
    if urls.is_url(uri):
        return sum(object_store.sizes(uri).values())
    path = Path(uri)
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
