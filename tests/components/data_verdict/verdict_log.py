"""A small log made here, not by data/: the verdict must not know the generator. Days are dicts of arrays."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from hivemill.components.data_verdict.checks.registry import WindowEvidence, run_checks
from hivemill.components.data_verdict.comparison.reference import Baseline, History
from hivemill.components.data_verdict.findings import DataFinding, ranked
from hivemill.components.data_verdict.options import DataVerdictOptions
from hivemill.components.data_verdict.profile.builder import WindowFacts, profile_of
from hivemill.components.data_verdict.profile.column_roles import ColumnRoles
from hivemill.components.data_verdict.profile.window_profile import Profile
from hivemill.components.hive_example_gen.rows.flatten import flatten

MONDAY = datetime.date(2026, 6, 1)
ROWS = 3_500
SHOPS = np.array([f"shop {number:02}" for number in range(25)])
PLANS = np.array(["free", "plus", "pro", "team"])
ROLES = ColumnRoles(
    label="bought",
    user="visitor",
    date="day",
    hour="hour",
    kinds={"amount": "number", "shop": "value", "plan": "value", "grade": "value", "tags": "list"},
)
Day = dict[str, Any]


def day(date: datetime.date, rows: int = ROWS) -> Day:
    """Columns of one day; the same date gives the same rows."""
    random = np.random.default_rng(date.toordinal())
    hour_weights = np.r_[np.full(8, 1.0), np.full(12, 6.0), np.full(4, 3.0)]
    hour = np.sort(random.choice(24, rows, p=hour_weights / hour_weights.sum()))
    start = (date.toordinal() - datetime.date(1970, 1, 1).toordinal()) * 24
    popularity = 1 / np.arange(1, len(SHOPS) + 1)
    plan = random.choice(4, rows, p=[0.6, 0.25, 0.1, 0.05])
    grade = random.integers(1, 6, rows)
    click = random.random(rows) < 0.08 + 0.04 * (plan == 2) + 0.02 * (grade == 5)
    return {
        "hour": hour,
        "time": (start + hour) * 3_600_000_000 + random.integers(0, 3_600_000_000, rows),
        "visitor": random.zipf(1.6, rows) % 50_000 + random.integers(0, 3_000, rows),
        "amount": np.round(np.exp(random.normal(3, 0.8, rows)), 2),
        "amount_missing": random.random(rows) < 0.03,
        "shop": SHOPS[random.choice(len(SHOPS), rows, p=popularity / popularity.sum())],
        "plan": PLANS[plan],
        "grade": grade,
        "note": random.choice(["a", "b", "c"], rows),
        "tags": random.choice(["new", "sale", "gift"], rows),
        "bought": click.astype(np.int64),
    }


def table_of(days: dict[str, Day]) -> pa.Table:
    parts = [_table(name, columns) for name, columns in days.items()]
    joined = pa.concat_tables(parts).combine_chunks()
    return pa.Table.from_batches([flatten(batch) for batch in joined.to_batches()])


def _table(name: str, columns: Day) -> pa.Table:
    missing = columns["amount_missing"]
    rows = {key: pa.array(value) for key, value in columns.items() if key not in ("amount_missing", "tags", "hour")}
    rows["amount"] = pa.array(columns["amount"], mask=missing)
    rows["tags"] = pa.array([[tag] for tag in columns["tags"]])
    rows["hour"] = pa.array([f"{hour:02}" for hour in columns["hour"]])
    rows["day"] = pa.array([name] * len(columns["hour"]))
    return pa.table(rows)


def window(end: datetime.date, num_days: int = 8) -> dict[str, Day]:
    dates = [end - datetime.timedelta(days=back) for back in range(num_days - 1, -1, -1)]
    return {date.isoformat(): day(date) for date in dates}


def profiled(days: dict[str, Day], roles: ColumnRoles = ROLES) -> Profile:
    names = sorted(days)
    rows = {name: _by_hour(days[name]["hour"]) for name in names}
    facts = WindowFacts(
        rows, {"train": names[:-1], "eval": names[-1:]}, {name: str(len(name)) + name for name in names}
    )
    return profile_of(table_of(days), roles, facts)


def _by_hour(hours: np.ndarray) -> dict[int, int]:
    known, counts = np.unique(hours, return_counts=True)
    return dict(zip(known.tolist(), counts.tolist(), strict=True))


def evidence_of(profile: Profile | None, baseline: Profile | None = None, **facts: Any) -> WindowEvidence:
    options = facts.pop("options", DataVerdictOptions())
    history = facts.pop("history", History())
    known = Baseline("2026-06-07-good", "2026-06-07", 17, baseline, history) if baseline else None
    return WindowEvidence(
        statistics={}, anomalies={}, schema=None, roles=facts.pop("roles", ROLES), options=options, profile=profile,
        baseline=known, **facts,
    )  # fmt: skip


def judged(evidence: WindowEvidence) -> list[DataFinding]:
    """Findings but those of statistics, which are not given here."""
    return ranked(finding for finding in run_checks(evidence) if finding.kind != "rows")
