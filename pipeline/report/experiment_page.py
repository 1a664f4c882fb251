"""The page of an A/B test: the document of `ab report` as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hivemill.common.storage.atomic import write_text_atomically
from hivemill.pipeline.cli.ab_text import between, decisive, method_words, signed_percent
from hivemill.pipeline.report.charts import experiment_charts
from hivemill.pipeline.report.rendering import render_page
from hivemill.pipeline.report.sections import numbers

_SYMBOLS = {"better": "✓", "worse": "✕", "invalid": "✕", "guardrail": "✕", "undecided": "=", "too_early": "…"}
_BADGES = {"pass": ("pass", "✓ pass"), "fail": ("fail", "✕ fail"), "not judged": ("idle", "not judged")}
MAX_CHART_SLICES = 20


def write_experiment_page(document: Mapping[str, Any], path: Path) -> Path:
    """Writes the page, complete or not at all, and returns its path. Raises OSError."""
    write_text_atomically(Path(path), render_experiment_page(document))
    return Path(path)


def render_experiment_page(document: Mapping[str, Any]) -> str:
    """The page as text."""
    method = document["method"]
    known = document["lift"]["state"] == "known"
    return render_page(
        "experiment.html.j2",
        document=document,
        verdict=document["verdict"],
        symbol=_SYMBOLS[document["verdict"]["state"]],
        control=method["control"],
        treatment=method["treatment"],
        level=f"{1 - method['alpha']:.0%}",
        method_words=method_words(method),
        decisive=decisive(document) if known else None,
        cuped=document["lift"].get("cuped"),
        drawn=document["lift"].get("bootstrap"),
        variants=[_variant(name, one) for name, one in document["variants"].items()],
        lift_chart=_lift_chart(document),
        ctr_chart=_ctr_chart(document),
        slice_chart=_slice_chart(document),
        ratio_badge=_BADGES[document["ratio_check"]["state"]],
        guardrails=[{**guard, "badge": _BADGES[guard["state"]]} for guard in document["guardrails"]],
        signed_percent=signed_percent,
        between=between,
        p_value=_p_value,
        left_out=_left_out(document),
    )


def _variant(name: str, one: Mapping[str, Any]) -> dict[str, Any]:
    judged = one.get("judged") or {}
    return {
        "name": name,
        **one,
        "standard_error": judged.get("standard_error"),
        "design_effect": judged.get("design_effect"),
        "versions": ", ".join(one["model_versions"]) or numbers.MISSING,
    }


def _lift_chart(document: Mapping[str, Any]) -> Any:
    points = [
        experiment_charts.LiftPoint(look["date"], 100 * look["lift"], *_ends(look["lift_interval"]))
        for look in document["looks"]
        if look["lift"] is not None
    ]
    return experiment_charts.lift_chart("lift-chart", points)


def _ctr_chart(document: Mapping[str, Any]) -> Any:
    names = (document["method"]["control"], document["method"]["treatment"])
    series = {
        name: [(day["date"], 100 * day[name]["ctr"]) for day in document["days"] if day[name]["ctr"] is not None]
        for name in names
    }
    return experiment_charts.ctr_chart("ctr-chart", series)


def _slice_chart(document: Mapping[str, Any]) -> Any:
    rows = [
        experiment_charts.SliceLift(
            f"{row['column']}={row['value']}",
            100 * row["lift"],
            *_ends(row["lift_interval"]),
            "grey" if not row["significant"] else "green" if row["lift"] > 0 else "red",
        )
        for row in document["slices"]["rows"]
        if row["judged"] and row["lift_interval"]
    ]
    return experiment_charts.slice_chart("slice-chart", rows[:MAX_CHART_SLICES])


def _ends(interval: tuple[float, float] | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (100 * interval[0], 100 * interval[1])


def _p_value(value: float | None) -> str:
    if value is None:
        return numbers.MISSING
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def _left_out(document: Mapping[str, Any]) -> list[tuple[str, int]]:
    log = document["log"]
    return [
        ("rows that break a rule", log["bad_rows"]),
        ("rows without a user", log["rows_without_user"]),
        ("rows with the request id of another", log["duplicate_rows"]),
        ("rows whose request id belongs to several users or variants", log["conflicting_rows"]),
        ("rows under earlier splits", document["split"]["rows_under_other_splits"]),
        ("rows from before this version, or of another one", document["split"]["rows_of_other_versions"]),
        ("users who saw both variants", document["mixed_users"]["users"]),
        ("rows whose click is not known yet (not in the CTR)", log["rows_without_click"]),
    ]
