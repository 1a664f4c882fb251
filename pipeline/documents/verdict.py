"""The one verdict of a run (verdict.json, schema/verdict.schema.json): exit code, report page, TensorBoard card, alert
and `hivemill status` all read it, so they cannot disagree."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hivemill.components.evaluator import gates
from hivemill.pipeline.documents import diagnosis, verdict_summary
from hivemill.pipeline.history import trend
from hivemill.pipeline.runs.records import VERDICT_JSON, read_json

VERSION = 2
_SYMPTOMS = ("miscalibrated", "no_signal", "worse_than_stable", "worse_than_reference", "trend", "bound")


def assemble(
    record: dict[str, Any],
    collected: dict[str, Any],
    error: dict[str, Any] | None,
    earlier: Sequence[dict[str, Any]] = (),
    evidence: diagnosis.Evidence | None = None,
) -> dict[str, Any]:
    """The verdict document from what the nodes judged and the error that stopped the run, if any.

    `collected` is pipeline.runs.collect_artifacts's result; `error` a card {message, hint, exit_code, details?};
    `earlier` are the verdicts before this one (`earlier_verdicts`), for the trend; `evidence` is what the causes of a
    poor model are read off, None leaves them out.
    """
    data = collected.get("data") or _data_of(error)
    model = collected.get("model")
    seen = trend.compare(model, earlier)
    if model is not None:
        found = list(model.get("findings", ()))
        found += trend.findings(seen, len(found) + 1)
        model = {**model, "version": collected.get("model_version"), "findings": found}
        if evidence is not None:
            model["findings"] = found + diagnosis.findings(model, data, evidence, len(found) + 1)
    refusals = gates.refusals(model) if model and not model["blessed"] else []
    exit_code, reason = _outcome(error, refusals, model)
    made = {
        "version": VERSION,
        "run_id": record["run_id"],
        "date": record["date"],
        "colour": "green",
        "exit_code": exit_code,
        "reason": reason,
        "cause": None,
        "data": data,
        "model": model,
        "serving": collected.get("serving") or _serving_of(error),
        "trend": seen,
    }
    return made | {"colour": _colour(made), "cause": _cause(made)}


def refusal_card(made: dict[str, Any]) -> dict[str, Any] | None:
    """The error card of a run whose model a gate refused; None for any other run."""
    if made["exit_code"] != 5:
        return None
    hint = "Nothing was pushed; what serves now stays. See the report for slices and curves."
    return {"message": made["reason"], "hint": hint, "exit_code": 5}


def read(run_folder: Path) -> dict[str, Any] | None:
    """The verdict of a run in the shape of today; None where there is none, or it is of a newer version.

    Version 1 had no causes, intervals or trend; those keys are empty then, and `version` stays 1.
    """
    made = read_json(Path(run_folder) / VERDICT_JSON)
    if not isinstance(made, dict) or made.get("version") not in (1, VERSION):
        return None
    return {"cause": None, "trend": [], "serving": None, **made}


def earlier_verdicts(root: Path, date: datetime.date | str, run_id: str | None = None) -> list[dict[str, Any]]:
    """The verdicts of runs of days before `date` that pushed a model, the oldest first; of a day its last run's."""
    by_date: dict[str, dict[str, Any]] = {}
    for made in all_verdicts(root):
        if made["exit_code"] == 0 and made["date"] < str(date) and made["run_id"] != run_id:
            by_date[made["date"]] = made
    return [by_date[day] for day in sorted(by_date)]


def all_verdicts(root: Path) -> list[dict[str, Any]]:
    """The verdicts of all runs below `root`, by date and, within a day, by the time that the run ended."""
    files = sorted((root / "runs").glob(f"*/{VERDICT_JSON}"), key=lambda file: file.stat().st_mtime_ns)
    found = [made for file in files if (made := read(file.parent))]
    return sorted(found, key=lambda made: made["date"])


def _outcome(error: dict[str, Any] | None, refusals: list[str], model: dict[str, Any] | None) -> tuple[int, str]:
    if error:
        return error["exit_code"], error["message"].splitlines()[0]
    if refusals:
        cause = diagnosis.first_cause((model or {}).get("findings", ()))
        likely = f"; likely cause: {cause['message']}" if cause else ""
        return 5, " ".join(("model not blessed: " + "; ".join(refusals) + likely).split())
    if model is None or model["version"] is None:
        return 1, "the run ended without a model and without an error"
    return 0, f"version {model['version']} is pushed"


def _colour(made: dict[str, Any]) -> str:
    if made["exit_code"] != 0:
        return "red"
    is_amber = (made["data"] or {}).get("colour") == "amber" or bool((made["model"] or {}).get("findings"))
    return "amber" if is_amber else "green"


def _cause(made: dict[str, Any]) -> str | None:
    """That of the finding named first; a run that an error of the machinery stopped has none of these causes.

    Where that says only that the model is poor, the first cause that says why.
    """
    if made["exit_code"] not in (0, 4, 5):
        return None
    first = next(iter(verdict_summary.all_findings(made)), None)
    if first is not None and first.get("cause") in _SYMPTOMS:
        first = diagnosis.first_cause((made["model"] or {}).get("findings", ())) or first
    return first.get("cause") if first else None


def _serving_of(error: dict[str, Any] | None) -> dict[str, Any] | None:
    """Likewise of a red serving check."""
    details = (error or {}).get("details")
    return details if isinstance(details, dict) and "differences" in details else None


def _data_of(error: dict[str, Any] | None) -> dict[str, Any] | None:
    """A red data verdict fails its node, and TFX removes a failed node's artifacts; the error carries the section."""
    details = (error or {}).get("details")
    return details if isinstance(details, dict) and "findings" in details else None
