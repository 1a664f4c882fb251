"""Why the verdict is what it is: findings with their arithmetic, trend, trivial models, importance. No HTML here."""

from __future__ import annotations

from dataclasses import dataclass

from hivemill.common.text import shortened
from hivemill.pipeline.documents.run_documents import (
    DriftEntry,
    FindingEntry,
    IntervalEntry,
    LineageArtifact,
    RunDocuments,
)
from hivemill.pipeline.report.sections import metrics, numbers, slices

MAX_FINDINGS, MAX_ARITHMETIC, MAX_DRIFT, MAX_IMPORTANCE = 60, 6, 120, 60
CAUSE_WORDS = {
    "bad_predictions": "predictions that are no probabilities",
    "constant_prediction": "a constant prediction",
    "slice_broken": "one slice is broken",
    "miscalibrated": "miscalibration",
    "no_signal": "no signal",
    "worse_than_stable": "worse than stable",
    "too_little_data": "too little data",
    "trend": "off the trend",
    "worse_than_reference": "worse than a reference model",
    "undertrained": "too little training",
    "overfit": "overfitting",
    "too_few_clicks": "too few clicks for the network",
    "unseen_ids": "values that training lacks",
    "constant_offset": "predictions off by a constant",
    "network_too_large": "a network too large for its rows",
}
REFERENCE_WORDS = {
    "global_ctr": "Always the click rate of the training days",
    "logistic_regression": "Logistic regression on the same features",
    "boosted_trees": "LightGBM on the same features",
}
_REFERENCE_METRICS = ("auc", "logloss", "normalized_entropy", "calibration")


@dataclass(frozen=True)
class FindingRow:
    severity: str
    subject: str
    about: str
    message: str
    cause: str
    arithmetic: tuple[tuple[str, str, str, float, float], ...]  # bin, before, after, and both as shares of the largest


@dataclass(frozen=True)
class ReferenceRow:
    label: str
    cells: tuple[metrics.MetricCell, ...]
    train_rows: int | None = None
    problem: str = ""  # why there are no cells


@dataclass(frozen=True)
class DriftRow:
    one: DriftEntry
    state: str  # pass, note, fail, idle: the badge
    words: str


@dataclass(frozen=True)
class ImportanceRow:
    label: str
    rise: str
    between: str
    auc_drop: str
    share: float
    is_noise: bool


@dataclass(frozen=True)
class TrendRow:
    label: str
    value: str
    median: str
    between: str
    runs: int
    inside: bool


def finding_rows(folder: RunDocuments) -> list[FindingRow]:
    """Findings on data and model, red before amber, each side the likeliest cause first."""
    verdict = folder.verdict
    if verdict is None:
        return []
    found = [("Data", one) for one in (verdict.data.findings if verdict.data else ())]
    found += [("Model", one) for one in (verdict.model.findings if verdict.model else ())]
    found.sort(key=lambda pair: (pair[1].severity != "red", pair[0] == "Model", pair[1].rank or 0))
    return [_finding_row(about, one) for about, one in found]


def _finding_row(about: str, one: FindingEntry) -> FindingRow:
    subject = one.feature or (slices.slice_label(one.slice) if one.slice else "") or one.kind or ""
    where = f"{about}, {one.split}" if one.split else about
    known = [each for each in one.arithmetic if numbers.is_known(each.before) and numbers.is_known(each.after)]
    largest = max((max(each.before, each.after) for each in known), default=0) or 1
    arithmetic = tuple(
        (
            shortened(each.bin, 40),
            numbers.percent(each.before, 1),
            numbers.percent(each.after, 1),
            each.before / largest,
            each.after / largest,
        )
        for each in known[:MAX_ARITHMETIC]
    )
    cause = (one.cause or "").replace("_", " ")
    words = CAUSE_WORDS.get(one.cause or "", cause)
    return FindingRow(one.severity, shortened(subject, 80), where, shortened(one.message, 600), words, arithmetic)


def change_of(seen: IntervalEntry | None, digits: int) -> tuple[str, str]:
    """(words, CSS class) of a difference with an interval: `+0.0035 gain`, `+0.0004 noise`."""
    if seen is None or seen.meaning is None:
        return "", ""
    return f"{numbers.signed(seen.value, digits)} {seen.meaning}", metrics.TENDENCIES[seen.meaning]


def trend_rows(folder: RunDocuments) -> list[TrendRow]:
    rows = []
    for one in folder.verdict.trend if folder.verdict else ():
        kind = metrics.metric_kind(one.metric)
        bounds = f"{numbers.decimal(one.lower, kind.digits)} to {numbers.decimal(one.upper, kind.digits)}"
        value, median = (numbers.decimal(each, kind.digits) for each in (one.value, one.median))
        rows.append(TrendRow(kind.label, value, median, bounds, one.runs, one.inside))
    return rows


def reference_rows(folder: RunDocuments) -> tuple[list[str], list[ReferenceRow]]:
    """(metric labels, rows): this model first, then the reference models, on the same sample."""
    model = folder.verdict.model if folder.verdict else None
    if model is None or model.references is None:
        return [], []
    kinds = [metrics.METRICS[name] for name in _REFERENCE_METRICS]
    mine = [
        metrics.MetricCell(numbers.decimal(model.references.candidate.get(name), kind.digits))
        for name, kind in zip(_REFERENCE_METRICS, kinds, strict=True)
    ]
    rows = [ReferenceRow("This model", tuple(mine))]
    for one in model.references.models:
        label = REFERENCE_WORDS.get(one.name, one.name)
        if one.problem:
            rows.append(ReferenceRow(label, (), one.train_rows, shortened(one.problem, 300)))
            continue
        cells = []
        for name, kind in zip(_REFERENCE_METRICS, kinds, strict=True):
            change, css = change_of(one.difference.get(name), kind.digits)
            value = numbers.decimal(one.metrics.get(name), kind.digits)
            words = f"this model {change}" if change else ""
            cells.append(metrics.MetricCell(value, metrics.between(one.intervals.get(name), kind.digits), words, css))
        rows.append(ReferenceRow(label, tuple(cells), one.train_rows))
    return [kind.label for kind in kinds], rows


def drift_rows(folder: RunDocuments) -> list[DriftRow]:
    """Features, the farthest beyond their bound first."""
    data = folder.verdict.data if folder.verdict else None
    rows = [_drift_row(one) for one in (data.drift if data else ())]
    return sorted(rows, key=lambda row: ({"fail": 0, "note": 1, "pass": 2, "idle": 3}[row.state], -_excess(row.one)))


def _drift_row(one: DriftEntry) -> DriftRow:
    if not (numbers.is_known(one.value) and numbers.is_known(one.threshold)):
        return DriftRow(one, "idle", "not judged")
    if one.value > one.threshold:
        return DriftRow(one, "fail", "✕ drifted")
    if numbers.is_known(one.amber) and one.value > one.amber:
        return DriftRow(one, "note", "! more than usual")
    return DriftRow(one, "pass", "✓ as before")


def _excess(one: DriftEntry) -> float:
    return (one.value or 0) / one.threshold if one.threshold else 0.0


def importance_rows(folder: RunDocuments) -> list[ImportanceRow]:
    model = folder.verdict.model if folder.verdict else None
    columns = model.importance.columns if model and model.importance else ()
    largest = max((one.logloss_rise for one in columns), default=0) or 1
    return [
        ImportanceRow(
            label=shortened(" + ".join(one.columns), 80),
            rise=numbers.signed(one.logloss_rise, 5),
            between=f"{numbers.signed(one.lower, 5)} to {numbers.signed(one.upper, 5)}",
            auc_drop=numbers.signed(-one.auc_drop, 4) if one.auc_drop is not None else numbers.MISSING,
            share=max(one.logloss_rise, 0) / largest,
            is_noise=one.lower <= 0 <= one.upper,
        )
        for one in columns
    ]


def artifact_words(artifacts: tuple[LineageArtifact, ...]) -> str:
    return ", ".join(f"{one.type} {one.id}" for one in artifacts)
