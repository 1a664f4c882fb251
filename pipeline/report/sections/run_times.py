"""When a run started, how long it took, and what each node had of it. No HTML here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hivemill.common.text import shortened
from hivemill.pipeline.documents.run_documents import NodeRun, Run


@dataclass(frozen=True)
class NodeRow:
    node: NodeRun
    share: float


def node_rows(run: Run | None) -> list[NodeRow]:
    """Nodes in the order they ran, with their share of the slowest one's time for the bars."""
    nodes = run.nodes if run else ()
    longest = max((node.seconds or 0 for node in nodes), default=0)
    return [NodeRow(node, (node.seconds or 0) / longest if longest else 0) for node in nodes]


def start_words(run: Run | None) -> str:
    """`from 2026-11-16 03:00 UTC`, or what was recorded where that is not a time."""
    if run is None or not run.started_utc:
        return "start not recorded"
    try:
        return f"from {_time(run.started_utc):%Y-%m-%d %H:%M} UTC"
    except (ValueError, TypeError):
        return shortened(run.started_utc, 40)


def run_seconds(run: Run | None) -> float | None:
    """Wall time from the record's start to its end; None while either is not recorded."""
    if run is None or not run.started_utc or not run.finished_utc:
        return None
    try:
        return (_time(run.finished_utc) - _time(run.started_utc)).total_seconds()
    except (ValueError, TypeError):
        return None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
