"""What the verdict says: findings, each with its arithmetic and its probable cause."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal

Severity = Literal["red", "amber"]
Kind = Literal[
    "schema", "label", "rows", "drift", "skew", "split", "missing", "coverage", "values", "volume", "leak", "traffic",
    "clock", "dependence",
]  # fmt: skip
ThresholdSource = Literal["config", "default", "learnt"]

CAUSES: dict[str, str] = {
    "leaked_label": "the column was filled after the click was known",
    "swapped_columns": "two columns hold each other's values",
    "unit_change": "the column has another unit",
    "dead_feature": "the column is no longer filled",
    "shifted_clock": "the clock that wrote the log, or the time zone, moved",
    "missing_hour": "an hour, or a part of it, did not arrive",
    "clicks_lost": "impressions arrived without their clicks",
    "repeated_rows": "rows were loaded twice",
    "bots": "few users made a large part of the traffic",
    "truncated_vocabulary": "values were cut off, or the rare ones are lost",
    "category_flood": "many values that were never seen before",
    "mixed_up_rows": "values and rows no longer belong together: a wrong join, shifted rows",
    "recoded_values": "the values are written in another way",
    "scaled_values": "all values grew or shrank by one factor",
    "lost_values": "values that were frequent no longer occur",
    "volume": "far more or fewer rows than usual",
    "missing_values": "more rows than before lack a value",
    "drift": "the distribution changed",
    "label_rate": "the click rate changed",
    "label": "the label cannot be learnt from",
    "no_rows": "a split is empty",
    "schema": "the table changed",
    "serving_skew": "serving sees other values than training",
}
"""The fixed vocabulary of causes. Their order is the rank among findings of one severity: what explains others first,
the one that every other may follow from (a drift, say, from bots) last."""


@dataclasses.dataclass(frozen=True)
class DataFinding:
    """`severity` red stops the run; `feature` and `split` may be empty. `rank` 1 is the most probable root cause."""

    severity: Severity
    kind: Kind
    feature: str
    split: str
    message: str
    measure: str | None = None
    value: float | None = None
    threshold: float | None = None
    threshold_source: ThresholdSource | None = None
    arithmetic: tuple[Mapping[str, Any], ...] = ()
    cause: str = "schema"
    rank: int = 0

    def document(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "arithmetic": [dict(one) for one in self.arithmetic]}


def ranked(findings: Iterable[DataFinding]) -> list[DataFinding]:
    """Red before amber; then by the order of CAUSES; then by how far beyond its bound a finding is."""
    order = list(CAUSES)
    in_order = sorted(findings, key=lambda one: (one.severity != "red", order.index(one.cause), -_excess(one)))
    return [dataclasses.replace(finding, rank=rank) for rank, finding in enumerate(in_order, 1)]


def _excess(finding: DataFinding) -> float:
    if not finding.value or not finding.threshold:
        return 0.0
    return abs(finding.value) / finding.threshold
