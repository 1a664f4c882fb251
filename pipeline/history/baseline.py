"""The last good window, for the data verdict: the profile of the run behind `stable`, and what good runs are like.

Found by the store's lineage (a version knows its run), read from the runs folder, and handed to the node as one file in
the new run's folder with a fingerprint of its content. Imports no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import Any

from hivemill.common.storage.atomic import fingerprint, write_text_atomically
from hivemill.components.data_verdict.profile.serving_log_plan import plan_of_serving
from hivemill.pipeline.config.schema import PipelineConfig
from hivemill.pipeline.root import object_root
from hivemill.pipeline.runs import plan
from hivemill.pipeline.runs import records as runs
from hivemill.pipeline.runs.records import RunFolder
from hivemill.serving.store.bucket import open_store

BASELINE_JSON = "baseline.json"


@dataclasses.dataclass(frozen=True)
class DataBaseline:
    """`path` and `fingerprint` of the file for the node; both None where there is no last good window."""

    path: str | None = None
    fingerprint: str | None = None


def write_baseline(config: PipelineConfig, folder: RunFolder, date: datetime.date) -> DataBaseline:
    """Writes baseline.json into the run's folder. No path before the first push, nor where its run kept no profile.

    The fingerprint covers what serving saw too, which the node reads by itself.
    """
    document = _document(config, folder.run_id)
    path = folder.file(BASELINE_JSON)
    if document is not None:
        write_text_atomically(path, json.dumps(document, ensure_ascii=False, separators=(",", ":")))
    serving = config.data_verdict.serving_log
    partitions = config.places().partitions
    seen = plan_of_serving(serving, config.data_verdict, date, partitions).fingerprint if serving else None
    if document is None and seen is None:
        return DataBaseline()
    place = object_root.place_of(path.absolute())
    return DataBaseline(place if document else None, fingerprint(document, seen))


def _document(config: PipelineConfig, run_id: str) -> dict[str, Any] | None:
    version = plan.baseline(config, run_id)[1]
    if version is None:
        return None
    record = open_store(config.places().store, config.model_name()).record(version)
    good = RunFolder(config.root_path(), str(record.get("run_id")))
    profile = runs.read_json(good.file(runs.PROFILE_JSON))
    if profile is None:
        return None
    return {
        "run_id": good.run_id,
        "date": record.get("run_date"),
        "model_version": version,
        "profile": profile,
        "history": _history(config, run_id),
    }


def _history(config: PipelineConfig, run_id: str) -> dict[str, Any]:
    """Values of the last runs that pushed a model, by column, and the rows of their days."""
    records = [one for one in runs.list_runs(config.root_path()) if one["exit_code"] == 0 and one["run_id"] != run_id]
    newest = sorted(records, key=lambda one: (one["date"], one["run_id"]))[-config.data_verdict.history_runs :]
    history: dict[str, Any] = {"drift": {}, "unseen": {}, "rows": {}}
    for one in newest:
        verdict = runs.read_json(RunFolder(config.root_path(), one["run_id"]).file(runs.VERDICT_JSON)) or {}
        add_to_history(history, verdict.get("data") or {})
    return history


def add_to_history(history: dict[str, Any], section: dict[str, Any]) -> None:
    """Adds the `data` section of one good run. Before the first push days are compared among themselves: no drift."""
    for row in section.get("drift", ()) if section.get("baseline") else ():
        history["drift"].setdefault(row["feature"], []).append(row["value"])
    for row in section.get("columns", ()):
        if row["unseen_share"] is not None:
            history["unseen"].setdefault(row["feature"], []).append(row["unseen_share"])
    for day, facts in section.get("volume", {}).get("days", {}).items():
        history["rows"][day] = facts["rows"]
