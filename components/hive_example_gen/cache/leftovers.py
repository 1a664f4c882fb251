"""What killed runs left in an object store, told from one listing: by age, and by what the records name."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping

from hivemill.common.storage import object_store
from hivemill.components.hive_example_gen.cache.base import FAILURES_PREFIX, LEFTOVER_SECONDS, NOTE_SECONDS, NOTE_SUFFIX

SHARD_PREFIX = "data-"
_RECORD_SUFFIX = ".json"
# Whatever else somebody keeps below the URL is not ours to remove.
_OURS = re.compile(rf"[0-9a-f]{{64}}|{re.escape(FAILURES_PREFIX)}.*|{re.escape(NOTE_SUFFIX)}")


def find(url: str) -> list[str]:
    """Paths below `url` of objects that nobody needs and, being a day old, nobody is writing. Raises
    InfrastructureError."""
    now = datetime.datetime.now(datetime.timezone.utc)
    folders: dict[str, dict[str, float]] = {}
    for path, written in object_store.modified(url).items():
        folder, _, name = path.partition("/")
        folders.setdefault(folder, {})[name] = (now - written).total_seconds()
    return [
        f"{folder}/{name}"
        for folder, ages in folders.items()
        if _OURS.fullmatch(folder)
        for name in _unneeded(url, folder, ages)
    ]


def _unneeded(url: str, folder: str, ages: Mapping[str, float]) -> Iterator[str]:
    limit = NOTE_SECONDS if folder == NOTE_SUFFIX else LEFTOVER_SECONDS
    old = [name for name, seconds in ages.items() if seconds > limit]
    if folder.startswith(".") or not any(name.endswith(_RECORD_SUFFIX) for name in ages):
        yield from old
        return
    attempts = {name.rpartition("-")[2] for name in ages if name.startswith(SHARD_PREFIX)}
    if len(attempts) > 1:
        named = _shards_of(object_store.read_bytes(object_store.join(url, folder, "partition.json")))
        yield from (name for name in old if name.startswith(SHARD_PREFIX) and named and name not in named)


def _shards_of(record: bytes | None) -> set[str]:
    """Nothing where the record cannot be read: then nothing is known to be unneeded."""
    try:
        return {shard["name"] for shard in json.loads(record or b"")["shards"]}
    except (ValueError, KeyError, TypeError):
        return set()
