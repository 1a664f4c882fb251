"""Texts that come from data or from other programs, made fit to be shown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters, so that one long value cannot blow up a page, a message or a log."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `word`, whatever its case; None where none is like it."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean x?`, or the names that there are, for the end of a message."""
    names = list(known)
    best = nearest(word, names)
    if best:
        return f"did you mean `{best}`?"
    return f"known: {', '.join(names)}" if names else "none are known"
