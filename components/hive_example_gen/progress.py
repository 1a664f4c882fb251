"""Reports rows converted while a Beam pipeline runs, whatever its runner.

Partitions published so far are seen in the cache; within this process the converter's own counter is finer.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

from hivemill.common import progress
from hivemill.common.errors import InfrastructureError
from hivemill.components.hive_example_gen import convert
from hivemill.components.hive_example_gen.cache import partition_record
from hivemill.components.hive_example_gen.cache.entries import store_at
from hivemill.components.hive_example_gen.planning.window import PlannedPartition


@contextlib.contextmanager
def reported(partitions: Sequence[PlannedPartition], partitions_path: str) -> Iterator[None]:
    """Reports every second (of a URL less often) while the block runs, and once at its end."""
    watcher = _Watcher(partitions, partitions_path)
    stop = threading.Event()
    thread = threading.Thread(target=watcher.watch, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    watcher.report()


class _Watcher:
    def __init__(self, partitions: Sequence[PlannedPartition], partitions_path: str):
        self.waiting = {partition.fingerprint: partition.num_bytes for partition in partitions}
        self.num_bytes = sum(self.waiting.values())
        self.store = store_at(partitions_path)
        self.bytes_done = 0
        self.rows_done = 0
        self.rows_before = convert.rows_converted

    def watch(self, stop: threading.Event) -> None:
        while not stop.wait(self.store.seconds_between_looks):
            with contextlib.suppress(InfrastructureError):  # what is to be said of it, the conversion says
                self.report()

    def report(self) -> None:
        """The total is estimated from the rows per byte of finished partitions; unknown until the first is finished."""
        for fingerprint, record in self.store.find(partition_record.PARTITION, list(self.waiting)).items():
            self.bytes_done += self.waiting.pop(fingerprint)
            self.rows_done += record.rows
        rows = max(self.rows_done, convert.rows_converted - self.rows_before)
        total = round(self.rows_done * self.num_bytes / self.bytes_done) if self.bytes_done else None
        progress.report(rows, max(total, rows) if total is not None else None)
