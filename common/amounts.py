"""Amounts as people read them."""

from __future__ import annotations


def size(num_bytes: float) -> str:
    """`9.8 MiB`, `512 B`."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:,.1f} {unit}"
    return f"{num_bytes:,.0f} B"


def share(value: float) -> str:
    """`12.3 %`; small shares keep two digits, so that 0.0012 is not shown as nothing: `0.12 %`."""
    percent = 100 * value
    return f"{percent:.1f} %" if percent >= 1 or percent == 0 else f"{percent:.2g} %"
