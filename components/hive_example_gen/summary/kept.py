"""Summaries of converted partitions in their entries of the cache: written with them, or made of their TFRecords."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hivemill.common.storage.atomic import write_json_atomically
from hivemill.components.hive_example_gen.cache.base import Store
from hivemill.components.hive_example_gen.cache.partition_record import PartitionRecord
from hivemill.components.hive_example_gen.summary.builder import Summariser
from hivemill.components.hive_example_gen.summary.record import SUMMARY, SummaryRecord, statistics_version
from hivemill.components.hive_example_gen.summary.request import SummaryRequest
from hivemill.components.hive_example_gen.summary.summary_file import SUFFIX


@contextlib.contextmanager
def written_beside(store: Store, key: str, folder: Path, request: SummaryRequest | None) -> Iterator[Summariser | None]:
    """What takes the batches of a conversion; at the end of the block its summary is in `folder`, that of the entry.

    Nothing where no summary is asked for. Raises OSError.
    """
    if request is None:
        yield None
        return
    with store.scratch() as scratch:
        summariser = Summariser(request, scratch)
        yield summariser
        record = _written(summariser, key, folder, request)
        write_json_atomically(folder / SUMMARY.record_name, SUMMARY.document(record))


def lacking(store: Store, keys: Iterable[str], request: SummaryRequest) -> set[str]:
    """The entries whose summary does not answer the request. Raises InfrastructureError."""
    wanted = set(keys)
    return wanted - {key for key, record in store.find(SUMMARY, wanted).items() if record.answers(request)}


def files_of(store: Store, keys: Sequence[str]) -> dict[str, str]:
    """Name of the summary's file by entry, of those that have one. Raises InfrastructureError."""
    return {key: record.file for key, record in store.find(SUMMARY, keys).items()}


def ensure(store: Store, partition: PartitionRecord, request: SummaryRequest) -> None:
    """Makes the summary of a converted partition by one pass over its shards unless what it has answers the request.

    The new one answers what the old one did, too. Raises OSError, InfrastructureError.
    """
    key = partition.fingerprint
    known = store.find(SUMMARY, [key]).get(key)
    if known is not None:
        if known.answers(request):
            return
        request = request.with_all_of(known.request)
    # TensorFlow reads the shards.
    from hivemill.components.hive_example_gen.summary.from_examples import summarise

    shards = [(key, shard.name) for shard in partition.shards]
    with store.scratch() as scratch, store.local(shards) as files:
        record = _written(summarise(list(map(str, files)), request, scratch), key, scratch, request)
        store.add(SUMMARY, key, scratch / record.file, SUMMARY.document(record))


def _written(summariser: Summariser, key: str, folder: Path, request: SummaryRequest) -> SummaryRecord:
    path = folder / f"summary-{uuid.uuid4().hex[:12]}{SUFFIX}"
    rows = summariser.write(path)
    return SummaryRecord(key, path.name, path.stat().st_size, rows, request, statistics_version())
