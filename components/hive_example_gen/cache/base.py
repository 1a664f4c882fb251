"""What every store of kept conversions has in common: what an entry is, and what a store can do.

A store keeps one entry per fingerprint, complete or absent:

    <place>/<fingerprint>/partition.json       the record of the entry, with its shards (partition_record)
    <place>/<fingerprint>/data-00000.gz …
    <place>/<fingerprint>/summary.json         the record of its summary (summary.record), with summary-….summary
    <place>/<fingerprint>/quarantine.jsonl.gz, clicks-….bits     what else a conversion found (quarantine, label_join)
    <place>/<fingerprint>/index.json           of an index of the label join (label_join.build), with its three files

`entries.store_at(place)` gives the store of a folder (local) or of a URL (object_store).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Generic, Protocol, TypeVar

from hivemill.common.storage.atomic import cannot_write, write_json_atomically

LEFTOVER_SECONDS = 24 * 3600
NOTE_SECONDS = 90 * 86_400
NOTE_SUFFIX = ".reading"
FAILURES_PREFIX = ".failures."
Record = TypeVar("Record")


@dataclass(frozen=True)
class Kind(Generic[Record]):
    """What an entry's record is.

    Attributes:
        record_name: the file that makes an entry complete.
        parse: fingerprint and document -> record. Raises KeyError, TypeError, ValueError, AttributeError for one of
            another version or entry, or a damaged one.
        document: the record as it is written.
        sizes: bytes of the entry's files by name, as the record has them.
    """

    record_name: str
    parse: Callable[[str, Any], Record]
    document: Callable[[Record], Any]
    sizes: Callable[[Record], Mapping[str, int]]

    def from_document(self, key: str, document: Any) -> Record | None:
        try:
            return self.parse(key, document)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def from_text(self, key: str, text: bytes) -> Record | None:
        try:
            return self.from_document(key, json.loads(text))
        except ValueError:
            return None


class UnfinishedEntry(Protocol):
    """An entry that is being written: files in `folder`, which is on this machine."""

    @property
    def folder(self) -> Path: ...

    def shard(self, index: int) -> Path:
        """Where to write the shard `index`, from 0."""

    def done(self, shard: Path) -> None:
        """Takes a shard that is written; it may leave the folder at once. Raises OSError, InfrastructureError."""


class Store(Protocol):
    """Entries below one place. A URL that does not answer is an InfrastructureError in every method."""

    seconds_between_looks: float
    """How often progress may ask."""

    @property
    def scratch_place(self) -> str:
        """Where conversions put temporary files, for people."""

    def scratch(self) -> contextlib.AbstractContextManager[Path]:
        """An empty folder of this machine, removed afterwards, or as a leftover."""

    def find(self, kind: Kind[Record], keys: Iterable[str]) -> dict[str, Record]:
        """The records of those entries that are whole: every file is there and has the size that the record says."""

    def writing(self, kind: Kind[Any], key: str) -> contextlib.AbstractContextManager[UnfinishedEntry]:
        """For one entry. It is published if the block ends well, record last; otherwise nothing of it is seen.

        Raises OSError where it cannot be written, or where another one published it in the meantime.
        """

    def add(self, kind: Kind[Any], key: str, file: Path, document: Any) -> None:
        """Puts a file and a record of another kind into an entry that is there, the record last; `file` is moved.

        Raises OSError, InfrastructureError.
        """

    def local(self, files: Sequence[tuple[str, str]]) -> contextlib.AbstractContextManager[list[Path]]:
        """These files (key, name) on this machine, at least as long as the block runs; `<key>/<name>` ends each."""

    def contents(self, keys: Iterable[str], name: str) -> Iterator[bytes | None]:
        """The file `name` of each entry, None where there is none."""

    def open(self, key: str, name: str) -> BinaryIO:
        """Raises OSError."""

    def place_of(self, key: str, name: str) -> str:
        """Path or URL of a file, for people."""

    def hand_out(self, files: Sequence[tuple[str, str, str]]) -> None:
        """Puts files (key, name, path or URL of the target) where they are wanted, replacing what is there.

        Raises InfrastructureError.
        """

    def remember(self, kind: Kind[Record], records: Mapping[str, Record]) -> None:
        """Tells which records the next run will most likely ask for."""

    def remove_leftovers(self) -> None:
        """Removes what killed runs left half-written. Younger ones stay: another run may be writing them now.

        Notes of what was read when a process ended (crash_guard.py) stay for the next run, be it weeks later.
        """


def ensure(store: Store, kind: Kind[Record], key: str, make: Callable[[UnfinishedEntry], Record]) -> Record:
    """The record of the entry, found or made now. Raises what `make` raises, and InfrastructureError."""
    try:
        if found := store.find(kind, [key]):
            return found[key]
        with store.writing(kind, key) as entry:
            record = make(entry)
            write_json_atomically(entry.folder / kind.record_name, kind.document(record))
    except OSError as error:
        # Another worker may have been faster; what it published is the same.
        found = store.find(kind, [key])
        if not found:
            raise cannot_write(store.scratch_place, error) from error
        return found[key]
    return record
