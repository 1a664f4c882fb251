"""The records of a window in one object of the store, so that planning costs a listing and not a request per partition.

    <url>/.records/<time>-<random>.json.gz     {record name: {fingerprint: document}}, the newest counts

It is a copy and never the truth: object_store.py takes a record from here only where all that it names is listed with
the size that it says, and reads the record itself otherwise. Shards never change, so that is as good.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import time
import uuid
import zlib
from collections.abc import Mapping
from typing import Any

from hivemill.common.errors import InfrastructureError
from hivemill.common.storage import object_store
from hivemill.components.hive_example_gen.cache.base import Kind, Record

FOLDER = ".records"
_MOST_RECORDS = 20_000  # in memory; a window of 28 days by hours has 840


class Memory:
    """Records by kind and key. Several threads may use one: what they read and write twice is the same."""

    def __init__(self, url: str):
        self._folder = object_store.join(url, FOLDER)
        self._records: dict[tuple[str, str], Any] = {}
        self._newest: str | None = None
        self._documents: dict[str, dict[str, Any]] = {}

    def get(self, kind: Kind[Record], key: str) -> Record | None:
        known = self._records.get((kind.record_name, key))
        if known is not None:
            return known
        document = self._documents.get(kind.record_name, {}).get(key)
        return kind.from_document(key, document) if document is not None else None

    def add(self, kind: Kind[Record], records: Mapping[str, Record]) -> None:
        if len(self._records) > _MOST_RECORDS:
            self._records = {}
        self._records.update({(kind.record_name, key): record for key, record in records.items()})

    def read(self, listing: Mapping[str, Mapping[str, int]]) -> None:
        """Reads the newest object of the listing (bytes by name, by folder) unless that is known already."""
        newest = max(listing.get(FOLDER, ()), default=None)
        if newest is None or newest == self._newest:
            return
        packed = object_store.read_bytes(object_store.join(self._folder, newest))
        with contextlib.suppress(OSError, EOFError, zlib.error, ValueError, TypeError):  # then it helps nobody
            self._documents = dict(json.loads(gzip.decompress(packed or b"")))
            self._newest = newest

    def write(self, kind: Kind[Record], records: Mapping[str, Record]) -> None:
        """Replaces what was remembered, unless that has all of these already."""
        if self._documents.get(kind.record_name, {}).keys() >= records.keys():
            return
        before = object_store.sizes(self._folder)
        newest = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json.gz"
        documents = {kind.record_name: {key: kind.document(record) for key, record in records.items()}}
        packed = gzip.compress(json.dumps(documents, ensure_ascii=False).encode(), compresslevel=1)
        object_store.write_bytes(object_store.join(self._folder, newest), packed)
        self._newest, self._documents = newest, documents
        with contextlib.suppress(InfrastructureError):
            for old in before:
                object_store.delete(object_store.join(self._folder, old))
