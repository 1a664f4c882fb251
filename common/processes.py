"""Processes of this host."""

from __future__ import annotations

import os
from typing import Any


def is_alive(pid: Any) -> bool:
    """Whether there is a process of that number; False for what is no number."""
    try:
        os.kill(int(pid), 0)
        return True
    except (ProcessLookupError, TypeError, ValueError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
