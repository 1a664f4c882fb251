"""The rows of the table of slices: each slice's metrics against stable, its bounds, its calibration. No HTML here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hivemill.common.text import shortened
from hivemill.components.evaluator.gate_entries import slice_key
from hivemill.pipeline.documents.run_documents import BoundResult, ModelSection, SliceEntry
from hivemill.pipeline.report.sections import metrics, numbers

MAX_SLICES = 150
SLICE_METRICS = ("auc", "gauc", "logloss", "normalized_entropy", "calibration")


@dataclass(frozen=True)
class SliceRow:
    label: str
    examples: str
    clicks: str
    cells: tuple[metrics.MetricCell, ...]
    bounds: tuple[BoundResult, ...]


def slice_rows(model: ModelSection | None) -> list[SliceRow]:
    """Slices with a failed bound first, then the largest. Bounds on slices without metrics get a row too."""
    if model is None:
        return []
    by_slice: dict[tuple, list[BoundResult]] = {}
    for bound in model.bounds:
        by_slice.setdefault(slice_key(bound.slice), []).append(bound)
    known = {slice_key(one.slice): one for one in model.slices}
    for key, bounds in by_slice.items():
        known.setdefault(key, SliceEntry(slice=bounds[0].slice))
    known.pop((), None)
    order = sorted(known.items(), key=lambda item: _slice_rank(item[1], by_slice.get(item[0], ())))
    return [_slice_row(one, by_slice.get(key, ())) for key, one in order]


def _slice_rank(one: SliceEntry, bounds: Sequence[BoundResult]) -> tuple:
    failed = any(bound.judged and not bound.passed for bound in bounds)
    return (not failed, -(one.metrics.get("example_count") or 0), slice_label(one.slice))


def _slice_row(one: SliceEntry, bounds: Sequence[BoundResult]) -> SliceRow:
    baselines = one.baseline_metrics or {}
    cells = []
    for name in SLICE_METRICS:
        kind, value, baseline = metrics.METRICS[name], one.metrics.get(name), baselines.get(name)
        difference = metrics.difference_words(value, baseline, kind) if numbers.is_known(baseline) else ""
        change, better = (one.differences or {}).get(name), metrics.tendency(value, baseline, kind)
        if change is not None and change.meaning is not None:
            better = metrics.TENDENCIES[change.meaning]
        between = metrics.between(one.intervals.get(name), kind.digits)
        words = f"{difference} {better}" if difference else ""
        cells.append(metrics.MetricCell(numbers.decimal(value, kind.digits), between, words, better))
    count, clicks = one.metrics.get("example_count"), one.metrics.get("clicks")
    return SliceRow(slice_label(one.slice), numbers.count(count), numbers.count(clicks), tuple(cells), tuple(bounds))


def slice_label(values: dict[str, Any]) -> str:
    """`device = ios, hour = 7`; values are quoted by nothing, the page escapes and isolates them."""
    text = ", ".join(f"{name} = {'(empty)' if value == '' else value}" for name, value in values.items())
    return shortened(text, 120) or "all"


def calibration_by_slice(model: ModelSection | None) -> list[tuple[str, list[str]]]:
    """(slice, mean prediction / click rate in each tenth of its rows) of the slices that are large enough."""
    rows = []
    for one in (model.slices if model else ())[: MAX_SLICES + 1]:
        if one.slice and len(one.calibration_curve) == 10:
            pairs = [(each.mean_prediction, each.click_rate) for each in one.calibration_curve]
            ratios = [numbers.decimal(p / c, 2) if p is not None and c else numbers.MISSING for p, c in pairs]
            rows.append((slice_label(one.slice), ratios))
    return rows
