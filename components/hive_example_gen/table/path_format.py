"""`source.path_format`: a path of folders with strftime's %Y %m %d %H %M in it, as patterns."""

from __future__ import annotations

import re

_PATTERNS = {"Y": r"\d{4}", "m": r"\d{1,2}", "d": r"\d{1,2}", "H": r"\d{1,2}", "M": r"\d{1,2}"}
_UNPADDED = {"m", "d", "H", "M"}


def level_patterns(path_format: str) -> list[re.Pattern[str]]:
    """One pattern for each folder of the path, with the groups Y, m, d, H, M. Raises ValueError: the rule broken."""
    patterns = [re.compile(_pattern(level), re.IGNORECASE) for level in path_format.strip("/").split("/")]
    directives = [name for pattern in patterns for name in pattern.groupindex]
    repeated = sorted({name for name in directives if directives.count(name) > 1})
    missing = [f"%{name}" for name in "Ymd" if name not in directives]
    if missing or repeated:
        what = f"lacks {', '.join(missing)}" if missing else f"has %{repeated[0]} twice"
        raise ValueError(f"{what}: a path must name a day by %Y, %m and %d, once each, and may add %H and %M")
    return patterns


def _pattern(level: str) -> str:
    directives = re.findall(r"%(.)", level)
    strange = [name for name in directives if name not in _PATTERNS]
    if strange:
        raise ValueError(f"holds %{strange[0]}; it may hold %Y %m %d %H %M and text")
    if not level:
        raise ValueError("holds an empty folder name")
    adjacent = re.search(r"%[mdHM](?=%[YmdHM])", level) is not None  # 20261115: only fixed widths can be told apart
    pieces = re.split(r"%(.)", level)
    return "".join(
        re.escape(piece) if place % 2 == 0 else f"(?P<{piece}>{_width(piece, adjacent)})"
        for place, piece in enumerate(pieces)
    )


def _width(directive: str, adjacent: bool) -> str:
    return r"\d{2}" if adjacent and directive in _UNPADDED else _PATTERNS[directive]
