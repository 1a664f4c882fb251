"""Errors of Beam workers on their way to the executor.

Beam turns a worker's exception into a RuntimeError that holds its traceback as text; exit code and hint would be
lost. So a worker leaves its error in a folder beside the converted partitions, and the executor raises it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from common import errors
from common.errors import HivemillError
from common.files import write_json_atomically


class Failures:
    """A folder of errors, one file per partition. Cheap to pickle."""

    def __init__(self, folder: str):
        self.folder = folder

    def add(self, partition: str, fingerprint: str, error: HivemillError) -> None:
        """Raises OSError where not even this can be written; Beam then reports that."""
        document = {"kind": type(error).__name__, "partition": partition, "message": error.message, "hint": error.hint}
        write_json_atomically(Path(self.folder) / f"{fingerprint}.json", document)

    def any(self) -> bool:
        return any(Path(self.folder).glob("*.json"))

    def raise_first(self) -> None:
        """Raises the error of the first partition by name, and says how many others failed."""
        found = [json.loads(path.read_text(encoding="utf-8")) for path in Path(self.folder).glob("*.json")]
        if found:
            first, *others = sorted(found, key=lambda failure: failure["partition"])
            more = f" ({len(others)} more partitions failed)" if others else ""
            raise getattr(errors, first["kind"])(first["message"] + more, hint=first["hint"])


@contextlib.contextmanager
def failures_below(partitions_path: str) -> Iterator[Failures]:
    """A folder for the failures of one execution, removed afterwards."""
    folder = Path(partitions_path) / f".failures.{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise errors.InfrastructureError(
            f"cannot write converted partitions to {partitions_path}: {error.strerror}",
            hint="Check `root` in the configuration, and the folder's owner and mode.",
        ) from error
    try:
        yield Failures(str(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
