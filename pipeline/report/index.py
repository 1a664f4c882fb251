"""The index page: every run below a root with its verdict, and the trend of the key metrics. Self-contained HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hivemill.common.storage.atomic import write_text_atomically
from hivemill.common.text import shortened
from hivemill.pipeline.documents import verdict_summary
from hivemill.pipeline.documents.run_documents import read_run_folder
from hivemill.pipeline.report.charts import trend_chart
from hivemill.pipeline.report.rendering import render_page
from hivemill.pipeline.report.sections import metrics, numbers, outcome, run_times
from hivemill.pipeline.root import object_root

INDEX_NAME = "index.html"
MAX_RUNS = 500
TREND_METRICS = ("auc", "gauc", "normalized_entropy", "calibration")
MAX_POINTS = 104  # two years of weeks


def write_index(root: Path) -> Path:
    """Writes `<root>/runs/index.html`, complete or not at all, and returns its path. Raises OSError."""
    from hivemill.pipeline.documents import verdict

    path = Path(root) / "runs" / INDEX_NAME
    write_text_atomically(path, render_index(Path(root), verdict.all_verdicts(Path(root))))
    return path


def render_index(root: Path, verdicts: Sequence[Mapping[str, Any]]) -> str:
    """The page as text. `verdicts` are those of documents.verdict.all_verdicts; runs without one are listed too."""
    rows = _rows(root, {made["run_id"]: made for made in verdicts})
    last_of_day = list({made["date"]: made for made in verdicts}.values())[-MAX_POINTS:]
    charts = [(metrics.metric_kind(name).label, _chart(name, last_of_day)) for name in TREND_METRICS]
    counts = {colour: sum(row["colour"] == colour for row in rows) for colour in ("green", "amber", "red")}
    return render_page(
        "index.html.j2",
        rows=rows[:MAX_RUNS],
        left_out=max(0, len(rows) - MAX_RUNS),
        charts=[(label, chart) for label, chart in charts if chart],
        counts=counts,
        latest=rows[0] if rows else None,
        root=object_root.place_of(root),
    )


def _rows(root: Path, verdicts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The latest run date first."""
    folders = sorted((path.parent for path in (root / "runs").glob("*/run.json")), key=lambda path: path.name)
    rows = [_row(folder, verdicts.get(folder.name)) for folder in folders]
    return sorted(rows, key=lambda row: (row["date"], row["started"]), reverse=True)


def _row(folder: Path, verdict: Mapping[str, Any] | None) -> dict[str, Any]:
    read = read_run_folder(folder)
    headline = outcome.headline(read)
    whole = (verdict_summary.whole_eval(verdict) if verdict else None) or {"metrics": {}}
    return {
        "run_id": folder.name,
        "date": (read.run.date if read.run else None) or numbers.MISSING,
        "started": (read.run.started_utc if read.run else None) or "",
        "colour": headline.colour,
        "word": headline.word,
        "symbol": headline.symbol,
        "title": headline.title,
        "reason": shortened(headline.reason, 300),
        "version": outcome.pushed_version(read),
        "auc": numbers.decimal(whole["metrics"].get("auc")),
        "calibration": numbers.decimal(whole["metrics"].get("calibration"), 3),
        "took": run_times.run_seconds(read.run),
        "page": f"{folder.name}/report.html" if (folder / "report.html").is_file() else None,
    }


def _chart(name: str, verdicts: Sequence[Mapping[str, Any]]) -> Any:
    points = [point for made in verdicts if (point := _point(name, made))]
    return trend_chart.trend_chart(f"trend-{name}", f"{metrics.metric_kind(name).label} by run date", points)


def _point(name: str, made: Mapping[str, Any]) -> trend_chart.Point | None:
    whole = verdict_summary.whole_eval(made)
    value = whole["metrics"].get(name) if whole else None
    if whole is None or value is None:
        return None
    seen = (whole.get("intervals") or {}).get(name) or {}
    limits = [
        b for b in made["model"]["bounds"] if b["metric"] == name and not b["slice"] and b.get("limit") is not None
    ]
    return trend_chart.Point(
        date=made["date"],
        value=value,
        lower=seen.get("lower"),
        upper=seen.get("upper"),
        colour=made["colour"],
        at_least=max((b["limit"] for b in limits if b["at_least"]), default=None),
        at_most=min((b["limit"] for b in limits if not b["at_least"]), default=None),
    )
