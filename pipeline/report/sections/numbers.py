"""Numbers as a person reads them: units, thousand separators, signs. None and NaN become a dash."""

from __future__ import annotations

import math
from typing import TypeGuard

MISSING = "–"
_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def is_known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def count(value: float | None) -> str:
    """1234567 -> `1,234,567`."""
    return f"{round(value):,}" if is_known(value) else MISSING


def decimal(value: float | None, digits: int = 4) -> str:
    return f"{value:,.{digits}f}".replace("-", "−") if is_known(value) else MISSING


def signed(value: float | None, digits: int = 4) -> str:
    """0.0123 -> `+0.0123`; what rounds to zero has no sign."""
    if not is_known(value):
        return MISSING
    rounded = round(value, digits)
    sign = "+" if rounded > 0 else "−" if rounded < 0 else ""
    return f"{sign}{abs(rounded):,.{digits}f}"


def percent(value: float | None, digits: int = 2) -> str:
    """A share of one: 0.0512 -> `5.12 %`."""
    return f"{100 * value:.{digits}f} %" if is_known(value) else MISSING


def size(num_bytes: float | None) -> str:
    """Bytes in binary units, three significant digits: 1536 -> `1.50 KiB`."""
    if not is_known(num_bytes):
        return MISSING
    unit = 0
    while abs(num_bytes) >= 1000 and unit < len(_BYTE_UNITS) - 1:
        num_bytes /= 1024
        unit += 1
    digits = 0 if unit == 0 or num_bytes >= 100 else 1 if num_bytes >= 10 else 2
    return f"{num_bytes:.{digits}f} {_BYTE_UNITS[unit]}"


def duration(seconds: float | None) -> str:
    """0.42 -> `0.4 s`, 75 -> `1 min 15 s`, 3700 -> `1 h 01 min`."""
    if not is_known(seconds):
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
