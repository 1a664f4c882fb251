"""Texts that come from data or from other programs, made fit to be shown."""

from __future__ import annotations


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters, so that one long value cannot blow up a page, a message or a log."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
