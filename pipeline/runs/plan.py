"""What a run for a date would read and do, before any cost. Imports no TensorFlow and starts nothing."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import Any

from hivemill.common.amounts import share, size
from hivemill.common.errors import DataNotReadyError
from hivemill.common.storage.atomic import code_fingerprint, fingerprint
from hivemill.components.hive_example_gen.catalog import table_files
from hivemill.components.hive_example_gen.planning import table_checks, window
from hivemill.components.hive_example_gen.table import columns
from hivemill.pipeline.config import loader as config_module
from hivemill.pipeline.config.loader import LoadedConfig
from hivemill.pipeline.config.schema import PipelineConfig
from hivemill.pipeline.history import forecast
from hivemill.pipeline.runs.records import RunFolder, list_runs
from hivemill.serving.store.bucket import open_store
from hivemill.serving.store.model_store import STABLE

_CODE = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """The window of a run and the run's identity. The same inputs (config, files, code) give the same `run_id`."""

    run_id: str
    date: datetime.date
    window: window.WindowPlan
    config_fingerprint: str
    finished: dict[str, Any] | None


def make_plan(loaded: LoadedConfig, date: datetime.date) -> RunPlan:
    """Plans the window and checks that the table has what the config names.

    Raises ConfigError for columns that the table lacks. Missing partitions are in the plan: `plan.window.check()`.
    """
    config = loaded.config
    partitions_path = config.places().partitions
    window_plan = window.plan_window(config.source, config.window, date, partitions_path, config.label_rules())
    if any(window_plan.splits.values()):
        found = table_checks.mistakes(config.source, window_plan)
        config_module.check_columns(loaded, columns.example_features(config.source, window_plan), found)
    config_fingerprint = config.semantic_fingerprint()
    key = fingerprint(config_fingerprint, window_plan.fingerprint, project_code_fingerprint())
    run_id = f"{date.isoformat()}-{key[:8]}"
    return RunPlan(run_id, date, window_plan, config_fingerprint, _finished(config, run_id))


def project_code_fingerprint() -> str:
    """Changes with any code that can change a model."""
    return code_fingerprint(_CODE / "components", _CODE / "common", _CODE / "pipeline" / "dag.py")


def baseline(config: PipelineConfig, run_id: str | None = None) -> tuple[str | None, int | None]:
    """Path and number of the store's `stable` version, the bar for a new model; (None, None) before the first push.

    Where that version is of `run_id` itself, which was killed after its push, it is the version that this run was
    judged against then: no model is its own bar.
    """
    store = open_store(config.places().store, config.model_name())
    version = store.labels().get(STABLE)
    if version and run_id is not None:
        record = store.record(version)
        if record.get("run_id") == run_id:
            version = record.get("baseline_version")
            version = version if version in store.versions() else None
    return (store.place_of(version), version) if version else (None, None)


def _finished(config: PipelineConfig, run_id: str) -> dict[str, Any] | None:
    """The record of an earlier run of the same inputs that need not be repeated.

    That is one that pushed a version which is still there, or one whose model was refused against the version that is
    stable today. A run that failed for any other reason is tried again.
    """
    record = RunFolder(config.root_path(), run_id).read()
    if not record or record["state"] == "running":
        return None
    if record["exit_code"] == 0:
        store = open_store(config.places().store, config.model_name())
        return record if record["model_version"] in store.versions() else None
    refused_by_same_bar = record["exit_code"] == 5 and record.get("baseline_version") == baseline(config)[1]
    return record if refused_by_same_bar else None


def plan(loaded: LoadedConfig, date: datetime.date) -> dict[str, Any]:
    """The plan as a JSON document: what `hivemill plan` prints."""
    made = make_plan(loaded, date)
    splits = {
        split: {
            "days": sorted({partition.date.isoformat() for partition in partitions}),
            "partitions": len(partitions),
            "cached": sum(partition.cached for partition in partitions),
            "files": sum(len(partition.files) for partition in partitions),
            "bytes": sum(partition.num_bytes for partition in partitions),
            "rows": _known_rows(partitions),
        }
        for split, partitions in made.window.splits.items()
    }
    to_convert = bytes_to_convert(made.window)
    expected = forecast.forecast(list_runs(loaded.config.root_path()), _expected_rows(made.window), to_convert)
    return {
        "version": 1,
        "run_id": made.run_id,
        "date": date.isoformat(),
        "table": table_files.shown(loaded.config.source.place),
        "splits": splits,
        "missing": list(made.window.missing),
        "late": list(made.window.late),
        "empty": list(made.window.empty),
        "small": [str(judgement) for judgement in made.window.small],
        "incomplete": loaded.config.window.incomplete,
        "sizes": [judgement.document() for judgement in made.window.sizes],
        "notes": list(made.window.notes),
        "not_ready": why_not_ready(made.window),
        "bytes_to_convert": to_convert,
        "forecast": expected.model_dump() if expected else None,
        "fingerprint": made.window.fingerprint,
        "nothing_to_do": made.finished is not None,
        "earlier_run": made.finished,
        "baseline_version": baseline(loaded.config)[1],
    }


def bytes_to_convert(planned: window.WindowPlan) -> int:
    """Of the partitions whose conversion is not kept yet."""
    return sum(p.num_bytes for parts in planned.splits.values() for p in parts if not p.cached)


def render(document: dict[str, Any]) -> str:
    """The plan for people."""
    lines = [f"Run {document['run_id']} of {document['table']}", ""]
    lines.append(f"{'split':<12}{'days':<26}{'partitions':>10}{'cached':>8}{'files':>7}{'size':>11}{'rows':>15}")
    for split, facts in document["splits"].items():
        days = facts["days"]
        span = f"{days[0]} to {days[-1]}" if len(days) > 1 else (days[0] if days else "none")
        rows = f"{facts['rows']:,}" if facts["rows"] is not None else "not known yet"
        lines.append(
            f"{split:<12}{span:<26}{facts['partitions']:>10,}{facts['cached']:>8,}{facts['files']:>7,}"
            f"{size(facts['bytes']):>11}{rows:>15}"
        )
    lines.append("")
    for key in ("missing", "late", "empty", "small"):
        lines.extend(_named(key, document[key]))
    lines.extend([*_sizes(document), *(f"note: {note}" for note in document["notes"]), ""])
    lines.extend(_policy(document))
    lines.append(_cost(document) if document["not_ready"] is None else f"Not ready: {document['not_ready']}")
    return "\n".join(lines)


def why_not_ready(planned: window.WindowPlan) -> str | None:
    """What would stop a run of this window with exit code 3, or None."""
    try:
        planned.check()
    except DataNotReadyError as error:
        return str(error)
    return None


def _cost(document: dict[str, Any]) -> str:
    if document["nothing_to_do"]:
        version = document["earlier_run"]["model_version"]
        outcome = f"pushed version {version}" if version else "its model was refused"
        return f"Nothing to do: a run of the same inputs is finished ({outcome})."
    bar = document["baseline_version"]
    judged = f"judged against version {bar} (stable)" if bar else "the first of the store: no version is stable yet"
    work = f"A run converts {size(document['bytes_to_convert'])}, trains one model, {judged}."
    return f"{work}\n{forecast.sentence(document['forecast'])}"


def _named(kind: str, names: list[str]) -> list[str]:
    shown = [f"{kind}: {name}" for name in names[:10]]
    if len(names) > 10:
        shown.append(f"{kind}: … and {len(names) - 10} more")
    return [*shown, ""] if shown else []


def _sizes(document: dict[str, Any]) -> list[str]:
    """How the days compare with days before them, by the smallest; those that fail are named above."""
    judged = document["sizes"]
    if not judged:
        return ["sizes: no day is judged (fewer than 3 earlier days, or window.completeness says so)"]
    least = min(judged, key=lambda one: one["share"])
    days = len({one["day"] for one in judged})
    median = f"{share(least['share'])} of the median {least['measure']} of {least['reference']}"
    return [f"sizes: {days} days judged; the smallest, {least['partition']}, has {median}"]


def _policy(document: dict[str, Any]) -> list[str]:
    """What a run does about what is incomplete, where that is not to fail at once."""
    if not any(document[key] for key in ("missing", "late", "empty", "small")):
        return []
    if document["incomplete"] == "wait":
        return ["A run waits for these (window.incomplete: wait); this plan does not."]
    if document["incomplete"] == "shrink" and document["not_ready"] is None:
        return ["A run goes on WITHOUT these (window.incomplete: shrink)."]
    return []


def _known_rows(partitions: Any) -> int | None:
    rows = [partition.num_rows for partition in partitions]
    return None if any(count is None for count in rows) else sum(rows)


def _expected_rows(planned: window.WindowPlan) -> int | None:
    """Rows of the window; those of partitions not converted yet by their bytes, as many a byte as the others have."""
    partitions = [partition for parts in planned.splits.values() for partition in parts]
    known = [partition for partition in partitions if partition.num_rows is not None]
    known_bytes = sum(partition.num_bytes for partition in known)
    rows = sum(partition.num_rows for partition in known)
    return round(rows * sum(p.num_bytes for p in partitions) / known_bytes) if known_bytes else None
