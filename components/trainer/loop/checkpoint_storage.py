"""Where checkpoints outlive the process: a folder, or an object store behind a folder of this machine."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hivemill.common.storage import object_store, urls

_STATE_FILE = "checkpoint"  # tf.train.CheckpointManager's: it names the newest one, so it comes last


@contextlib.contextmanager
def kept_at(place: str) -> Iterator[KeptCheckpoints]:
    """Yields the checkpoints that an earlier process left at `place`, a path or a URL."""
    if not urls.is_url(place):
        yield KeptCheckpoints(Path(place), None)
        return
    with tempfile.TemporaryDirectory(prefix="hivemill-checkpoints-") as scratch:
        object_store.fetch(place, Path(scratch))
        yield KeptCheckpoints(Path(scratch), place)


class KeptCheckpoints:
    """`folder` is where TensorFlow writes them."""

    def __init__(self, folder: Path, url: str | None):
        self.folder, self._url = folder, url
        self._known = self._stamps() if url is not None else {}

    def put(self) -> None:
        """After a checkpoint is whole: puts what is new or was written again, then what names it; removes what went.

        A name alone tells nothing: a process that was killed may have left one file of the two that belong together.
        """
        if self._url is None:
            return
        now = self._stamps()
        new = [name for name, stamp in now.items() if self._known.get(name) != stamp]
        object_store.put(self.folder, self._url, new, last=(_STATE_FILE,))
        for name in object_store.sizes(self._url).keys() - now.keys():
            object_store.delete(object_store.join(self._url, name))
        self._known = now

    def _stamps(self) -> dict[str, tuple[int, int]]:
        """Size and time of each file, by name."""
        status = {name: (self.folder / name).stat() for name in object_store.files_below(self.folder)}
        return {name: (each.st_size, each.st_mtime_ns) for name, each in status.items()}

    def remove(self) -> None:
        """After the training: nobody goes on from them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._url is not None:
            object_store.delete(self._url)
