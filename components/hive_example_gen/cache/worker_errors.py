"""Errors of Beam workers on their way to the executor.

Beam turns a worker's exception into a RuntimeError that holds its traceback as text; exit code and hint would be
lost. So a worker leaves its error beside the converted partitions, and the executor raises it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from hivemill.common import errors
from hivemill.common.errors import HivemillError
from hivemill.common.storage import object_store, urls
from hivemill.common.storage.atomic import write_json_atomically
from hivemill.components.hive_example_gen.cache.base import FAILURES_PREFIX

_SUFFIX = ".json"
_BEGUN = "begun"


class Failures:
    """A folder, or a URL, of errors, one file per partition. Cheap to pickle."""

    def __init__(self, place: str):
        self.place = place

    def add(self, partition: str, fingerprint: str, error: HivemillError) -> None:
        """Raises OSError, InfrastructureError where not even this can be written; Beam then reports that."""
        document = {"kind": type(error).__name__, "partition": partition, "message": error.message, "hint": error.hint}
        name = f"{fingerprint}{_SUFFIX}"
        if urls.is_url(self.place):
            object_store.write_bytes(object_store.join(self.place, name), json.dumps(document).encode())
        else:
            write_json_atomically(Path(self.place) / name, document)

    def any(self) -> bool:
        return bool(self._names())

    def raise_first(self) -> None:
        """Raises the error of the first partition by name, and says how many others failed."""
        found = [json.loads(self._read(name)) for name in self._names()]
        if found:
            first, *others = sorted(found, key=lambda failure: failure["partition"])
            more = f" ({len(others)} more partitions failed)" if others else ""
            raise getattr(errors, first["kind"])(first["message"] + more, hint=first["hint"])

    def _names(self) -> list[str]:
        if urls.is_url(self.place):
            return [name for name in object_store.sizes(self.place) if name.endswith(_SUFFIX)]
        return [path.name for path in Path(self.place).glob(f"*{_SUFFIX}")]

    def _read(self, name: str) -> bytes:
        if urls.is_url(self.place):
            return object_store.read_bytes(object_store.join(self.place, name)) or b"{}"
        return (Path(self.place) / name).read_bytes()


@contextlib.contextmanager
def failures_below(partitions_path: str) -> Iterator[Failures]:
    """A place for the failures of one execution, removed afterwards. Raises InfrastructureError where nothing can be
    written: before any row is read."""
    name = f"{FAILURES_PREFIX}{uuid.uuid4().hex}"
    if urls.is_url(partitions_path):
        with _at_url(object_store.join(partitions_path, name)) as failures:
            yield failures
        return
    folder = Path(partitions_path) / name
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


@contextlib.contextmanager
def _at_url(url: str) -> Iterator[Failures]:
    object_store.write_bytes(object_store.join(url, _BEGUN), b"")
    try:
        yield Failures(url)
    finally:
        with contextlib.suppress(errors.InfrastructureError):  # it goes with the leftovers
            object_store.delete_folder(url)
