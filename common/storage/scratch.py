"""Folders of this process's own, in TMPDIR, which go when it ends."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

_OWNERS: dict[Path, int] = {}


def scratch_folder(kind: str) -> Path:
    """A new empty folder, called `hivemill-<kind>-…`. It goes with the process, if not before (`remove`)."""
    folder = Path(tempfile.mkdtemp(prefix=f"hivemill-{kind}-"))
    if not _OWNERS:
        atexit.register(remove_all)
    _OWNERS[folder] = os.getpid()
    return folder


def remove(folder: Path) -> None:
    """Removes it now. A child of a fork leaves its parent's folders alone."""
    if _OWNERS.pop(folder, None) == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)


def remove_all() -> None:
    """For a process that ends by os._exit, which asks nobody."""
    for folder in list(_OWNERS):
        remove(folder)
