"""What tells one root from another on a shared metadata server, wherever each of them is mounted."""

from __future__ import annotations

import uuid
from pathlib import Path

from hivemill.common.storage.atomic import write_text_atomically

IDENTITY = "identity"


def identity(root: Path) -> str:
    """Eight letters and digits of this root's own, made at its first run. Call it with the lock of the root held.

    Without them two roots with one config (a trial beside production) would have one name on the server, and one
    would take the other's artifacts from the cache.
    """
    file = root / IDENTITY
    if not file.exists():
        write_text_atomically(file, uuid.uuid4().hex[:8] + "\n")
    return file.read_text(encoding="utf-8").strip()
