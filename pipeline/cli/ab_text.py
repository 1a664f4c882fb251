"""The document of `ab report` as text for a terminal."""

from __future__ import annotations

from typing import Any

from hivemill.common import text as texts
from hivemill.pipeline.cli.output import table
from hivemill.pipeline.report.sections import numbers


def text(document: dict[str, Any]) -> str:
    """Verdict first, then variants, lift, checks, slices."""
    verdict = document["verdict"]
    lines = [f"{verdict['title']}", f"  {verdict['reason']}"]
    if verdict["hint"]:
        lines.append(f"  {verdict['hint']}")
    lines += ["", _variants(document), "", *_lift(document), *_checks(document)]
    if document["slices"]["rows"]:
        lines += ["", _slices(document)]
    if "page" in document:
        lines += ["", document["page"]]
    return "\n".join(lines)


def signed_percent(value: float | None) -> str:
    return numbers.MISSING if value is None else f"{value:+.2%}"


def between(interval: tuple[float, float] | None) -> str:
    """A relative interval; a dash where any value would fit."""
    return numbers.MISSING if interval is None else f"{interval[0]:+.2%} to {interval[1]:+.2%}"


def method_words(method: dict[str, Any]) -> str:
    """What an interval or p-value of the document may be used for."""
    if method["looks"] == "once":
        return f"valid for one look, after {method['planned_end']}"
    return "valid at every daily look"


def decisive(document: dict[str, Any]) -> dict[str, Any]:
    """The p-value and intervals that the verdict rests on."""
    return document["lift"]["one_look" if document["method"]["looks"] == "once" else "always_valid"]


def _variants(document: dict[str, Any]) -> str:
    header = ("VARIANT", "USERS", "IMPRESSIONS", "CLICKS", "CTR", "ERRORS", "P99 S", "CALIBRATION")
    rows = [
        (
            name,
            f"{one['users']:,}",
            f"{one['impressions']:,}",
            f"{one['clicks']:,}",
            numbers.percent(one["ctr"], 4),
            numbers.percent(one["error_share"], 3),
            None if one["p99_latency_seconds"] is None else f"{one['p99_latency_seconds']:.3f}",
            None if one["calibration"] is None else f"{one['calibration']:.3f}",
        )
        for name, one in document["variants"].items()
    ]
    return table(header, rows)


def _lift(document: dict[str, Any]) -> list[str]:
    lift = document["lift"]
    if lift["state"] != "known":
        return [f"Lift: unknown: {lift['why']}"]
    used = decisive(document)
    level = f"{1 - document['method']['alpha']:.0%}"
    lines = [
        f"Lift {signed_percent(lift['lift'])}, {level} interval {between(used['lift_interval'])}, "
        f"p {used['p_value']:.3g}: {method_words(document['method'])}"
    ]
    if "cuped" in lift:
        reduction = lift["cuped"]["variance_reduction"]
        without = lift["cuped"]["without"]["lift"]
        lines.append(
            f"CUPED took {numbers.percent(reduction, 1)} of the variance; lift without it {signed_percent(without)}"
        )
    if "bootstrap" in lift:
        lines.append(f"Bootstrap over users, for one look: {between(lift['bootstrap']['lift_interval'])}")
    return lines


def _checks(document: dict[str, Any]) -> list[str]:
    ratio, mixed = document["ratio_check"], document["mixed_users"]
    p_value = "" if ratio["p_value"] is None else f", p {ratio['p_value']:.3g}"
    lines = [f"Sample ratio: {ratio['state']}{p_value}" + (f" ({ratio['why']})" if ratio["why"] else "")]
    if mixed["users"]:
        lines.append(f"Users in both variants, left out: {mixed['users']:,} ({mixed['share']:.2%})")
    for key, what in (
        ("rows_under_other_splits", "under earlier splits"),
        ("rows_of_other_versions", "of other versions"),
    ):
        if document["split"][key]:
            lines.append(f"Rows {what}, left out: {document['split'][key]:,}")
    for key in ("bad_rows", "rows_without_user", "duplicate_rows", "conflicting_rows", "rows_without_click"):
        if document["log"][key]:
            kept = "" if key == "rows_without_click" else ", left out"
            lines.append(f"{key.replace('_', ' ').capitalize()}{kept}: {document['log'][key]:,}")
    lines += [
        f"Guardrail {guard['name']}: {guard['state']}" + (f" ({guard['why']})" if guard["why"] else "")
        for guard in document["guardrails"]
    ]
    return lines


def _slices(document: dict[str, Any]) -> str:
    rows = [
        (
            texts.shortened(f"{row['column']}={row['value']}", 40),
            signed_percent(row.get("lift")),
            between(row.get("lift_interval")),
            f"{row['corrected_p_value']:.3g}" if row["judged"] else "too little",
        )
        for row in document["slices"]["rows"]
    ]
    return table(("SLICE", "LIFT", "INTERVAL", "P (HOLM)"), rows)
