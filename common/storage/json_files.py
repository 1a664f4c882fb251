"""JSON documents that may have been damaged: read within bounds, and never a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MAX_BYTES = 64 * 2**20


class DamagedJsonError(ValueError):
    """The file is there, and no JSON object within bounds. The text says what is wrong, not which file."""


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises OSError, and DamagedJsonError: no JSON, too deep, too large, no object."""
    if path.stat().st_size > MAX_BYTES:
        raise DamagedJsonError(f"larger than {MAX_BYTES:,} bytes")
    try:
        document = json.loads(path.read_bytes().decode("utf-8"))
    except RecursionError as error:
        raise DamagedJsonError("nested too deeply") from error
    except ValueError as error:
        raise DamagedJsonError(f"not valid JSON in UTF-8: {error}") from error
    if not isinstance(document, dict):
        raise DamagedJsonError(f"must be a JSON object; it is a {type(document).__name__}")
    return document
