"""The audit log of a model: one line of JSON per change, only ever appended to, on the disk before the writer goes on.

The caller holds the lock of the store. A line that a killed writer left half written was never acknowledged: it is cut
off before the next one is appended, and the change that it was to tell of is told again.
"""

from __future__ import annotations

import datetime
import getpass
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hivemill.common.errors import InfrastructureError
from hivemill.common.storage.atomic import sync_folder

AUDIT_FILE = "audit.jsonl"


def signature() -> dict[str, Any]:
    """Who makes a change, where and when; `time_utc` to the millisecond."""
    try:
        who = getpass.getuser()
    except (KeyError, OSError):  # a container's user that has no name
        who = f"uid {os.getuid()}"
    now = datetime.datetime.now(datetime.timezone.utc)
    time = now.isoformat(timespec="milliseconds")
    return {"time_utc": time, "who": who, "host": socket.gethostname(), "pid": os.getpid()}


class AuditLog:
    """The lines of one file, oldest first. Every line has an `id`, which stands in it once."""

    def __init__(self, path: Path):
        self.path = path

    def lines(self) -> list[dict[str, Any]]:
        """All whole lines. Raises InfrastructureError with the number of a line that is no JSON."""
        if not self.path.is_file():
            return []
        whole = self.path.read_bytes().split(b"\n")[:-1]
        return [self._parsed(text, number) for number, text in enumerate(whole, 1)]

    def ids(self) -> set[str]:
        return {line["id"] for line in self.lines()}

    def append(self, line: Mapping[str, Any]) -> None:
        """Returns once the line is on the disk. Raises OSError."""
        is_new = not self.path.exists()
        with open(self.path, "ab+") as file:
            file.truncate(self._whole_bytes())
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self.path.parent)

    def _whole_bytes(self) -> int:
        return self.path.read_bytes().rfind(b"\n") + 1

    def _parsed(self, text: bytes, number: int) -> dict[str, Any]:
        try:
            line = json.loads(text)
            line["id"]
        except (ValueError, KeyError, TypeError) as error:
            raise InfrastructureError(
                f"{self.path}:{number}: every line must be a JSON object with an `id`; received {text[:80]!r}",
                hint="Somebody edited the file: restore it from a backup, or move it away to begin a new one.",
            ) from error
        return line
