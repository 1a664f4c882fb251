"""Indexes as they are asked: mapped from the folder that holds them, or fetched from a URL first.

What is fetched is mapped and removed at once: the space is free when the index is, even after kill -9. A process holds
the indexes that it asked last, since partitions of neighbouring days ask for the same ones.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from hivemill.common.storage import urls
from hivemill.components.hive_example_gen.cache.entries import store_at
from hivemill.components.hive_example_gen.rows import event_index
from hivemill.components.hive_example_gen.rows.event_index import EventIndex

MAX_PAIRS_HELD = 1 << 27
"""Of fetched indexes, besides those in use: 3 GiB on the disk of temporary files."""


def opened(partitions_path: str, fingerprint: str, ensure: Callable[[], object]) -> EventIndex:
    """The index. `ensure` is called where it may have to be built first. Raises what `ensure` raises."""
    if urls.is_url(partitions_path):
        return _FETCHED.get(partitions_path, fingerprint, ensure)
    ensure()
    return EventIndex(Path(partitions_path) / fingerprint)


class _Fetched:
    """One at a time is fetched: who waits for it here would fetch it too."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, str], EventIndex] = OrderedDict()
        self._fetching = threading.Lock()

    def get(self, place: str, fingerprint: str, ensure: Callable[[], object]) -> EventIndex:
        key = (place, fingerprint)
        with self._fetching:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        ensure()
        with self._fetching:
            if key not in self._held:
                with store_at(place).local([(fingerprint, name) for name in event_index.FILE_NAMES]) as paths:
                    self._held[key] = EventIndex(paths[0].parent)
                self._forget()
            return self._held[key]

    def _forget(self) -> None:
        while len(self._held) > 1 and sum(map(len, self._held.values())) > MAX_PAIRS_HELD:
            self._held.popitem(last=False)


_FETCHED = _Fetched()
