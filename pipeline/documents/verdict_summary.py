"""A verdict in words: what report, TensorBoard card, alert and `status` say alike. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from hivemill.common.text import shortened

WORDS = {"green": "Green", "amber": "Amber", "red": "Red"}
SYMBOLS = {"green": "✓", "amber": "!", "red": "✕"}
TITLES = {
    1: "Failed: a defect of Hivemill",
    2: "Failed: usage or configuration",
    3: "Stopped: the data is not ready",
    4: "Stopped: the data verdict is red",
    5: "Not pushed: a gate refused the model",
    6: "Failed: serving check or infrastructure",
    7: "Stopped: another run holds the lock",
    8: "Stopped: the rollout was aborted",
    9: "Stopped: a data file is damaged",
}
_MAX_MESSAGE = 400
HEADLINE_METRICS = ("auc", "gauc", "logloss", "normalized_entropy", "calibration")


@dataclasses.dataclass(frozen=True)
class Summary:
    """What every surface says of a verdict, in the same words."""

    run_id: str
    date: str
    colour: str
    exit_code: int
    title: str
    reason: str
    cause: str | None
    findings: tuple[tuple[str, str], ...]  # (severity, message), red ones first

    @property
    def headline(self) -> str:
        """`Red: Not pushed: a gate refused the model`."""
        return f"{WORDS[self.colour]}: {self.title}"

    def document(self) -> dict[str, Any]:
        """As JSON: what `status --json` and the generic alert have."""
        found = [{"severity": severity, "message": message} for severity, message in self.findings]
        return {**dataclasses.asdict(self), "headline": self.headline, "findings": found}


def summary_of(verdict: Mapping[str, Any]) -> Summary:
    """The words of a verdict document of any version."""
    return Summary(
        run_id=verdict["run_id"],
        date=verdict["date"],
        colour=verdict["colour"],
        exit_code=verdict["exit_code"],
        title=title_of(verdict["colour"], verdict["exit_code"], (verdict.get("model") or {}).get("version")),
        reason=verdict["reason"],
        cause=verdict.get("cause"),
        findings=tuple((one["severity"], shortened(one["message"], _MAX_MESSAGE)) for one in all_findings(verdict)),
    )


def title_of(colour: str, exit_code: int | None, version: int | None) -> str:
    if colour == "red" or exit_code:
        return TITLES.get(exit_code or 0, "Failed")
    warnings = ", with warnings" if colour == "amber" else ""
    return f"Model pushed{warnings}" if version is not None else f"Finished, nothing pushed{warnings}"


def all_findings(verdict: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Findings on data and model, red before amber, each side in its own order of likelihood."""
    sections = [verdict.get("data") or {}, verdict.get("model") or {}]
    found = [one for section in sections for one in section.get("findings", ())]
    return sorted(found, key=lambda one: one["severity"] != "red")


def markdown(verdict: Mapping[str, Any]) -> str:
    """The card for TensorBoard and for messengers that read Markdown."""
    summary = summary_of(verdict)
    lines = [f"## {SYMBOLS[summary.colour]} {summary.headline}", "", _escaped(summary.reason), ""]
    lines += [f"- **{severity}**: {_escaped(message)}" for severity, message in summary.findings[:20]]
    if len(summary.findings) > 20:
        lines.append(f"- and {len(summary.findings) - 20} more, see the report")
    lines += ["", *_metrics_table(verdict)]
    facts = f"Run `{summary.run_id}`, data up to {summary.date}, exit code {summary.exit_code}"
    return "\n".join([*lines, facts + (f", cause: {summary.cause}" if summary.cause else "") + "."]) + "\n"


def whole_eval(verdict: Mapping[str, Any]) -> dict[str, Any] | None:
    """The entry of `slices` for the whole eval split."""
    slices = (verdict.get("model") or {}).get("slices", ())
    return next((one for one in slices if not one["slice"]), None)


def _metrics_table(verdict: Mapping[str, Any]) -> list[str]:
    whole = whole_eval(verdict)
    if whole is None:
        return []
    lines = ["| Metric | Value | 95 % interval | To stable |", "|---|---|---|---|"]
    for name in HEADLINE_METRICS:
        value = whole["metrics"].get(name)
        if value is None:
            continue
        seen = (whole.get("intervals") or {}).get(name)
        between = f"{seen['lower']:.4f} to {seen['upper']:.4f}" if seen else "–"
        change = (whole.get("differences") or {}).get(name)
        to_stable = f"{change['value']:+.4f} ({change['meaning']})" if change else "–"
        lines.append(f"| {name} | {value:.4f} | {between} | {to_stable} |")
    return [*lines, ""]


def _escaped(text: str) -> str:
    """Column names and values must not turn into markup."""
    for character in "\\`*_[]|#":
        text = text.replace(character, "\\" + character)
    return text.replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
