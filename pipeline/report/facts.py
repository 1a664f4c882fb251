"""What the page says, worked out from the documents: the headline, the rows of each table. No HTML here."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pipeline import verdict_words
from pipeline.report import numbers
from pipeline.report.documents import (
    BoundResult,
    Interval,
    ModelSection,
    NodeRun,
    Partition,
    Run,
    RunFolder,
    SliceMetrics,
    Truth,
)

MAX_SLICES, MAX_DAYS, MAX_NAMED = 150, 400, 50


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
_TENDENCIES = {"gain": "better", "loss": "worse", "noise": "same"}
_TRUTH_FIELDS = {"auc": "best_auc", "logloss": "best_logloss"}
SLICE_METRICS = ("auc", "gauc", "logloss", "normalized_entropy", "calibration")

COLOUR_WORDS = {**verdict_words.WORDS, "running": "Running", "grey": "Unknown"}
_SYMBOLS = {**verdict_words.SYMBOLS, "running": "…", "grey": "?"}


@dataclass(frozen=True)
class Headline:
    """The verdict in one line. `colour` is a CSS class, `word` and `symbol` say the same without colour."""

    colour: str
    title: str
    reason: str
    hint: str | None
    exit_code: int | None

    @property
    def word(self) -> str:
        return COLOUR_WORDS[self.colour]

    @property
    def symbol(self) -> str:
        return _SYMBOLS[self.colour]


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


@dataclass(frozen=True)
class Cell:
    value: str
    difference: str = ""
    tendency: str = ""
    between: str = ""


@dataclass(frozen=True)
class SliceRow:
    label: str
    examples: str
    clicks: str
    cells: tuple[Cell, ...]
    bounds: tuple[BoundResult, ...]


@dataclass(frozen=True)
class Day:
    date: str
    split: str
    partitions: int
    rows: int | None
    bytes: int | None
    trouble: tuple[str, ...]


@dataclass(frozen=True)
class SplitTotal:
    name: str
    days: tuple[str, ...]
    partitions: int
    rows: int | None
    bytes: int | None


@dataclass(frozen=True)
class NodeRow:
    node: NodeRun
    share: float


def headline(folder: RunFolder) -> Headline:
    """The verdict's own words where there is a verdict, else those of the run, else that neither is there."""
    run, verdict = folder.run, folder.verdict
    error = run.error if run else None
    code = next((one.exit_code for one in (verdict, run) if one and one.exit_code is not None), None)
    hint = error.hint if error else None
    if verdict and not (run and run.state == "running"):
        colour = verdict.colour if verdict.colour in COLOUR_WORDS else "grey"
        reason = verdict.reason or (error.message if error else "no reason was recorded")
        return Headline(colour, _title(colour, code, folder), reason, hint, code)
    if run is None:
        reason = folder.problems.get("run.json", "run.json is not in the run folder: no run was recorded here")
        return Headline("grey", "Unknown: the run left no record", reason, None, None)
    if run.state == "running":
        return _unfinished(run)
    if run.state == "succeeded":
        reason = "verdict.json is not there, so nothing says whether the model is good"
        return Headline("amber", "Finished without a verdict", reason, hint, code)
    reason = error.message if error else f"the run ended in state {run.state!r} and recorded no error"
    return Headline("red", _title("red", code, folder), reason, hint, code)


def _title(colour: str, code: int | None, folder: RunFolder) -> str:
    return verdict_words.title_of(colour, code, pushed_version(folder))


def exit_words(folder: RunFolder) -> str:
    """What the exit code means, for readers who do not know the table in docs/cli.md."""
    code = headline(folder).exit_code
    if code is None:
        return "the run recorded no end"
    return "done" if code == 0 else verdict_words.TITLES.get(code, "failed").partition(": ")[2] or "failed"


def _unfinished(run: Run) -> Headline:
    if has_died(run):
        reason = f"process {run.pid} on {run.host} is gone and recorded no end: it was killed, or the machine restarted"
        return Headline("red", "Killed before it finished", reason, "Start the same run again: it resumes.", None)
    return Headline("running", "Not finished", f"process {run.pid} on {run.host} had not recorded an end", None, None)


def has_died(run: Run) -> bool:
    """True where the run's process is known to be gone; another host's processes cannot be seen from here."""
    if run.pid is None or run.host != socket.gethostname():
        return False
    try:
        os.kill(run.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def pushed_version(folder: RunFolder) -> int | None:
    """The model version that this run pushed; None where it pushed none."""
    model = folder.verdict.model if folder.verdict else None
    if folder.run and folder.run.model_version is not None:
        return folder.run.model_version
    return model.version if model and model.blessed else None


def why_absent(folder: RunFolder, name: str, section: object) -> str | None:
    """Why a section of the page has nothing to show; None where it has. `name` is the file that it comes from."""
    if section:
        return None
    if name in folder.problems:
        return f"{name} could not be used: {folder.problems[name]}."
    run = folder.run
    if run is None:
        return f"{name} is not there, and no run.json says why."
    if run.state == "running":
        return "The run was killed before this point." if has_died(run) else "The run has not come to this point yet."
    failed = next((node.node_id for node in run.nodes if node.state == "failed"), None)
    if failed:
        return f"The run stopped at {failed}, before this was written."
    if run.state == "failed":
        return "The run stopped before this was written."
    return f"The run recorded nothing here ({name})."


def whole_eval(model: ModelSection | None) -> SliceMetrics | None:
    return next((one for one in model.slices if not one.slice), None) if model else None


def metric_kind(name: str) -> MetricKind:
    return METRICS.get(name) or MetricKind(name, 4, "", "")


def metric_rows(folder: RunFolder) -> list[MetricRow]:
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


def _with_intervals(row: MetricRow, name: str, overall: SliceMetrics | None) -> MetricRow:
    """With an interval the data says what a difference means; without one the last digit shown has to."""
    seen = overall.intervals.get(name) if overall else None
    change = ((overall.differences if overall else None) or {}).get(name)
    row = replace(row, between=_between(seen, row.kind.digits))
    if change is None or change.meaning is None:
        return row
    words = f"{change.meaning}: {_between(change, row.kind.digits, signed=True)}"
    return replace(row, meaning=words, tendency=_TENDENCIES[change.meaning])


def _between(seen: Interval | None, digits: int, signed: bool = False) -> str:
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
        difference=_difference(value, baseline, kind),
        tendency=tendency(value, baseline, kind),
        best=numbers.decimal(best.get(name), kind.digits),
        gap=numbers.signed(gap, kind.digits),
        bounds=tuple(bounds),
    )


def _difference(value: float | None, baseline: float | None, kind: MetricKind) -> str:
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


def slice_rows(model: ModelSection | None) -> list[SliceRow]:
    """Slices with a failed bound first, then the largest. Bounds on slices without metrics get a row too."""
    if model is None:
        return []
    by_slice: dict[tuple, list[BoundResult]] = {}
    for bound in model.bounds:
        by_slice.setdefault(_slice_key(bound.slice), []).append(bound)
    known = {_slice_key(one.slice): one for one in model.slices}
    for key, bounds in by_slice.items():
        known.setdefault(key, SliceMetrics(slice=bounds[0].slice))
    known.pop((), None)
    order = sorted(known.items(), key=lambda item: _slice_rank(item[1], by_slice.get(item[0], ())))
    return [_slice_row(one, by_slice.get(key, ())) for key, one in order]


def _slice_key(values: dict[str, Any]) -> tuple:
    return tuple(sorted((name, str(value)) for name, value in values.items()))


def _slice_rank(one: SliceMetrics, bounds: Sequence[BoundResult]) -> tuple:
    failed = any(bound.judged and not bound.passed for bound in bounds)
    return (not failed, -(one.metrics.get("example_count") or 0), slice_label(one.slice))


def _slice_row(one: SliceMetrics, bounds: Sequence[BoundResult]) -> SliceRow:
    baselines = one.baseline_metrics or {}
    cells = []
    for name in SLICE_METRICS:
        kind, value, baseline = METRICS[name], one.metrics.get(name), baselines.get(name)
        difference = _difference(value, baseline, kind) if numbers.is_known(baseline) else ""
        change, better = (one.differences or {}).get(name), tendency(value, baseline, kind)
        if change is not None and change.meaning is not None:
            better = _TENDENCIES[change.meaning]
        between = _between(one.intervals.get(name), kind.digits)
        cells.append(Cell(numbers.decimal(value, kind.digits), difference, better, between))
    count, clicks = one.metrics.get("example_count"), one.metrics.get("clicks")
    return SliceRow(slice_label(one.slice), numbers.count(count), numbers.count(clicks), tuple(cells), tuple(bounds))


def slice_label(values: dict[str, Any]) -> str:
    """`device = ios, hour = 7`; values are quoted by nothing, the page escapes and isolates them."""
    text = ", ".join(f"{name} = {'(empty)' if value == '' else value}" for name, value in values.items())
    return numbers.shortened(text, 120) or "all"


def truth_of_eval_days(folder: RunFolder) -> Truth | None:
    """The generated log's best reachable values, eval days only; None for a log that nobody knows the truth of."""
    if not (folder.truth and folder.manifest):
        return None
    days = {day: folder.truth.days[day] for day in folder.manifest.window.get("eval", ()) if day in folder.truth.days}
    return Truth(days=days) if days else None


def best_reachable(folder: RunFolder) -> dict[str, float]:
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


def calibration_by_slice(model: ModelSection | None) -> list[tuple[str, list[str]]]:
    """(slice, mean prediction / click rate in each tenth of its rows) of the slices that are large enough."""
    rows = []
    for one in (model.slices if model else ())[: MAX_SLICES + 1]:
        if one.slice and len(one.calibration_curve) == 10:
            pairs = [(each.mean_prediction, each.click_rate) for each in one.calibration_curve]
            ratios = [numbers.decimal(p / c, 2) if p is not None and c else numbers.MISSING for p, c in pairs]
            rows.append((slice_label(one.slice), ratios))
    return rows


def days(folder: RunFolder) -> list[Day]:
    """The window's days in order, with what was read of each and what is missing or late."""
    manifest = folder.manifest
    if manifest is None:
        return []
    split_of = {day: split for split, dates in manifest.window.items() for day in dates}
    read: dict[str, list[Partition]] = {day: [] for day in split_of}
    for partition in manifest.partitions:
        day = _day_of(partition.partition, split_of)
        if day:
            read[day].append(partition)
    trouble: dict[str, list[str]] = {day: [] for day in split_of}
    for word, entries in left_out(folder).items():
        for entry in entries:
            day = _day_of(entry, split_of)
            if day:
                trouble[day].append(f"{word}: {entry}")
    return [
        Day(day, split_of[day], len(read[day]), *_totals(read[day]), tuple(trouble[day])) for day in sorted(split_of)
    ]


def split_totals(folder: RunFolder) -> list[SplitTotal]:
    if folder.manifest is None:
        return []
    totals = []
    for name, dates in folder.manifest.window.items():
        partitions = [one for one in folder.manifest.partitions if one.split == name]
        rows, num_bytes = _totals(partitions)
        rows = folder.manifest.num_rows.get(name, rows)
        totals.append(SplitTotal(name, tuple(sorted(dates)), len(partitions), rows, num_bytes))
    return totals


def _totals(partitions: Sequence[Partition]) -> tuple[int | None, int | None]:
    def total(values: list[int | None]) -> int | None:
        return sum(value for value in values if value is not None) if any(v is not None for v in values) else None

    return total([one.rows for one in partitions]), total([one.bytes for one in partitions])


def left_out(folder: RunFolder) -> dict[str, list[str]]:
    """Partitions of the window that were not read: `missing`, `late`, `empty`, `small`; only kinds that occur."""
    manifest = folder.manifest
    kinds = {kind: getattr(manifest, kind, ()) for kind in ("missing", "late", "empty", "small")}
    return {kind: [partition_name(one) for one in entries] for kind, entries in kinds.items() if entries}


@dataclass(frozen=True)
class RowCount:
    """Rows of one split that were left out, or read as Hive reads them, by what was wrong with them."""

    split: str
    kind: str
    cause: str
    rows: int
    share: float | None


def odd_rows(folder: RunFolder) -> list[RowCount]:
    """The rows of each split that something was wrong with: `left out` ones first, with their share of the split."""
    manifest = folder.manifest
    found = []
    for kind, of_splits in (
        (("left out", manifest.bad_rows), ("read as Hive does", manifest.row_notes)) if manifest else ()
    ):
        for split, counts in of_splits.items():
            total = manifest.rows_read.get(split, 0) + sum(manifest.bad_rows.get(split, {}).values())
            found += [RowCount(split, kind, cause, n, n / total if total else None) for cause, n in counts.items()]
    return found


def partition_name(entry: Any) -> str:
    """Missing and late entries are names, small ones documents that hold it with their arithmetic."""
    if isinstance(entry, dict):
        entry = entry.get("words") or entry.get("partition") or entry.get("path") or entry
    return numbers.shortened(str(entry), 200)


def _day_of(partition: str, known: dict[str, str]) -> str | None:
    """The window's day that a partition path such as `dt=2026-11-15/hour=07` belongs to, whatever the date's format."""
    for part in partition.split("/"):
        value = part.partition("=")[2] or part
        digits = "".join(filter(str.isdigit, value))
        day = value if value in known else f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}"
        if day in known:
            return day
    return None


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
        return numbers.shortened(run.started_utc, 40)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def run_seconds(run: Run | None) -> float | None:
    """Wall time from the record's start to its end; None while either is not recorded."""
    if run is None or not run.started_utc or not run.finished_utc:
        return None
    try:
        return (_time(run.finished_utc) - _time(run.started_utc)).total_seconds()
    except (ValueError, TypeError):
        return None
