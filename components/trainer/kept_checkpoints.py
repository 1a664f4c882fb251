"""Where checkpoints outlive the process: a folder, or an object store behind a folder of this machine."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from common import object_folders, urls

_STATE_FILE = "checkpoint"  # tf.train.CheckpointManager's: it names the newest one, so it comes last


@contextlib.contextmanager
def kept_at(place: str) -> Iterator[KeptCheckpoints]:
    """Yields the checkpoints that an earlier process left at `place`, a path or a URL."""
    if not urls.is_url(place):
        yield KeptCheckpoints(Path(place), None)
        return
    with tempfile.TemporaryDirectory(prefix="hivemill-checkpoints-") as scratch:
        object_folders.fetch(place, Path(scratch))
        yield KeptCheckpoints(Path(scratch), place)


class KeptCheckpoints:
    """`folder` is where TensorFlow writes them."""

    def __init__(self, folder: Path, url: str | None):
        self.folder, self._url = folder, url

    def put(self) -> None:
        """After a checkpoint is whole: puts what the store lacks, then what names it, then removes what went."""
        if self._url is None:
            return
        there = object_folders.sizes(self._url)
        names = object_folders.files_below(self.folder)
        new = [name for name in names if name not in there or name.endswith(f"/{_STATE_FILE}")]
        object_folders.put(self.folder, self._url, new, last=(_STATE_FILE,))
        for name in there.keys() - set(names):
            object_folders.delete(object_folders.join(self._url, name))

    def remove(self) -> None:
        """After the training: nobody goes on from them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._url is not None:
            object_folders.delete(self._url)
