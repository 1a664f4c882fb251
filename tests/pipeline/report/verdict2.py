"""A run with everything that verdict.json, version 2, can hold; any number of features and slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.pipeline.report import run_folders

_METRICS = ("auc", "gauc", "logloss", "normalized_entropy", "calibration")


def interval(value: float, half: float = 0.004, **more: Any) -> dict[str, Any]:
    return {"value": value, "lower": value - half, "upper": value + half, **more}


def slice_entry(slice_: dict[str, Any], auc: float, count: int, difference: float = 0.0035) -> dict[str, Any]:
    values = run_folders.metrics(auc, count)
    stable = run_folders.metrics(auc - difference, count)
    meaning = "noise" if abs(difference) < 0.004 else "gain" if difference > 0 else "loss"
    tenth = {"examples": count // 10}
    curve = [
        {**tenth, "lower": i / 10, "upper": (i + 1) / 10, "mean_prediction": 0.02 + i / 20, "click_rate": 0.02 + i / 21}
        for i in range(10)
    ]
    return {
        "slice": slice_,
        "metrics": values,
        "intervals": {name: interval(values[name]) for name in _METRICS},
        "baseline_metrics": stable,
        "differences": {"auc": interval(difference, meaning=meaning)},
        "calibration_curve": curve,
    }


def finding(feature: str, severity: str = "red", **changes: Any) -> dict[str, Any]:
    made = {
        "severity": severity,
        "kind": "drift",
        "feature": feature,
        "split": "eval",
        "measure": "js",
        "value": 0.31,
        "threshold": 0.2,
        "threshold_source": "learnt",
        "message": f"{feature}: JS 0.31 > 0.20; bins 50-100: 12 % -> 31 %",
        "arithmetic": [{"bin": f"{i}0-{i + 1}0", "before": 0.12 - i / 100, "after": 0.31 - i / 20} for i in range(6)],
        "cause": "unit_change",
        "rank": 1,
    }
    return made | changes


def drift(feature: str, value: float = 0.05, bins: int = 12) -> dict[str, Any]:
    names = [f"{rank}-{rank + 1}" for rank in range(bins)]
    before = [2 * (rank + 1) / (bins * (bins + 1)) for rank in range(bins)]
    made = {
        "feature": feature,
        "measure": "js",
        "value": value,
        "threshold": 0.2,
        "amber": 0.1,
        "threshold_source": "learnt",
    }
    histograms = {"before": {"bins": names, "shares": before}, "after": {"bins": names, "shares": before[::-1]}}
    return made | histograms


def volume(missing: tuple[str, str] | None = ("2026-11-15", "20")) -> dict[str, Any]:
    """Eight days of rows by hour, the last two of them judged; of `missing` (day, hour) none came."""
    shape = {f"{hour:02}": 120 + 10 * hour - (60 if hour < 7 else 0) for hour in range(24)}
    days = [f"2026-11-{day:02d}" for day in range(8, 16)]
    hours = {day: {h: rows + 3 * (int(h) % 4) for h, rows in shape.items()} for day in days}
    if missing:
        hours[missing[0]].pop(missing[1])
    facts = {
        day: {"split": "eval" if day == days[-1] else "train", "rows": sum(hours[day].values()), "click_rate": 0.0831}
        for day in days
    }
    return {"days": facts, "hours": hours, "usual_hours": {day: shape for day in days[-2:]}}


def verdict(features: int = 8, slices: int = 4, **changes: Any) -> dict[str, Any]:
    names = ["price", *(f"feature_{rank:02}" for rank in range(features - 1))]
    model_finding = {"severity": "amber", "kind": "auc", "slice": {}, "value": 0.7346, "cause": "trend", "rank": 1}
    model_finding["message"] = "auc is 0.7346, outside the trend of the last 8 runs (0.7400 to 0.7500, median 0.7450)"
    whole = slice_entry({}, 0.7346, 30_048)
    references = [("global_ctr", 0.5, 1.003, "gain"), ("logistic_regression", 0.727, 0.921, "noise")]
    importance = [("recent_items_keys", "recent_items_values"), *((name,) for name in names)]
    model = run_folders.model_section(
        findings=[model_finding],
        bootstrap={"unit": "users", "level": 0.95, "replicates": 200},
        slices=[whole, *(slice_entry({"hour": rank}, 0.73, 1500 + rank, 0.0005) for rank in range(slices))],
        calibration_curve=whole["calibration_curve"],
        references={
            "rows": 20_000,
            "train_rows": 30_000,
            "candidate": {name: whole["metrics"][name] for name in _METRICS},
            "models": [
                {
                    "name": name,
                    "metrics": {"auc": auc, "normalized_entropy": entropy, "logloss": 0.31, "calibration": 1.0},
                    "intervals": {"auc": interval(auc), "normalized_entropy": interval(entropy)},
                    "difference": {"normalized_entropy": interval(0.9123 - entropy, 0.01, meaning=meaning)},
                }
                for name, auc, entropy, meaning in references
            ]
            + [
                {
                    "name": "boosted_trees",
                    "train_rows": 60_000,
                    "problem": "OSError: libgomp.so.1 <missing>",
                    **{key: {} for key in ("metrics", "intervals", "difference")},
                }
            ],
        },
        importance={
            "rows": 5_000,
            "columns": [_importance(names, 0.02 / (rank + 1)) for rank, names in enumerate(importance)],
        },
        problem=None,
    )
    found = [finding("price", "amber"), finding("feature_00", "amber", arithmetic=[], rank=2)]
    data = {
        "colour": "amber",
        "baseline": {"run_id": "2026-11-08-00c0ffee", "date": "2026-11-08", "model_version": 1762657380},
        "findings": found,
        "drift": [drift(name, 0.3 if rank == 0 else 0.12 if rank == 1 else 0.02) for rank, name in enumerate(names)],
        "volume": volume(),
    }
    trend = {
        "metric": "auc",
        "value": 0.7346,
        "runs": 8,
        "median": 0.745,
        "lower": 0.74,
        "upper": 0.75,
        "inside": False,
    }
    made = run_folders.verdict_document(version=2, colour="amber", data=data, model=model)
    return made | {"cause": "unit_change", "trend": [trend]} | changes


def _importance(names: tuple[str, ...], rise: float) -> dict[str, Any]:
    return {
        "columns": list(names),
        "logloss_rise": rise,
        "lower": rise - 0.004,
        "upper": rise + 0.004,
        "auc_drop": 0.01,
    }


def lineage() -> dict[str, Any]:
    card = {"id": 7, "type": "Examples", "uri": "/shop/artifacts/HiveLogExampleGen/examples/7"}
    names = [name for name, _, _ in run_folders.NODES]
    files = {"inputs": {"examples": [card]}, "outputs": {"model": [card]}}
    nodes = [
        {"node_id": name, "execution_id": rank, "state": "complete", "code": "ab" * 32, **files}
        for rank, name in enumerate(names, start=1)
    ]
    return {"version": 1, "nodes": nodes}


def amber(folder: Path, features: int = 8, slices: int = 4, **documents: Any) -> Path:
    return run_folders.green(folder, verdict=verdict(features, slices), lineage=lineage(), **documents)


def many_runs(root: Path, weeks: int = 12) -> Path:
    """A root with a run a week: mostly green, one amber, one refused."""
    import datetime

    for week in range(weeks):
        day = datetime.date(2026, 9, 6) + datetime.timedelta(weeks=week)
        run_id = f"{day.isoformat()}-1a2b3c4d"
        colour = {4: "amber", 7: "red"}.get(week, "green")
        code = 5 if colour == "red" else 0
        auc = 0.735 + 0.002 * ((week * 7) % 5 - 2) - (0.03 if code else 0)
        made = verdict(run_id=run_id, date=day.isoformat(), colour=colour, exit_code=code)
        made["model"]["slices"][0] = slice_entry({}, auc, 30_048)
        made["model"]["blessed"] = code == 0
        for bound in made["model"]["bounds"]:
            bound |= {"limit": 0.71 if bound["metric"] == "auc" else None, "at_least": True}
        state = "failed" if code else "succeeded"
        version = None if code else 1_760_000_000 + week
        made["model"]["version"] = version
        record = run_folders.run_document(run_id=run_id, date=day.isoformat(), exit_code=code, state=state)
        record |= {"model_version": version, "started_utc": f"{day.isoformat()}T03:00:00+00:00"}
        record["finished_utc"] = f"{day.isoformat()}T03:04:00+00:00"
        run_folders.write(root / "runs" / run_id, run=record, verdict=made)
    return root
