"""The store of kept conversions at a place: a folder or a URL. Whoever uses one need not know which."""

from __future__ import annotations

import functools
from pathlib import Path

from hivemill.common.storage import urls
from hivemill.components.hive_example_gen.cache.base import Store
from hivemill.components.hive_example_gen.cache.local import FolderStore
from hivemill.components.hive_example_gen.cache.object_store import ObjectStoreCache


def store_at(place: str) -> Store:
    """`place` is a folder, which need not exist, or a URL."""
    if urls.is_url(place):
        return _of_url(place)
    return FolderStore(Path(place))


@functools.lru_cache(maxsize=4)
def _of_url(place: str) -> Store:
    """One per process, because it remembers records."""
    return ObjectStoreCache(place)
