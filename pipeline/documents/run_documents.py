"""The run folder's JSON files as typed documents. Any of them may be absent, cut short or of another version: the page
is still written, and says what is not there and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from hivemill.common.storage import json_files
from hivemill.pipeline.documents.base import Document
from hivemill.pipeline.documents.manifest import Manifest
from hivemill.pipeline.report.sections.serving import Serving
from hivemill.pipeline.report.sections.volume import Volume

TRUTH_NAME = "_truth.json"
_Kind = TypeVar("_Kind", bound="Document")


class RunError(Document):
    message: str
    hint: str | None = None


class NodeRun(Document):
    node_id: str
    state: str
    seconds: float | None = None
    rows: int | None = None
    peak_memory_bytes: int | None = None
    cpu_seconds: float | None = None
    rows_per_second: float | None = None
    output_bytes: int | None = None


class Run(Document):
    """`run.json`: who ran, when, how it ended, node by node."""

    run_id: str
    date: str | None = None
    attempt: int | None = None
    state: str = "unknown"
    started_utc: str | None = None
    finished_utc: str | None = None
    exit_code: int | None = None
    error: RunError | None = None
    runner: str | None = None
    config_fingerprint: str | None = None
    plan_fingerprint: str | None = None
    host: str | None = None
    pid: int | None = None
    nodes: tuple[NodeRun, ...] = ()
    model_version: int | None = None
    baseline_version: int | None = None
    bytes_to_convert: int | None = None
    versions: dict[str, str] = Field({})


class Share(Document):
    """Arithmetic of a finding: what a bin held before and holds now."""

    bin: str = ""
    before: float | None = None
    after: float | None = None


class FindingEntry(Document):
    severity: str
    kind: str | None = None
    feature: str | None = None
    split: str | None = None
    message: str = ""
    cause: str | None = None
    rank: int | None = None
    slice: dict[str, Any] = Field({})
    threshold_source: str | None = None
    arithmetic: tuple[Share, ...] = ()


class Histogram(Document):
    bins: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()


class DriftEntry(Document):
    """One feature of the drift table: this window against the last good one."""

    feature: str
    measure: str = ""
    day: str | None = None
    value: float | None = None
    threshold: float | None = None
    amber: float | None = None
    threshold_source: str | None = None
    used: bool = True
    before: Histogram | None = None
    after: Histogram | None = None


class DataBaselineEntry(Document):
    run_id: str | None = None
    date: str | None = None
    model_version: int | None = None


class DataSection(Document):
    colour: str | None = None
    baseline: DataBaselineEntry | None = None
    findings: tuple[FindingEntry, ...] = ()
    drift: tuple[DriftEntry, ...] = ()
    volume: Volume = Volume()


class BoundResult(Document):
    metric: str
    slice: dict[str, Any] = Field({})
    value: float | None = None
    baseline: float | None = None
    rule: str = ""
    passed: bool
    judged: bool = True


class IntervalEntry(Document):
    """`meaning` (gain, loss, noise) is there where the interval is one of a difference."""

    value: float
    lower: float
    upper: float
    meaning: str | None = None


class CalibrationBinEntry(Document):
    lower: float
    upper: float
    examples: float
    mean_prediction: float | None = None
    click_rate: float | None = None


class SliceEntry(Document):
    slice: dict[str, Any] = Field({})
    metrics: dict[str, float | None] = Field({})
    intervals: dict[str, IntervalEntry] = Field({})
    baseline_metrics: dict[str, float | None] | None = None
    differences: dict[str, IntervalEntry] | None = None
    calibration_curve: tuple[CalibrationBinEntry, ...] = ()


class ReferenceEntry(Document):
    name: str
    metrics: dict[str, float | None] = Field({})
    intervals: dict[str, IntervalEntry] = Field({})
    difference: dict[str, IntervalEntry] = Field({})
    train_rows: int | None = None
    problem: str | None = None


class References(Document):
    """Reference models on a sample of the eval split, and the candidate on the same rows."""

    rows: int
    train_rows: int
    candidate: dict[str, float | None] = Field({})
    models: tuple[ReferenceEntry, ...] = ()


class ColumnImportance(Document):
    columns: tuple[str, ...]
    logloss_rise: float
    lower: float
    upper: float
    auc_drop: float | None = None


class Importance(Document):
    rows: int
    columns: tuple[ColumnImportance, ...] = ()


class Trend(Document):
    metric: str
    value: float | None = None
    runs: int
    median: float
    lower: float
    upper: float
    inside: bool


class Bootstrap(Document):
    unit: str = "rows"
    level: float = 0.95
    replicates: int | None = None


class ModelSection(Document):
    blessed: bool | None = None
    version: int | None = None
    baseline_version: int | None = None
    bounds: tuple[BoundResult, ...] = ()
    findings: tuple[FindingEntry, ...] = ()
    slices: tuple[SliceEntry, ...] = ()
    calibration_curve: tuple[CalibrationBinEntry, ...] = ()
    references: References | None = None
    importance: Importance | None = None
    bootstrap: Bootstrap | None = None
    problem: str | None = None


class Verdict(Document):
    """`verdict.json`: the one verdict that the exit code, the page and the alert share."""

    run_id: str | None = None
    date: str | None = None
    colour: str
    exit_code: int | None = None
    reason: str = ""
    cause: str | None = None
    data: DataSection | None = None
    model: ModelSection | None = None
    serving: Serving | None = None
    trend: tuple[Trend, ...] = ()


class TrainingCheck(Document):
    """A look at the validation split; `epoch` counts the passes over the training rows, in parts too."""

    epoch: float
    step: int | None = None
    loss: float | None = None
    auc: float | None = None
    val_loss: float | None = None
    val_auc: float | None = None
    learning_rate: float | None = None
    examples_per_second: float | None = None


class RateTableEntry(Document):
    fields: tuple[str, ...]
    keys: int
    smoothing: float
    logloss_gain: float


class RatesSection(Document):
    """Which click rates the model takes; none where they tell nothing of rows that were not counted."""

    use: str = "off"
    rows: int | None = None
    tables: tuple[RateTableEntry, ...] = ()


class CalibrationSection(Document):
    """What was done to the logits after training: `scale` * logit + `offset`, where rows not fitted on gained by it."""

    used: bool = False
    scale: float | None = None
    offset: float | None = None
    rows: int | None = None
    gain: float | None = None
    gain_error: float | None = None


class TrainingDocument(Document):
    """`history.json`: the training, check by check. Version 1 had one check an epoch."""

    checks: tuple[TrainingCheck, ...] = ()
    num_parameters: int | None = None
    num_train_examples: int | None = None
    best_check: int | None = None
    rates: RatesSection | None = None
    calibration: CalibrationSection | None = None
    members: tuple[Any, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_version_1(cls, document: Any) -> Any:
        if isinstance(document, dict) and document.get("version") == 1:
            return {**document, "checks": document.get("epochs", ()), "best_check": document.get("best_epoch")}
        return document

    @property
    def best_epoch(self) -> float | None:
        """Where the exported model is from; None where that check is not known."""
        place = (self.best_check or 0) - 1
        return self.checks[place].epoch if 0 <= place < len(self.checks) else None


class LineageArtifact(Document):
    id: int
    type: str
    uri: str = ""


class LineageNode(Document):
    """One execution in ML Metadata: what it read, what it wrote, which code it ran."""

    node_id: str
    execution_id: int
    state: str = ""
    code: str | None = None
    inputs: dict[str, tuple[LineageArtifact, ...]] = Field({})
    outputs: dict[str, tuple[LineageArtifact, ...]] = Field({})


class Lineage(Document):
    """`lineage.json`: the run as ML Metadata has it."""

    nodes: tuple[LineageNode, ...] = ()


class TruthDay(Document):
    rows: int | None = None
    clicks: int | None = None
    best_auc: float | None = None
    best_logloss: float | None = None


class Truth(Document):
    """`_truth.json` of a generated table: the best that any model can reach, day by day."""

    days: dict[str, TruthDay] = Field(default_factory=dict)


@dataclass(frozen=True)
class RunDocuments:
    """What a run folder holds. `problems` says, by file name, why a document that exists could not be used."""

    path: Path
    run: Run | None
    manifest: Manifest | None
    verdict: Verdict | None
    history: TrainingDocument | None
    truth: Truth | None
    lineage: Lineage | None = None
    problems: dict[str, str] = field(default_factory=dict)


def read_run_folder(path: Path) -> RunDocuments:
    """Reads what is there. Raises nothing for absent or broken files; they end in `problems`."""
    path = Path(path)
    problems: dict[str, str] = {}
    manifest = _read(path / "manifest.json", Manifest, problems)
    return RunDocuments(
        path=path,
        run=_read_run(path, problems),
        manifest=manifest,
        verdict=_read(path / "verdict.json", Verdict, problems),
        history=_read(path / "history.json", TrainingDocument, problems),
        truth=_read_truth(path, manifest, problems),
        lineage=_read(path / "lineage.json", Lineage, problems),
        problems=problems,
    )


def _read_run(path: Path, problems: dict[str, str]) -> Run | None:
    """The record; while it names no nodes (the run goes on, or was killed), the nodes' own records stand in."""
    run = _read(path / "run.json", Run, problems)
    if run is None or run.nodes:
        return run
    files = sorted((path / "nodes").glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
    nodes = [_read(file, NodeRun, problems) for file in files]
    return run.model_copy(update={"nodes": tuple(node for node in nodes if node)})


def _read_truth(path: Path, manifest: Manifest | None, problems: dict[str, str]) -> Truth | None:
    """The run's own copy first: the table's may have been generated anew since."""
    tables = (manifest.table if manifest else None, _configured_table(path / "config.yaml"))
    folders = [path, *(Path(table) for table in tables if table and Path(table).is_absolute())]
    place = next((folder for folder in folders if (folder / TRUTH_NAME).is_file()), None)
    return _read(place / TRUTH_NAME, Truth, problems) if place else None


def _configured_table(path: Path) -> str | None:
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))["source"]["table"]
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError):
        return None
    return table if isinstance(table, str) else None


def _read(path: Path, kind: type[_Kind], problems: dict[str, str]) -> _Kind | None:
    try:
        return kind.model_validate(json_files.read_object(path))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        problems[path.name] = f"{'.'.join(map(str, first['loc'])) or 'the document'}: {first['msg']}"
    except (OSError, ValueError) as error:
        problems[path.name] = str(error)
    return None
