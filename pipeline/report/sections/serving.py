"""What the serving check measured: `serving` of verdict.json, and the rows of its tables. No HTML here."""

from __future__ import annotations

from dataclasses import dataclass

from hivemill.pipeline.documents.base import Document
from hivemill.pipeline.report.sections import numbers

_SERVER_WORDS = {"dev server": "Hivemill's dev server", "tensorflow_model_server": "tensorflow_model_server"}
NOT_CHECKED = "Not checked: serving_check.enabled is false, or the run is of an earlier Hivemill."


class ServerEntry(Document):
    kind: str
    version: str | None = None


class Difference(Document):
    signature: str
    what: str = ""
    rows: int = 0
    difference: float | None = None


class Latency(Document):
    rows: int
    calls: int | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


class ServingBound(Document):
    name: str = ""
    rule: str
    passed: bool


class Serving(Document):
    state: str
    reason: str | None = None
    server: ServerEntry | None = None
    rows: int | None = None
    load_seconds: float | None = None
    memory_bytes: int | None = None
    differences: tuple[Difference, ...] = ()
    latency: tuple[Latency, ...] = ()
    bounds: tuple[ServingBound, ...] = ()


@dataclass(frozen=True)
class DifferenceRow:
    signature: str
    what: str
    rows: str
    difference: str


def server_words(serving: Serving | None) -> str:
    """Which server it was."""
    if serving is None or serving.server is None:
        return numbers.MISSING
    version = f" ({serving.server.version})" if serving.server.version else ""
    return _SERVER_WORDS.get(serving.server.kind, serving.server.kind) + version


def largest_difference(serving: Serving | None) -> str:
    """Of all signatures, in a few digits."""
    compared = [one for one in serving.differences if one.rows] if serving else []
    if not compared:
        return numbers.MISSING
    values = [one.difference for one in compared if one.difference is not None]
    return f"{max(values):.2g}" if len(values) == len(compared) else "no number: another shape or value"


def difference_rows(serving: Serving | None) -> list[DifferenceRow]:
    """One for each comparison, in the order that they were made."""
    return [
        DifferenceRow(
            one.signature,
            one.what,
            numbers.count(one.rows) if one.rows else numbers.MISSING,
            _difference(one),
        )
        for one in (serving.differences if serving else ())
    ]


def _difference(one: Difference) -> str:
    if not one.rows:
        return numbers.MISSING
    return "another shape or value" if one.difference is None else f"{one.difference:.2g}"
