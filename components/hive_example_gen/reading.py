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
from pathlib import Path

from common.errors import DataNotReadyError
from components.hive_example_gen import cache
from components.hive_example_gen.bad_rows import BadRows
from components.hive_example_gen.formats import reader
from components.hive_example_gen.formats.detect import format_of
from components.hive_example_gen.formats.opened import DataFile
from components.hive_example_gen.table_spec import TableSpec
from components.hive_example_gen.window import PlannedPartition

_ATTEMPTS = 10
_HINT = "Copy or write the file again, or leave its day out of the window."


@contextlib.contextmanager
def noted(partition: PlannedPartition, table: str, partitions_path: str) -> Iterator[None]:
    """While a partition is read. Raises DataNotReadyError for a file over which an earlier process ended; OSError."""
    folder = Path(partitions_path) / f".{partition.fingerprint}{cache.NOTE_SUFFIX}"
    if left := [note for note in folder.glob("*") if not _is_alive(note.name)]:
        for source in partition.files:
            _try_in_child(DataFile.of(table, source.path), partition.spec)
        for note in left:
            note.unlink(missing_ok=True)
    note = _left_in(folder)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink(missing_ok=True)
            folder.rmdir()


def _left_in(folder: Path) -> Path:
    note = folder / f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):  # another worker, which was done, took the folder away
            folder.mkdir(parents=True, exist_ok=True)
            note.touch()
            return note
    raise FileNotFoundError(f"{folder} is taken away again and again")


def _is_alive(note: str) -> bool:
    """Whether the process that left a note still runs; one of another machine counts as gone."""
    host, process, _ = note.split(":")
    if host != socket.gethostname():
        return False
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
        raise DataNotReadyError(
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
