"""The `data` section of verdict.json: findings, and what the report and the bounds of later runs are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hivemill.components.data_verdict.checks.evidence import DriftEvidence, WindowEvidence
from hivemill.components.data_verdict.checks.window import expected_hours
from hivemill.components.data_verdict.findings import DataFinding


def data_section(findings: Sequence[DataFinding], evidence: WindowEvidence | None = None) -> dict[str, Any]:
    """Version 2 of the section (schema/verdict.schema.json)."""
    severities = {finding.severity for finding in findings}
    profile = evidence.profile if evidence else None
    baseline = evidence.baseline if evidence else None
    return {
        "colour": "red" if "red" in severities else "amber" if severities else "green",
        "baseline": baseline.document() if baseline else None,
        "judged_days": evidence.judged_days if evidence else [],
        "findings": [finding.document() for finding in findings],
        "drift": [_drift(evidence, row) for row in _in_order(evidence)] if evidence else [],
        "columns": _columns(evidence) if profile else [],
        "volume": _volume(evidence) if profile else {},
        "sample_share": round(profile.sample_share, 6) if profile else None,
    }


def _in_order(evidence: WindowEvidence) -> list[DriftEvidence]:
    """The farthest from the reference first, in units of the bound."""
    return sorted(evidence.drift.values(), key=lambda row: -row.comparison.value / row.bounds.amber)


def _drift(evidence: WindowEvidence, row: DriftEvidence) -> dict[str, Any]:
    comparison = row.comparison
    return {
        "feature": row.column,
        "kind": row.kind,
        "used": evidence.roles.is_used(row.column),
        "day": row.day,
        "measure": "js",
        "value": round(comparison.value, 5),
        "threshold": round(row.bounds.red, 5),
        "amber": round(row.bounds.amber, 5),
        "threshold_source": row.bounds.source_of(row.bounds.red),
        "beyond_chance": bool(comparison.is_real),
        "l_infinity": round(comparison.l_infinity, 5),
        "psi": round(comparison.psi, 5),
        **comparison.histograms(),
    }


def _columns(evidence: WindowEvidence) -> list[dict[str, Any]]:
    """What a good run leaves to the bounds of later ones, and the report's table of columns."""
    rows = []
    for name, column in evidence.profile.columns.items():
        whole = evidence.profile.distribution(name, evidence.profile.days)
        aucs = [one.label_auc for one in column.days.values() if one.label_auc is not None]
        rows.append(
            {
                "feature": name,
                "kind": column.kind,
                "missing_share": round(whole.missing_share, 5),
                "unseen_share": column.unseen,
                "label_auc": round(sum(aucs) / len(aucs), 4) if aucs else None,
            }
        )
    return rows


def _volume(evidence: WindowEvidence) -> dict[str, Any]:
    profile = evidence.profile
    days = {}
    for day in profile.days:
        sampled, clicks = (sum(hours.get(day, {}).values()) for hours in (profile.sampled, profile.clicks))
        days[day] = {
            "split": evidence.split_of(day),
            "rows": profile.day_rows(day),
            "click_rate": round(clicks / sampled, 5) if sampled else None,
        }
    hours = {day: {f"{hour:02}": rows for hour, rows in profile.rows[day].items() if hour >= 0} for day in profile.days}
    return {"days": days, "hours": hours if profile.knows_hours else {}, "usual_hours": _usual_hours(evidence)}


def _usual_hours(evidence: WindowEvidence) -> dict[str, dict[str, int]]:
    """By judged day the rows of each hour that the checks expect: those of like days of the reference."""
    if evidence.reference is None or not evidence.profile.knows_hours:
        return {}
    usual = {day: expected_hours(evidence, day) for day in evidence.judged_days}
    return {day: {f"{hour:02}": round(rows) for hour, rows in hours.items()} for day, hours in usual.items() if hours}
