"""How metrics are named, shown and compared, and the rows of the table of the whole eval split. No HTML here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hivemill.pipeline.documents.run_documents import (
    BoundResult,
    IntervalEntry,
    ModelSection,
    RunDocuments,
    SliceEntry,
    Truth,
)
from hivemill.pipeline.report.sections import numbers


@dataclass(frozen=True)
class MetricKind:
    """How a metric is named, shown and compared. `better` is higher, lower, one (closest to 1) or empty (no order)."""

    label: str
    digits: int
    better: str
    meaning: str


METRICS = {
    "auc": MetricKind("AUC", 4, "higher", "how well clicks rank above non-clicks: 0.5 is chance, 1 perfect"),
    "auc_lower_bound": MetricKind("AUC, lower bound", 4, "higher", "AUC less three standard errors"),
    "gauc": MetricKind("GAUC", 4, "higher", "AUC inside each user's impressions, weighted by impressions"),
    "auc_precision_recall": MetricKind("AUC-PR", 4, "higher", "area under precision over recall"),
    "logloss": MetricKind("Logloss", 4, "lower", "mean penalty of the predicted probabilities"),
    "normalized_entropy": MetricKind(
        "Normalised entropy", 4, "lower", "logloss relative to always predicting the click rate; 1 is no better"
    ),
    "calibration": MetricKind("Calibration", 3, "one", "mean prediction / click rate; 1 is right on average"),
    "calibration_error": MetricKind(
        "Calibration error", 3, "lower", "share of the clicks that the deciles miscount, less what luck explains"
    ),
    "logit_range": MetricKind("Range of the predictions", 2, "", "logits between the 1st and the 99th percentile"),
    "clicks": MetricKind("Clicks", 0, "", "in the eval days"),
    "example_count": MetricKind("Impressions", 0, "", "in the eval days"),
}
# What a difference with an interval means, in classes of the style sheet.
TENDENCIES = {"gain": "better", "loss": "worse", "noise": "same"}
_TRUTH_FIELDS = {"auc": "best_auc", "logloss": "best_logloss"}


@dataclass(frozen=True)
class MetricCell:
    """A metric of one slice or one model: texts, ready to show; `css` is the class of what changed."""

    value: str
    between: str = ""
    change: str = ""
    css: str = ""


@dataclass(frozen=True)
class MetricRow:
    """A metric of the whole eval split against stable, bounds and the best reachable value; texts, ready to show."""

    kind: MetricKind
    value: str
    baseline: str
    difference: str
    tendency: str
    best: str
    gap: str
    bounds: tuple[BoundResult, ...]
    between: str = ""  # confidence interval
    meaning: str = ""  # of the difference: gain, loss or noise, with its interval

    @property
    def state(self) -> tuple[str, str] | None:
        """CSS class and words of the bounds taken together; None where nothing was judged."""
        judged = [bound for bound in self.bounds if bound.judged]
        if not judged:
            return None
        failed = sum(not bound.passed for bound in judged)
        return ("worse", f"✕ {failed} of {len(judged)} failed") if failed else ("better", "✓ in bounds")


def whole_eval(model: ModelSection | None) -> SliceEntry | None:
    return next((one for one in model.slices if not one.slice), None) if model else None


def metric_kind(name: str) -> MetricKind:
    return METRICS.get(name) or MetricKind(name, 4, "", "")


def metric_rows(folder: RunDocuments) -> list[MetricRow]:
    """Metrics of the whole eval split, the known ones in the order of METRICS, then any others."""
    model = folder.verdict.model if folder.verdict else None
    if model is None:
        return []
    overall = whole_eval(model)
    bounds = [one for one in model.bounds if not one.slice]
    values = dict(overall.metrics) if overall else {}
    baselines = dict((overall.baseline_metrics if overall else None) or {})
    for one in bounds:
        values.setdefault(one.metric, one.value)
        baselines.setdefault(one.metric, one.baseline)
    names = dict.fromkeys([*METRICS, *values])
    best = best_reachable(folder)
    return [
        _with_intervals(
            _metric_row(name, values[name], baselines.get(name), best, [one for one in bounds if one.metric == name]),
            name,
            overall,
        )
        for name in names
        if name in values
    ]


def _with_intervals(row: MetricRow, name: str, overall: SliceEntry | None) -> MetricRow:
    """With an interval the data says what a difference means; without one the last digit shown has to."""
    seen = overall.intervals.get(name) if overall else None
    change = ((overall.differences if overall else None) or {}).get(name)
    row = replace(row, between=between(seen, row.kind.digits))
    if change is None or change.meaning is None:
        return row
    words = f"{change.meaning}: {between(change, row.kind.digits, signed=True)}"
    return replace(row, meaning=words, tendency=TENDENCIES[change.meaning])


def between(seen: IntervalEntry | None, digits: int, signed: bool = False) -> str:
    """`0.7301 to 0.7391`; empty without an interval."""
    shown = numbers.signed if signed else numbers.decimal
    return f"{shown(seen.lower, digits)} to {shown(seen.upper, digits)}" if seen else ""


def _metric_row(
    name: str, value: float | None, baseline: float | None, best: dict[str, float], bounds: Sequence[BoundResult]
) -> MetricRow:
    kind = metric_kind(name)
    gap = value - best[name] if name in best and numbers.is_known(value) else None
    return MetricRow(
        kind=kind,
        value=numbers.decimal(value, kind.digits),
        baseline=numbers.decimal(baseline, kind.digits),
        difference=difference_words(value, baseline, kind),
        tendency=tendency(value, baseline, kind),
        best=numbers.decimal(best.get(name), kind.digits),
        gap=numbers.signed(gap, kind.digits),
        bounds=tuple(bounds),
    )


def difference_words(value: float | None, baseline: float | None, kind: MetricKind) -> str:
    known = numbers.is_known(value) and numbers.is_known(baseline)
    return numbers.signed(value - baseline, kind.digits) if known else numbers.MISSING


def tendency(value: float | None, baseline: float | None, kind: MetricKind) -> str:
    """`better`, `worse`, or `same` below five units of the last digit shown, where a colour would only alarm.
    Empty where there is nothing to compare."""
    if not (kind.better and numbers.is_known(value) and numbers.is_known(baseline)):
        return ""
    gain = {"higher": value - baseline, "lower": baseline - value, "one": abs(baseline - 1) - abs(value - 1)}
    if abs(gain[kind.better]) < 5 * 10**-kind.digits:
        return "same"
    return "better" if gain[kind.better] > 0 else "worse"


def truth_of_eval_days(folder: RunDocuments) -> Truth | None:
    """The generated log's best reachable values, eval days only; None for a log that nobody knows the truth of."""
    if not (folder.truth and folder.manifest):
        return None
    days = {day: folder.truth.days[day] for day in folder.manifest.window.get("eval", ()) if day in folder.truth.days}
    return Truth(days=days) if days else None


def best_reachable(folder: RunDocuments) -> dict[str, float]:
    """Best reachable AUC and logloss on the eval days: exact for one day, the mean weighted by rows for several."""
    truth = truth_of_eval_days(folder)
    result = {}
    for metric, field in _TRUTH_FIELDS.items():
        pairs = [(getattr(day, field), day.rows or 0) for day in (truth.days.values() if truth else ())]
        pairs = [(value, rows) for value, rows in pairs if numbers.is_known(value)]
        weight = sum(rows for _, rows in pairs)
        if pairs:
            result[metric] = sum(v * r for v, r in pairs) / weight if weight else sum(v for v, _ in pairs) / len(pairs)
    return result
