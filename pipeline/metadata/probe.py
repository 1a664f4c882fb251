"""Whether a MySQL or MariaDB server answers at its port. Imports nothing heavy."""

from __future__ import annotations

import socket

_SECONDS = 5.0


def why_silent(host: str, port: int) -> str | None:
    """Why no server greets there; None where one does (in MySQL's protocol the server speaks first)."""
    try:
        with socket.create_connection((host, port), timeout=_SECONDS) as probe:
            probe.settimeout(_SECONDS)
            return None if probe.recv(1) else "it closes connections at once"
    except OSError as error:
        return error.strerror or str(error)
