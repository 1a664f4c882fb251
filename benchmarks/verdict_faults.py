"""What the data verdict says about planted faults, and how often it is wrong about clean weeks.

    make bench NAME=verdict_faults ARGS="--weeks 30 --markdown docs/verdict_faults.md"

A small log is generated: clean weeks first, each judged against the week before it as a weekly run does, then one week
per fault. Everything that DataVerdict computes is computed (statistics, schema, anomalies, profile, checks), on arrays
in memory. Each week also trains a small model (benchmarks/_model_faults.py), which the Evaluator's node judges against
that of the week before; in the week of the faults broken ones are judged too. There is no peer: TFX's ExampleValidator,
which only knows the schema, is shown beside it.
"""

from __future__ import annotations

# ruff: noqa: E402  (TensorFlow's settings come before its import, TFX before data-validation)
import argparse
import dataclasses
import datetime
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from hivemill.common.runtime import prepare_tensorflow

prepare_tensorflow()
import tfx.components.example_validator.executor  # noqa: F401

# isort: split
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics import stats_impl
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from benchmarks._harness import print_result, print_table
from benchmarks._model_faults import MODEL_FAULTS, ModelFault, WeekOfExamples, model_verdict
from hivemill.components.data_verdict.checks.registry import WindowEvidence, run_checks
from hivemill.components.data_verdict.comparison.reference import Baseline, History
from hivemill.components.data_verdict.document import data_section
from hivemill.components.data_verdict.findings import DataFinding
from hivemill.components.data_verdict.options import DataVerdictOptions
from hivemill.components.data_verdict.profile.builder import WindowFacts, profile_of
from hivemill.components.data_verdict.profile.column_roles import ColumnRoles
from hivemill.components.data_verdict.profile.window_profile import Profile
from hivemill.components.hive_example_gen.rows.flatten import flatten
from hivemill.data.click_log.generator import click_log_options, generate
from hivemill.pipeline.documents import verdict, verdict_summary
from hivemill.pipeline.history.baseline import add_to_history

FIRST_DATE = datetime.date(2026, 3, 2)
TRAIN_DAYS = 7
ROLES = ColumnRoles(
    label="click",
    user="user_id",
    hour="hour",
    kinds={
        **dict.fromkeys(
            ("age_band", "gender", "city", "member_level", "category", "brand", "position", "device", "item_id"),
            "value",
        ),
        "price": "number",
        **dict.fromkeys(("query", "recent_items", "context_keys", "context_values"), "list"),
    },
)


@dataclasses.dataclass(frozen=True)
class Fault:
    """`options` of the generator; {day} is the day of the fault. `causes` are the right answers."""

    name: str
    options: dict[str, Any]
    causes: tuple[str, ...]


FAULTS = (
    Fault("drifted price: times 1.5", {"drift": ["price:{day}:1.5"]}, ("drift", "scaled_values")),
    Fault("drifted category: 40 % moved", {"drift": ["category:{day}:0.4"]}, ("drift", "mixed_up_rows")),
    Fault("swapped columns: gender, device", {"faults": ["swap:gender+device:{day}:1"]}, ("swapped_columns",)),
    Fault("swapped columns: position, level", {"faults": ["swap:position+member_level:{day}:1"]}, ("swapped_columns",)),
    Fault("unit change: price in cents", {"faults": ["unit:price:{day}:100"]}, ("unit_change",)),
    Fault("dead feature: device is empty", {"faults": ["dead:device:{day}:1"]}, ("dead_feature",)),
    Fault("doubled volume", {"faults": ["volume:rows:{day}:2"]}, ("volume",)),
    Fault("missing hour: 20 h", {"missing_hours": ["{day}/20"], "hours": True}, ("missing_hour",)),
    Fault("leaked label: in position", {"faults": ["leak:position:{day}:0.97"]}, ("leaked_label",)),
    Fault("clicks lost for an hour: 20 h", {"faults": ["clicks_lost:20:{day}:1"]}, ("clicks_lost",)),
    Fault("new category flood: 15 % of rows", {"faults": ["flood:category:{day}:0.15"]}, ("category_flood",)),
    Fault("bot traffic: 3 users, 15 % of rows", {"faults": ["bots:user_id:{day}:0.15"]}, ("bots",)),
    Fault("shifted clock: 3 hours behind", {"faults": ["clock:request_time:{day}:-3"]}, ("shifted_clock",)),
    Fault("truncated vocabulary: 12 of 32 cities", {"faults": ["truncate:city:{day}:12"]}, ("truncated_vocabulary",)),
    Fault("truncated vocabulary: 10 of 16", {"faults": ["truncate:category:{day}:10"]}, ("truncated_vocabulary",)),
    Fault("shrunken positions: times 0.4", {"drift": ["position:{day}:0.4"]}, ("drift", "lost_values")),
)


class Weeks:
    """Generated days, read once each."""

    def __init__(self, folder: Path, rows_per_day: int, seed: int):
        self.folder, self.rows_per_day, self.seed = folder, rows_per_day, seed
        self._days: dict[str, pa.Table] = {}

    def clean(self, days: Sequence[datetime.date]) -> dict[str, pa.Table]:
        new = [day for day in days if day.isoformat() not in self._days]
        if new:
            self._days |= self._generated(new, "clean", {})
        return {day.isoformat(): self._days[day.isoformat()] for day in days}

    def forget_before(self, day: datetime.date) -> None:
        self._days = {name: table for name, table in self._days.items() if name >= day.isoformat()}

    def faulty(
        self, days: Sequence[datetime.date], start: datetime.date, number: int, fault: Fault
    ) -> dict[str, pa.Table]:
        filled = {
            key: tuple(one.replace("{day}", start.isoformat()) for one in value) if isinstance(value, list) else value
            for key, value in fault.options.items()
        }
        before = [day for day in days if day < start]
        return self.clean(before) | self._generated([day for day in days if day >= start], f"fault-{number}", filled)

    def _generated(self, days: Sequence[datetime.date], name: str, options: dict[str, Any]) -> dict[str, pa.Table]:
        given = {"hours": False, **options}
        table = self.folder / f"{name}-{days[0]}"
        made = click_log_options(
            start_date=days[0], days=len(days), rows_per_day=self.rows_per_day, seed=self.seed, **given
        )
        generate(made, table)
        return {day.isoformat(): _read_day(table, day) for day in days}


def _read_day(table: Path, day: datetime.date) -> pa.Table:
    parts = []
    for file in sorted((table / f"dt={day}").rglob("000000_0")):
        part = pq.read_table(file, partitioning=None)
        if file.parent.name.startswith("hour="):
            part = part.append_column("hour", pa.array([file.parent.name[5:]] * len(part)))
        parts.append(part.append_column("dt", pa.array([day.isoformat()] * len(part))))
    joined = pa.concat_tables(parts).combine_chunks()
    return pa.Table.from_batches([flatten(batch) for batch in joined.to_batches()])


def judged(days: dict[str, pa.Table], baseline: Baseline | None) -> tuple[WindowEvidence, list[DataFinding], float]:
    """Evidence and findings of one window, and the seconds that the verdict's own work took."""
    names = sorted(days)
    splits = {"train": names[:-1], "eval": names[-1:]}
    statistics = {split: _statistics(pa.concat_tables([days[day] for day in of])) for split, of in splits.items()}
    schema = tfdv.infer_schema(statistics["train"], infer_feature_shape=False)
    anomalies = {split: tfdv.validate_statistics(one, schema) for split, one in statistics.items()}
    rows = pa.concat_tables(days.values())
    hashes = _hashes(rows)
    started = time.monotonic()
    facts = WindowFacts(
        rows={day: {-1: days[day].num_rows} for day in names}, splits=splits, fingerprints={day: day for day in names}
    )
    evidence = WindowEvidence(
        statistics={split: one.datasets[0] for split, one in statistics.items()},
        anomalies=anomalies,
        schema=schema,
        roles=ROLES,
        options=DataVerdictOptions(),
        profile=profile_of(rows, ROLES, facts, hashes),
        baseline=baseline,
    )
    findings = run_checks(evidence)
    return evidence, findings, time.monotonic() - started


def _statistics(rows: pa.Table) -> Any:
    batch = rows.combine_chunks().to_batches()[0]
    return stats_impl.generate_statistics_in_memory(batch, tfdv.StatsOptions())


def _hashes(rows: pa.Table) -> np.ndarray:
    encoder = RecordBatchToExamplesEncoder()
    return np.array([hash(row) for batch in rows.to_batches() for row in encoder.encode(batch)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weeks", type=int, default=30, help="clean weeks")
    parser.add_argument("--rows", type=int, default=5_000, help="rows per day")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults-after", type=int, default=8, help="clean weeks before the faulty one")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hivemill-faults-") as folder:
        weeks = Weeks(Path(folder), arguments.rows, arguments.seed)
        clean, fault_rows, seconds = _run(weeks, arguments.weeks, arguments.faults_after)
    _print(clean, fault_rows, seconds, arguments)


@dataclasses.dataclass
class _Past:
    """What a week inherits from the good ones before it; every week that is not red is pushed."""

    baseline: Baseline | None = None
    history: dict[str, Any] = dataclasses.field(default_factory=lambda: {"drift": {}, "unseen": {}, "rows": {}})
    stable: Path | None = None
    verdicts: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def _run(weeks: Weeks, num_weeks: int, faults_after: int) -> tuple[list[list[str]], list[list[str]], list[float]]:
    clean, fault_rows, seconds = [], [], []
    past = _Past()
    for week in range(num_weeks + 1):
        end = FIRST_DATE + datetime.timedelta(days=TRAIN_DAYS + 7 * week)
        days = [end - datetime.timedelta(days=back) for back in range(TRAIN_DAYS, -1, -1)]
        if week == faults_after:
            fault_rows = [_fault_row(weeks, days, number, fault, past.baseline) for number, fault in enumerate(FAULTS)]
        evidence, findings, spent = judged(weeks.clean(days), past.baseline)
        section = data_section(findings, evidence)
        examples = WeekOfExamples(weeks.clean(days), weeks.folder / f"examples-{end}")
        model = examples.model()
        if week == faults_after:
            fault_rows += [_model_fault_row(examples, model, fault, section, past) for fault in MODEL_FAULTS]
        saved = model.save(weeks.folder / f"model-{end}")
        made = _verdict(str(end), section, model_verdict(examples, saved, past.stable, saved), past)
        _say_clean(made, evidence)
        if week:  # the first has no last good window
            found = verdict_summary.all_findings(made)
            clean.append([str(end), made["colour"], _shown(found[0]["message"]) if found else ""])
        seconds.append(spent)
        if made["colour"] != "red":
            add_to_history(past.history, section)
            past.baseline, past.stable = _baseline(evidence.profile, str(end), past.history), saved
            past.verdicts.append(made)
        weeks.forget_before(end)
    return clean, fault_rows, seconds


def _verdict(date: str, data: dict[str, Any], model: dict[str, Any], past: _Past) -> dict[str, Any]:
    """The one document of a run; red data stops it before there is a model."""
    record = {"run_id": f"{date}-clean", "date": date}
    if data["colour"] == "red":
        return verdict.assemble(record, {}, {"message": "data verdict red", "exit_code": 4, "details": data})
    return verdict.assemble(record, {"data": data, "model": model, "model_version": 1}, None, past.verdicts)


def _say_clean(made: dict[str, Any], evidence: WindowEvidence) -> None:
    nearest = sorted(evidence.drift.values(), key=lambda row: -row.comparison.value / row.bounds.amber)[:3]
    shown = [f"{row.column} {row.comparison.value:.4f} of {row.bounds.amber:.4f}" for row in nearest]
    whole = (verdict_summary.whole_eval(made) or {"metrics": {}})["metrics"]
    model = ", ".join(
        f"{name} {whole[name]:.4f}" for name in ("auc", "normalized_entropy", "calibration") if name in whole
    )
    found = [f"\n    {one['severity']} {one['cause']}: {one['message']}" for one in verdict_summary.all_findings(made)]
    print("    nearest:", ", ".join(shown), "| model:", model)
    print("clean", made["date"], made["colour"], *found, flush=True)


def _baseline(profile: Profile, date: str, history: dict[str, Any]) -> Baseline:
    """As a run writes it: every clean week is pushed, so every week is the baseline of the next."""
    copy = {
        key: {name: list(values) if isinstance(values, list) else values for name, values in part.items()}
        for key, part in history.items()
    }
    copy["drift"] = {name: values[-8:] for name, values in copy["drift"].items()}
    copy["unseen"] = {name: values[-8:] for name, values in copy["unseen"].items()}
    copy["rows"] = dict(sorted(copy["rows"].items())[-8 * (TRAIN_DAYS + 1) :])
    return Baseline(f"{date}-clean", date, 1, profile, History(**copy))


def _fault_row(weeks: Weeks, days: list[datetime.date], number: int, fault: Fault, baseline: Baseline) -> list[str]:
    start = days[-3]
    evidence, findings, _ = judged(weeks.faulty(days, start, number, fault), baseline)
    colour = data_section(findings, evidence)["colour"]
    first = findings[0] if findings else None
    right = "yes" if first and first.cause in fault.causes else "no"
    validator = sum(len(one.anomaly_info) for one in evidence.anomalies.values())
    print(fault.name, colour, *(f"\n    {one.severity} {one.cause}: {one.message}" for one in findings), flush=True)
    shown = _shown(first.message) if first else ""
    return [fault.name, colour, first.cause if first else "none", right, shown, str(validator)]


def _model_fault_row(
    examples: WeekOfExamples, model: Any, fault: ModelFault, data: dict[str, Any], past: _Past
) -> list[str]:
    broken = model.save(examples.folder / f"fault-{MODEL_FAULTS.index(fault)}", fault.breaking)
    made = _verdict(examples.folder.name, data, model_verdict(examples, broken, past.stable, broken), past)
    found = verdict_summary.all_findings(made)
    print(fault.name, made["colour"], *(f"\n    {one['severity']} {one['cause']}: {one['message']}" for one in found))
    right = "yes" if made["cause"] in fault.causes else "no"
    return [
        fault.name,
        made["colour"],
        made["cause"] or "none",
        right,
        _shown(found[0]["message"]) if found else "",
        "",
    ]


def _shown(message: str) -> str:
    return message.replace("|", "/")


def _print(
    clean: list[list[str]], faults: list[list[str]], seconds: list[float], arguments: argparse.Namespace
) -> None:
    found = sum(row[1] != "green" for row in faults)
    stopped = sum(row[1] == "red" for row in faults)
    right = sum(row[3] == "yes" for row in faults)
    colours = [row[1] for row in clean]
    print_table(("fault", "verdict", "first cause", "right"), [row[:4] for row in faults])
    print(f"\n{found} of {len(faults)} found, {stopped} red, cause right in {right}")
    print(f"{len(clean)} clean weeks: {colours.count('red')} red, {colours.count('amber')} amber")
    if arguments.markdown:
        arguments.markdown.write_text(_markdown(clean, faults, arguments), "utf-8")
    print_result(
        "verdict_faults", right / max(len(faults), 1), "the fault that was planted", "right cause first",
        faults=len(faults), found=found, red=stopped, right=right, clean_weeks=len(clean),
        false_red=colours.count("red"), false_amber=colours.count("amber"), rows_per_day=arguments.rows,
        verdict_seconds=round(sorted(seconds)[len(seconds) // 2], 2) if seconds else None,
    )  # fmt: skip


def _markdown(clean: list[list[str]], faults: list[list[str]], arguments: argparse.Namespace) -> str:
    lines = ["| Fault planted | Verdict | First cause | Right | First finding |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {colour} | {cause} | {right} | {message} |" for name, colour, cause, right, message, _ in faults
    ]
    wrong = [row for row in clean if row[1] != "green"]
    lines += ["", f"{len(clean)} clean weeks of {arguments.rows:,} rows a day (seed {arguments.seed}): "]
    lines[-1] += f"{sum(row[1] == 'red' for row in clean)} red, {sum(row[1] == 'amber' for row in clean)} amber."
    lines += [f"- {date}: {colour}: {message}" for date, colour, message in wrong]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
