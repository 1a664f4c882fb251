"""Run folders as the pipeline leaves them, one function per way that a run can end; for tests of the report page."""

from __future__ import annotations

import copy
import json
import os
import socket
from pathlib import Path
from typing import Any

DAYS = [f"2026-11-{day:02d}" for day in range(9, 16)]
NODES = (
    ("HiveLogExampleGen", 14.2, 210_345),
    ("StatisticsGen", 21.7, None),
    ("SchemaGen", 0.4, None),
    ("ExampleValidator", 0.6, None),
    ("DataVerdict", 0.3, None),
    ("Transform", 38.9, 210_345),
    ("Trainer", 75.4, 180_112),
    ("Evaluator", 31.0, 30_233),
    ("ServingCheck", 9.4, 256),
    ("Pusher", 1.1, None),
)


def run_document(**changes: Any) -> dict[str, Any]:
    nodes = [
        {
            "node_id": name,
            "state": "succeeded",
            "seconds": seconds,
            "rows": rows,
            "peak_memory_bytes": 700_000_000 + rank,
            "cpu_seconds": seconds * 1.5,
            "rows_per_second": rows / seconds if rows else None,
            "output_bytes": 4_000_000 + rank,
        }
        for rank, (name, seconds, rows) in enumerate(NODES)
    ]
    nodes[1]["state"] = "cached"
    return {
        "version": 1,
        "run_id": "2026-11-15-3fa9c1d2",
        "date": "2026-11-15",
        "attempt": 1,
        "state": "succeeded",
        "started_utc": "2026-11-16T03:00:04+00:00",
        "finished_utc": "2026-11-16T03:03:12+00:00",
        "exit_code": 0,
        "error": None,
        "runner": "local",
        "config_fingerprint": "c0ffee" * 8,
        "plan_fingerprint": "facade" * 8,
        "host": "batch-1",
        "pid": 4711,
        "nodes": nodes,
        "model_version": 1763262180,
        **changes,
    }


def manifest_document(table: Path | str = "click_log") -> dict[str, Any]:
    splits = {"train": DAYS[:5], "validation": DAYS[5:6], "eval": DAYS[6:]}
    partitions = [
        {
            "split": split,
            "partition": f"dt={day}/hour={hour:02d}",
            "files": [{"path": f"dt={day}/hour={hour:02d}/000000_0", "bytes": 104_857}],
            "rows": 1252,
            "bytes": 104_857,
            "fingerprint": "ab" * 32,
        }
        for split, days in splits.items()
        for day in days
        for hour in range(24)
    ]
    return {
        "version": 1,
        "date": "2026-11-15",
        "table": str(table),
        "window": splits,
        "partitions": partitions,
        "missing": [],
        "late": [],
        "empty": [],
        "notes": [],
        "num_rows": {"train": 150_240, "validation": 30_048, "eval": 30_048},
        "fingerprint": "facade" * 8,
    }


def stepped_manifest(**changes: Any) -> dict[str, Any]:
    """Of a window that was deduplicated, joined with clicks and sampled."""
    read = {"train": 1990, "validation": 400, "eval": 400}
    return {
        **manifest_document(),
        "rows_read": read,
        "bad_rows": {"train": {"value": 10}},
        "num_rows": {"train": 1200, "validation": 250, "eval": 392},
        "row_steps": {
            "train": {"duplicates": 90, "labelled": 190, "negatives_left_out": 700, "negatives_without_key": 3},
            "validation": {"duplicates": 0, "labelled": 40, "negatives_left_out": 150, "negatives_without_key": 0},
            "eval": {"duplicates": 8, "labelled": 49},
        },
        "sampling": {"negatives": 0.5, "key": ["user_id", "item_id"], "splits": ["train", "validation"]},
        "label_join": {"keys": ["request_id"], "within": "2h", "take": "last", "clicks": [click_day("2026-11-14", 25)]},
        **changes,
    }


def click_day(day: str, without_impression: int | None, **changes: Any) -> dict[str, Any]:
    zero = dict.fromkeys(("without_key", "without_time", "outside_day"), 0)
    made = {"day": day, "rows": 1050, "distinct": 1000, **zero, "bad_rows": {}}
    return {**made, "without_impression": without_impression, **changes}


def metrics(auc: float, count: int = 30_048, **changes: float | None) -> dict[str, float | None]:
    return {
        "auc": auc,
        "logloss": 0.3012,
        "normalized_entropy": 0.9123,
        "calibration": 1.021,
        "gauc": auc - 0.02,
        "auc_precision_recall": 0.2345,
        "clicks": float(count // 10),
        "example_count": float(count),
        "auc_lower_bound": auc - 0.015,
        **changes,
    }


def bound(metric: str, rule: str, value: float, passed: bool = True, **changes: Any) -> dict[str, Any]:
    made = {"metric": metric, "slice": {}, "value": value, "baseline": None, "rule": rule, "passed": passed}
    return {**made, "judged": True, **changes}


def model_section(**changes: Any) -> dict[str, Any]:
    devices = (("android", 17_202, 0.7391), ("ios", 9_811, 0.7218), ("web", 3_035, 0.7402))
    return {
        "blessed": True,
        "version": 1763262180,
        "baseline_version": 1762657380,
        "bounds": [
            bound("clicks", "clicks >= 100", 3004),
            bound("auc_lower_bound", "auc_lower_bound >= 0.5", 0.7196),
            bound("auc", "auc >= 0.7211 (stable 0.7311 - 0.01)", 0.7346, baseline=0.7311),
            bound("normalized_entropy", "normalized_entropy <= 1", 0.9123),
            bound("calibration", "calibration >= 0.8", 1.021),
            bound("calibration", "calibration <= 1.25", 1.021),
            bound("auc", "auc >= 0.6", 0.7402, slice={"device": "web"}, judged=False),
        ],
        "slices": [
            {"slice": {}, "metrics": metrics(0.7346), "baseline_metrics": metrics(0.7311, logloss=0.3039)},
            *(
                {
                    "slice": {"device": name},
                    "metrics": metrics(auc, count),
                    "baseline_metrics": metrics(auc - 0.004 if name != "ios" else auc + 0.003, count),
                }
                for name, count, auc in devices
            ),
        ],
        "calibration_curve": [
            {
                "lower": rank / 10,
                "upper": (rank + 1) / 10,
                "examples": count,
                "mean_prediction": rank / 10 + 0.04 if count else None,
                "click_rate": rank / 10 + 0.037 + 0.004 * (-1) ** rank if count else None,
            }
            for rank, count in enumerate((18_100, 7_900, 2_750, 900, 310, 80, 8, 0, 0, 0))
        ],
        **changes,
    }


def verdict_document(**changes: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "run_id": "2026-11-15-3fa9c1d2",
        "date": "2026-11-15",
        "colour": "green",
        "exit_code": 0,
        "reason": "version 1763262180 is pushed",
        "data": {"colour": "green", "findings": []},
        "model": model_section(),
        "serving": serving_section() if changes.get("model", True) else None,
        **changes,
    }


def serving_section(**changes: Any) -> dict[str, Any]:
    """As the check of a model of the demo left it."""
    asked = [("serving_default", "64 rows a request", 256, 2.2e-08), ("predict", "named columns", 256, 0.0)]
    asked.append(
        ("transformed_features", "not asked: TensorFlow Serving's APIs cannot carry its sparse outputs", 0, 0.0)
    )
    keys = ("signature", "what", "rows", "difference")
    return {
        "version": 1,
        "state": "passed",
        "reason": None,
        "server": {"kind": "dev server", "version": "0.1.0", "path": None},
        "rows": 256,
        "load_seconds": 5.5,
        "memory_bytes": 508_506_112,
        "differences": [dict(zip(keys, one, strict=True)) for one in asked],
        "latency": [
            {"rows": 1, "calls": 246, "p50_ms": 2.18, "p99_ms": 15.3},
            {"rows": 64, "calls": 409, "p50_ms": 2.3, "p99_ms": 5.2},
        ],
        "bounds": [
            {
                "name": "max_memory_mib",
                "value": 485.0,
                "limit": 8192,
                "rule": "peak memory: 485 MiB <= 8192 MiB",
                "passed": True,
            }
        ],
        **changes,
    }


def history_document() -> dict[str, Any]:
    rows = ((0.3391, 0.641, 0.3222, 0.689), (0.3145, 0.702, 0.3081, 0.721), (0.3052, 0.727, 0.3034, 0.733))
    rows += ((0.2987, 0.742, 0.3021, 0.736), (0.2931, 0.755, 0.3038, 0.735))
    names = ("loss", "auc", "val_loss", "val_auc")
    checks = [
        {"epoch": rank, **dict(zip(names, row, strict=True)), "learning_rate": 0.001, "examples_per_second": 24_310.5}
        for rank, row in enumerate(rows, start=1)
    ]
    facts = {"num_parameters": 184_301, "num_train_examples": 150_240, "best_check": 4}
    return {"version": 2, "checks": checks, **facts}


def truth_document() -> dict[str, Any]:
    days = {day: {"rows": 30_048, "clicks": 3004, "best_auc": 0.7421, "best_logloss": 0.2993} for day in DAYS}
    return {"version": 1, "options": {"seed": 7}, "days": days, "all": {"best_auc": 0.74}}


def write(folder: Path, **documents: Any) -> Path:
    """Writes each document as `<name>.json` into `folder` (strings as they are) and returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in documents.items():
        text = document if isinstance(document, str) else json.dumps(document)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


def green(folder: Path, **changes: Any) -> Path:
    """A run that pushed a model, from a generated log."""
    documents = {
        "run": run_document(),
        "manifest": manifest_document(),
        "verdict": verdict_document(),
        "history": history_document(),
        "_truth": truth_document(),
    }
    documents.update(changes)
    (folder.parent / "x").parent.mkdir(parents=True, exist_ok=True)
    return write(folder, **{name: one for name, one in documents.items() if one is not None})


def red_data(folder: Path) -> Path:
    """The data broke the schema: exit code 4, nothing after DataVerdict."""
    message = "price: 12.4 % of the rows of eval lack it, the schema allows 5 %"
    findings = [
        {"severity": "amber", "kind": "rows", "feature": None, "split": "eval", "message": "eval has 40 % fewer rows"},
        {"severity": "red", "kind": "schema", "feature": "price", "split": "eval", "message": message},
    ]
    error = {"message": message, "hint": "Mend the table or curate the schema."}
    return write(
        folder,
        run=_stopped_at("DataVerdict", 4, error),
        manifest=manifest_document(),
        verdict=verdict_document(
            colour="red", exit_code=4, reason=message, data={"colour": "red", "findings": findings}, model=None
        ),
    )


def not_blessed(folder: Path) -> Path:
    """A gate refused the model on a slice: exit code 5."""
    model = model_section(blessed=False, version=None)
    model = copy.deepcopy(model)
    model["bounds"].append(bound("auc", "auc >= 0.73", 0.7218, passed=False, slice={"device": "ios"}))
    model["bounds"].append(bound("calibration", "calibration <= 1.01", 1.021, passed=False))
    reason = "model not blessed: calibration is 1.021, needs <= 1.01; auc of device=ios is 0.7218, needs >= 0.73"
    error = {"message": reason, "hint": "Nothing was pushed; what serves now stays."}
    return green(
        folder,
        run=run_document(state="failed", exit_code=5, error=error, model_version=None),
        verdict=verdict_document(colour="red", exit_code=5, reason=reason, model=model),
    )


def failed_node(folder: Path) -> Path:
    """Transform died: no verdict on the model, no history."""
    error = {"message": "no space left on /disk", "hint": "Free 2 GiB."}
    return write(
        folder,
        run=_stopped_at("Transform", 6, error),
        manifest=manifest_document(),
        verdict=verdict_document(colour="red", exit_code=6, reason=error["message"], model=None),
    )


def data_not_ready(folder: Path) -> Path:
    """Stopped before the first node: only the run's record is there."""
    error = {"message": "missing: dt=2026-11-12/hour=05", "hint": "Load it and run again."}
    return write(folder, run=run_document(state="failed", exit_code=3, error=error, nodes=[], model_version=None))


def running(folder: Path) -> Path:
    """The run's process lives (it is this one)."""
    return write(folder, run=_unfinished(os.getpid()), manifest=manifest_document())


def killed(folder: Path) -> Path:
    """The record says running, but its process is gone: above the kernel's highest possible process id."""
    return write(folder, run=_unfinished(2**22 + 1), manifest=manifest_document())


def no_truth(folder: Path) -> Path:
    return green(folder, _truth=None)


def _unfinished(pid: int) -> dict[str, Any]:
    unknown = {"finished_utc": None, "exit_code": None, "model_version": None, "nodes": []}
    return run_document(state="running", host=socket.gethostname(), pid=pid, **unknown)


def _stopped_at(node_id: str, exit_code: int, error: dict[str, Any]) -> dict[str, Any]:
    document = run_document(state="failed", exit_code=exit_code, error=error, model_version=None)
    stopped = [node["node_id"] for node in document["nodes"]].index(node_id)
    document["nodes"][stopped]["state"] = "failed"
    for node in document["nodes"][stopped + 1 :]:
        node.update(state="skipped", seconds=0.0, rows=None, peak_memory_bytes=None)
    return document


ENDINGS = {
    one.__name__: one for one in (green, red_data, not_blessed, failed_node, data_not_ready, running, killed, no_truth)
}
