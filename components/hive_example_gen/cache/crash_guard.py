"""What is being read, noted beside the converted partitions, because pyarrow may end the process over a damaged file.

ORC's C++ library throws where nobody catches: no error names the file then. So a conversion leaves a note while it
reads; the next one of that partition finds the note of a process that is gone, has a child read the ORC files first,
and refuses the file that ends the child. Where nothing was left, this costs a file of no bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hivemill.common.errors import DataCorruptError, InfrastructureError
from hivemill.common.storage import object_store, urls
from hivemill.components.hive_example_gen.cache.base import NOTE_SUFFIX
from hivemill.components.hive_example_gen.formats import reader
from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
from hivemill.components.hive_example_gen.formats.data_file import DataFile
from hivemill.components.hive_example_gen.formats.detect import format_of
from hivemill.components.hive_example_gen.planning.window import PlannedPartition
from hivemill.components.hive_example_gen.table.spec import TableSpec

_ATTEMPTS = 10
_OWN: set[str] = set()
"""Notes of this process."""
_HINT = "Copy or write the file again, or leave its day out of the window."


@contextlib.contextmanager
def noted(partition: PlannedPartition, table: str, partitions_path: str) -> Iterator[None]:
    """While a partition is read. Raises DataCorruptError for a file over which an earlier process ended; OSError;
    InfrastructureError where a URL does not answer."""
    if urls.is_url(partitions_path) and partition.spec.format not in ("orc", "auto"):
        yield  # no file of it can end the process, and a note at a URL costs three requests
        return
    notes = _notes_of(partition.fingerprint, partitions_path)
    if left := [note for note in notes.names() if not _is_alive(note)]:
        for source in partition.files:
            _try_in_child(DataFile.of(table, source.path), partition.spec)
        for note in left:
            notes.remove(note)
    note = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
    _OWN.add(note)
    notes.leave(note)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, InfrastructureError):
            notes.remove(note)
        _OWN.discard(note)


def _notes_of(fingerprint: str, partitions_path: str) -> _FolderNotes | _UrlNotes:
    if urls.is_url(partitions_path):
        return _UrlNotes(object_store.join(partitions_path, NOTE_SUFFIX), f"{fingerprint}.")
    return _FolderNotes(Path(partitions_path) / f".{fingerprint}{NOTE_SUFFIX}")


@dataclass(frozen=True)
class _FolderNotes:
    folder: Path

    def names(self) -> list[str]:
        return [note.name for note in self.folder.glob("*")]

    def leave(self, name: str) -> None:
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):  # another worker, which was done, took the folder away
                self.folder.mkdir(parents=True, exist_ok=True)
                (self.folder / name).touch()
                return
        raise FileNotFoundError(f"{self.folder} is taken away again and again")

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others are left
            self.folder.rmdir()


@dataclass(frozen=True)
class _UrlNotes:
    """Those of all partitions in one folder: where one empties, Arrow leaves an object that marks it."""

    url: str
    prefix: str

    def names(self) -> list[str]:
        names = object_store.sizes(self.url)
        return [name.removeprefix(self.prefix) for name in names if name.startswith(self.prefix)]

    def leave(self, name: str) -> None:
        object_store.write_bytes(object_store.join(self.url, self.prefix + name), b"")

    def remove(self, name: str) -> None:
        object_store.delete(object_store.join(self.url, self.prefix + name))


def _is_alive(note: str) -> bool:
    """Whether the process that left a note still runs; one of another machine counts as gone."""
    host, process, _ = note.split(":")
    if host != socket.gethostname():
        return False
    if int(process) == os.getpid():
        return note in _OWN  # in a container that was started again the numbers are the same
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _try_in_child(file: DataFile, spec: TableSpec) -> None:
    if format_of(file, spec.format) != "orc":
        return
    request = json.dumps({"path": file.path, "name": file.name, "spec": spec.model_dump_json()})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-m", __name__], input=request, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode < 0:
        said = [line.strip() for line in done.stderr.splitlines() if "what():" in line]
        reason = said[-1].partition("what():")[2].strip() if said else "no reason is given"
        raise DataCorruptError(
            f"{file.name} is damaged: reading it ends the process ({signal.Signals(-done.returncode).name}): {reason}",
            hint=_HINT,
        )


def _read_all(request: str) -> None:
    document = json.loads(request)
    file = DataFile(document["path"], document["name"])
    with contextlib.suppress(Exception):  # what has words is said by whoever reads the file afterwards
        for _ in reader.read_batches(file, TableSpec.model_validate_json(document["spec"]), BadRows()):
            pass


if __name__ == "__main__":
    _read_all(sys.stdin.read())
