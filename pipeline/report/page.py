"""The report page of a run: one self-contained HTML file, made from the run folder's JSON documents alone.

Imports no TensorFlow. A run that failed, was killed or still runs has a page too; it says what is not there and why.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from hivemill.common.storage.atomic import write_text_atomically
from hivemill.pipeline.documents.run_documents import (
    ModelSection,
    RunDocuments,
    TrainingCheck,
    TrainingDocument,
    read_run_folder,
)
from hivemill.pipeline.report.charts import sparks, svg
from hivemill.pipeline.report.index import write_index
from hivemill.pipeline.report.rendering import render_page
from hivemill.pipeline.report.sections import (
    findings,
    metrics,
    numbers,
    outcome,
    row_steps,
    run_times,
    serving,
    slices,
    volume,
    window,
)

REPORT_NAME = "report.html"
_BESIDE = ("run.json", "verdict.json", "manifest.json", "history.json", "config.yaml", "log.txt")
_TILES = ("auc", "logloss", "calibration", "example_count")
_NODE_BADGES = {"succeeded": "pass", "cached": "info", "failed": "fail", "skipped": "idle"}
_MAX_CHECKS = 300

__all__ = ["REPORT_NAME", "render", "write_index", "write_report"]


def write_report(run_folder: Path) -> Path:
    """Writes `report.html` into the run folder, complete or not at all, and returns its path. Raises OSError."""
    path = Path(run_folder) / REPORT_NAME
    write_text_atomically(path, render(run_folder))
    return path


def render(run_folder: Path) -> str:
    """The page as text, valid UTF-8. Absent or broken documents are named on the page; they raise nothing."""
    folder = read_run_folder(run_folder)
    parts = (_verdict_part, _why_part, _volume_part, _model_part, _serving_part, _rows_part, _run_part)
    values = {name: value for part in parts for name, value in part(folder).items()}
    return render_page("page.html.j2", **values)


def _verdict_part(folder: RunDocuments) -> dict[str, Any]:
    """The head of the page: verdict, facts, key numbers."""
    rows = metrics.metric_rows(folder)
    model = folder.verdict.model if folder.verdict else None
    baseline = model.baseline_version if model else None
    return {
        "run": folder.run,
        "run_id": folder.run.run_id if folder.run else folder.path.name,
        "date": next((one.date for one in (folder.run, folder.verdict, folder.manifest) if one and one.date), None),
        "headline": outcome.headline(folder),
        "exit_words": outcome.exit_words(folder),
        "pushed": outcome.pushed_version(folder),
        "baseline_version": baseline,
        "baseline_words": f"stable is version {baseline}" if baseline is not None else "no stable to compare with",
        "started": run_times.start_words(folder.run),
        "took": run_times.run_seconds(folder.run),
        "metrics": rows,
        "metrics_absent": outcome.why_absent(folder, "verdict.json", rows),
        "tiles": [row for name in _TILES for row in rows if row.kind is metrics.METRICS[name]],
        "has_baseline": any(row.baseline != numbers.MISSING for row in rows),
        "best": metrics.best_reachable(folder),
    }


def _why_part(folder: RunDocuments) -> dict[str, Any]:
    """Findings, trend, trivial models, importance, drift."""
    verdict = folder.verdict
    data, model = (verdict.data, verdict.model) if verdict else (None, None)
    found, drift = findings.finding_rows(folder), findings.drift_rows(folder)
    labels, references = findings.reference_rows(folder)
    importance = findings.importance_rows(folder)
    no_data = outcome.why_absent(folder, "verdict.json", data is not None)
    no_model = outcome.why_absent(folder, "verdict.json", model is not None)
    beside = model.problem if model and model.problem else "This run did not compute it."
    cause = (verdict.cause or "").replace("_", " ") if verdict else ""
    return {
        "finding_rows": found[: findings.MAX_FINDINGS],
        "findings_total": len(found),
        "cause_words": findings.CAUSE_WORDS.get(verdict.cause or "", cause) if verdict else "",
        "data_absent": no_data,
        "trend_rows": findings.trend_rows(folder),
        "references": model.references if model else None,
        "reference_labels": labels,
        "reference_rows": references,
        "references_absent": no_model or beside,
        "importance_rows": importance[: findings.MAX_IMPORTANCE],
        "importance_sample": model.importance.rows if model and model.importance else 0,
        "importance_absent": no_model or beside,
        "drift_rows": [(row, _spark(row)) for row in drift[: findings.MAX_DRIFT]],
        "drift_left_out": max(0, len(drift) - findings.MAX_DRIFT),
        "drift_absent": no_data or "No drift was measured: there is nothing to compare this window with.",
        "data_baseline": data.baseline if data else None,
        "interval_words": _interval_words(model),
    }


def _spark(row: findings.DriftRow) -> Markup | None:
    return sparks.pair_of_histograms(row.one.feature, row.one.before, row.one.after)


def _volume_part(folder: RunDocuments) -> dict[str, Any]:
    """Rows by day and hour against what is usual; all charts to one scale."""
    data = folder.verdict.data if folder.verdict else None
    days = volume.day_volumes(data.volume) if data else []
    shown = days[-volume.MAX_DAYS :]
    top = max((max(one.usual, one.now) for day in shown for one in day.hours), default=0.0)
    reason = outcome.why_absent(folder, "verdict.json", data is not None)
    return {
        "volume_rows": [(day, sparks.rows_by_hour(day, top)) for day in shown],
        "volume_has_hours": any(day.hours for day in shown),
        "volume_left_out": len(days) - len(shown),
        "sampled": row_steps.sampled_splits(folder.manifest),
        "volume_absent": reason or "This run did not count rows by day.",
    }


def _interval_words(model: ModelSection | None) -> str:
    if model is None or model.bootstrap is None:
        return ""
    return f"{100 * model.bootstrap.level:.0f} % interval (bootstrap over {model.bootstrap.unit})"


def _model_part(folder: RunDocuments) -> dict[str, Any]:
    """Slices, calibration, training and the best reachable values."""
    model = folder.verdict.model if folder.verdict else None
    rows = slices.slice_rows(model)
    curve = model.calibration_curve if model else ()
    chart = svg.reliability_chart("reliability", curve)
    return {
        "slices": rows[: slices.MAX_SLICES],
        "slices_left_out": max(0, len(rows) - slices.MAX_SLICES),
        "slices_absent": _no_slices(folder) if not rows else None,
        "slice_curves": slices.calibration_by_slice(model),
        "slice_kinds": [metrics.METRICS[name] for name in slices.SLICE_METRICS],
        "calibration": curve,
        "calibration_chart": chart,
        "calibration_absent": outcome.why_absent(folder, "verdict.json", chart),
        "truth": metrics.truth_of_eval_days(folder),
        "truth_absent": _no_truth(folder),
        **_training_part(folder),
    }


def _training_part(folder: RunDocuments) -> dict[str, Any]:
    history = folder.history or TrainingDocument()
    drawn = [("Loss", "loss"), ("AUC", "auc")]
    made = [(title, _curve(title, field, history)) for title, field in drawn]
    return {
        "history": history,
        "checks": history.checks[-_MAX_CHECKS:],
        "training_charts": [(title, chart) for title, chart in made if chart],
        "training_absent": outcome.why_absent(folder, "history.json", history.checks),
    }


def _serving_part(folder: RunDocuments) -> dict[str, Any]:
    """The exported model in a server."""
    found = folder.verdict.serving if folder.verdict else None
    has_judged = folder.verdict is not None and folder.verdict.model is not None and folder.verdict.exit_code == 0
    reason = serving.NOT_CHECKED if has_judged else outcome.why_absent(folder, "verdict.json", found)
    return {
        "serving": found,
        "serving_absent": reason,
        "serving_server": serving.server_words(found),
        "serving_difference": serving.largest_difference(found),
        "serving_rows": serving.difference_rows(found),
    }


def _rows_part(folder: RunDocuments) -> dict[str, Any]:
    """What the steps between table and examples did to the rows."""
    manifest = folder.manifest
    table, join = row_steps.step_table(manifest), manifest.label_join if manifest else None
    clicks = join.clicks if join else ()
    return {
        "row_steps": table,
        "rows_absent": outcome.why_absent(folder, "manifest.json", manifest) or (None if table else row_steps.NO_STEPS),
        "row_rules": row_steps.rules(manifest),
        "label_join": join,
        "clicks_words": row_steps.clicks_words(join) if join else "",
        "click_days": [(one, row_steps.unused_clicks(one)) for one in clicks[-window.MAX_DAYS :]],
        "clicks_left_out": max(0, len(clicks) - window.MAX_DAYS),
    }


def _curve(title: str, field: str, history: TrainingDocument) -> Markup | None:
    series = [
        svg.Series("train", "train", _points(history.checks, field)),
        svg.Series("validation", "validation", _points(history.checks, f"val_{field}")),
    ]
    return svg.line_chart(f"curve-{field}", f"{title} by epoch", series, best_epoch=history.best_epoch)


def _points(checks: tuple[TrainingCheck, ...], field: str) -> tuple[tuple[float, float], ...]:
    values = ((one.epoch, getattr(one, field)) for one in checks)
    return tuple((epoch, value) for epoch, value in values if numbers.is_known(value))


def _run_part(folder: RunDocuments) -> dict[str, Any]:
    """The data's findings, the window, the nodes and the lineage."""
    days = window.days(folder)
    manifest, nodes = folder.manifest, run_times.node_rows(folder.run)
    return {
        "manifest": manifest,
        "days": days[-window.MAX_DAYS :],
        "days_left_out": max(0, len(days) - window.MAX_DAYS),
        "splits": window.split_totals(folder),
        "left_out": window.left_out(folder),
        "odd_rows": window.odd_rows(folder),
        "lateness": manifest.lateness if manifest else None,
        "max_named": window.MAX_NAMED,
        "window_absent": outcome.why_absent(folder, "manifest.json", manifest),
        "nodes": nodes,
        "node_badges": _NODE_BADGES,
        "nodes_absent": outcome.why_absent(folder, "run.json", nodes),
        "lineage": _lineage(folder),
        "made_from": folder.lineage.nodes if folder.lineage else (),
        "artifact_words": findings.artifact_words,
        "problems": folder.problems,
        "beside": [name for name in _BESIDE if (folder.path / name).is_file()],
    }


def _lineage(folder: RunDocuments) -> list[tuple[str, Any]]:
    """What ran, where, from which config and plan; only what was recorded."""
    run, history = folder.run, folder.history
    model = folder.verdict.model if folder.verdict else None
    rows = [
        ("Run", run and run.run_id),
        ("Attempt", run and run.attempt),
        ("Started (UTC)", run and run.started_utc),
        ("Finished (UTC)", run and run.finished_utc),
        ("Runner", run and run.runner),
        ("Host", run and run.host),
        ("Config fingerprint", run and run.config_fingerprint),
        ("Plan fingerprint", run and run.plan_fingerprint),
        ("Data fingerprint", folder.manifest and folder.manifest.fingerprint),
        ("Model version pushed", outcome.pushed_version(folder)),
        ("Baseline version", model and model.baseline_version),
        ("Parameters", history and history.num_parameters and numbers.count(history.num_parameters)),
        ("Members (the curves are of the first)", (len(history.members) or None) if history else None),
        *((name, version) for name, version in sorted((run.versions if run else {}).items())),
    ]
    return [(name, value) for name, value in rows if value is not None]


def _no_slices(folder: RunDocuments) -> str:
    reason = outcome.why_absent(folder, "verdict.json", folder.verdict and folder.verdict.model)
    return reason or "The config asks for no slices (gates.slices)."


def _no_truth(folder: RunDocuments) -> str:
    if folder.manifest is None:
        return outcome.why_absent(folder, "manifest.json", None) or ""
    if "_truth.json" in folder.problems:
        return f"_truth.json could not be used: {folder.problems['_truth.json']}."
    return "Not known: only a generated log comes with the best reachable values (_truth.json in the table's folder)."
