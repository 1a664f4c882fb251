"""How long a run will take, from the last runs below the same root. Imports no TensorFlow."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

LAST_RUNS = 5
CONVERSION = "HiveLogExampleGen"
START_AND_END = "start and end"  # what a run takes outside of its nodes: imports, plan, verdict, page


class Forecast(BaseModel):
    """`forecast` of the plan; None of a node where no earlier run tells."""

    model_config = ConfigDict(frozen=True)

    runs: int
    rows: int
    seconds: float
    nodes: dict[str, float | None]


class _PastRun(BaseModel):
    """What of a run's record the forecast needs."""

    model_config = ConfigDict(frozen=True)

    bytes_to_convert: int | None = None
    seconds: float
    rows: int
    nodes: dict[str, float]


def forecast(records: Sequence[Mapping[str, Any]], rows: int | None, bytes_to_convert: int) -> Forecast | None:
    """None where no run has finished all its nodes.

    Every node takes what it took for a row of the window, the median of the last runs; the conversion what it took for
    a byte of the partitions that were not kept yet.

    Args:
        records: run.json of all runs, in any order.
        rows: of the window to come; None where they are not known: then as many as in the last run.
        bytes_to_convert: of the partitions that are not kept.
    """
    past = [run for run in map(_past, sorted(records, key=_finished)[::-1]) if run][:LAST_RUNS]
    if not past:
        return None
    expected = rows or past[0].rows
    nodes: dict[str, float | None] = {CONVERSION: _conversion(past, bytes_to_convert)}
    for name in past[0].nodes:
        if name != CONVERSION:
            nodes[name] = statistics.median(run.nodes[name] / run.rows for run in past if name in run.nodes) * expected
    nodes[START_AND_END] = statistics.median(max(0.0, run.seconds - sum(run.nodes.values())) for run in past)
    total = sum(seconds for seconds in nodes.values() if seconds is not None)
    return Forecast(runs=len(past), rows=expected, seconds=total, nodes=nodes)


def sentence(found: Mapping[str, Any] | None) -> str:
    """One line for people, of the forecast as the plan's document has it."""
    if found is None:
        return "Expected time: not known, for there is no earlier run below `root` that ran all its nodes."
    known = {name: seconds for name, seconds in found["nodes"].items() if seconds is not None}
    longest = sorted(known, key=lambda name: -known[name])[:3]
    of_nodes = ", ".join(f"{name} {_duration(known[name])}" for name in longest)
    unknown = [name for name, seconds in found["nodes"].items() if seconds is None]
    more = f", and {', '.join(unknown)}, which no earlier run tells" if unknown else ""
    number = f"the last {found['runs']} runs" if found["runs"] > 1 else "the last run"
    return f"Expected time: {_duration(found['seconds'])}{more} (from {number}; {of_nodes})."


def _past(record: Mapping[str, Any]) -> _PastRun | None:
    """None of a run that did not run all its nodes anew: what a node takes from the cache says nothing."""
    nodes = record.get("nodes") or []
    rows = next((node.get("rows") for node in nodes if node.get("node_id") == CONVERSION), None)
    seconds = _seconds(record)
    if not rows or seconds is None or any(node.get("state") != "succeeded" for node in nodes):
        return None
    return _PastRun(
        bytes_to_convert=record.get("bytes_to_convert"),
        seconds=seconds,
        rows=rows,
        nodes={node["node_id"]: node["seconds"] for node in nodes},
    )


def _conversion(past: Sequence[_PastRun], num_bytes: int) -> float | None:
    measured = [(run.bytes_to_convert, run.nodes[CONVERSION]) for run in past if run.bytes_to_convert is not None]
    linked = [seconds for converted, seconds in measured if not converted]
    if not num_bytes:
        return statistics.median(linked) if linked else min((seconds for _, seconds in measured), default=None)
    rates = [seconds / converted for converted, seconds in measured if converted]
    return statistics.median(rates) * num_bytes if rates else None


def _finished(record: Mapping[str, Any]) -> str:
    return record.get("finished_utc") or ""


def _seconds(record: Mapping[str, Any]) -> float | None:
    try:
        started, finished = (datetime.fromisoformat(record[key]) for key in ("started_utc", "finished_utc"))
    except (KeyError, TypeError, ValueError):
        return None
    return (finished - started).total_seconds()


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
