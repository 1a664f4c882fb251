"""What was measured against the bounds: serving_check.json."""

from __future__ import annotations

import math
from typing import Any

from hivemill.components.serving_check.options import ServingCheckOptions

FILE_NAME = "serving_check.json"
VERSION = 1


def skipped(why: str) -> dict[str, Any]:
    """The document of a model that was not checked."""
    return {"version": VERSION, "state": "skipped", "reason": why, "server": None, **_EMPTY}


_EMPTY: dict[str, Any] = {
    "rows": 0,
    "load_seconds": None,
    "memory_bytes": None,
    "differences": [],
    "latency": [],
    "bounds": [],
}


def judged(options: ServingCheckOptions, measured: dict[str, Any]) -> dict[str, Any]:
    """The whole document of a check that came to its end; `state` is passed or failed.

    `measured` has server, rows, load_seconds, memory_bytes, differences, latency.
    """
    bounds = _bounds(options, measured)
    broken = [bound for bound in bounds if not bound["passed"]]
    state = "failed" if broken else "passed"
    reason = "; ".join(bound["rule"] for bound in broken) or None
    finite = [{**one, "difference": _json(one["difference"])} for one in measured["differences"]]
    return {"version": VERSION, "state": state, "reason": reason, **measured, "differences": finite, "bounds": bounds}


def stopped(reason: str, measured: dict[str, Any]) -> dict[str, Any]:
    """The document of a check that the server ended: it did not start, load or answer."""
    return {"version": VERSION, "state": "failed", "reason": reason, **_EMPTY, **measured}


def _bounds(options: ServingCheckOptions, measured: dict[str, Any]) -> list[dict[str, Any]]:
    """[{name, value, limit, rule, passed}] of the bounds that are not null."""
    differences = measured["differences"]
    worst = max(differences, key=lambda one: one["difference"], default=None)
    worst_value = worst["difference"] if worst else math.inf
    of_what = f" (signature `{worst['signature']}`, {worst['what']})" if worst else " (nothing was compared)"
    found = [
        _bound("max_difference", worst_value, options.max_difference, f"largest difference{of_what}", "{:.3g}"),
        _bound("max_memory_mib", measured["memory_bytes"] / 2**20, options.max_memory_mib, "peak memory", "{:.0f} MiB"),
        _bound("max_load_seconds", measured["load_seconds"], options.max_load_seconds, "start and load", "{:.1f} s"),
    ]
    for one in measured["latency"]:
        rows = "1_row" if one["rows"] == 1 else f"{one['rows']}_rows"
        for quantile in ("p50", "p99"):
            name = f"max_{quantile}_ms_{rows}"
            words = f"{quantile} latency of {one['rows']} row{'s' if one['rows'] > 1 else ''}"
            found.append(_bound(name, one[f"{quantile}_ms"], getattr(options, name), words, "{:.1f} ms"))
    return [bound for bound in found if bound is not None]


def _bound(name: str, value: float, limit: float | None, words: str, form: str) -> dict[str, Any] | None:
    if limit is None:
        return None
    passed = value <= limit
    rule = f"{words}: {form.format(value)} {'<=' if passed else '>'} {form.format(limit)}"
    return {"name": name, "value": _json(value), "limit": limit, "rule": rule, "passed": passed}


def _json(value: float) -> float | None:
    """JSON has no infinity; null says that there is no number for how different."""
    return value if math.isfinite(value) else None
