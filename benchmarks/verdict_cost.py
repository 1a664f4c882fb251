"""What the verdict adds to the time of a run: what it does beyond TFX's nodes and the Evaluator's plain metrics.

    make bench NAME=verdict_cost
    make bench NAME=verdict_cost ARGS="--run shop/shop-data/runs/2026-11-15-1a2b3c4d"

The demo is run once (or the run given is taken), and its own clock says how long the whole and the node DataVerdict
took. The Evaluator is then run on the run's own model and rows in a process of its own, with everything and without
what the verdict adds (bootstrap, trivial models, importance of columns), by turns; what is added is the first run with
everything, which loads libraries too, less the fastest without. Baseline file, TensorBoard, report and index are timed
on the run's folder. The ratio is the share of the run's wall time over the bound of 10 %; below 1 is good.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks._commands import seconds_of
from benchmarks._harness import add_measure_argument, cpu_clock, measure, print_result, print_table, run_measurement

BOUND_SHARE = 0.10
DATE = "2026-11-15"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, help="folder of a run that pushed a model, instead of a demo's")
    parser.add_argument("--rounds", type=int, default=2, help="of the Evaluator with and without")
    add_measure_argument(parser)
    arguments = parser.parse_args()
    if run_measurement(arguments, {"evaluator": evaluator_seconds, "surfaces": surfaces_seconds}):
        return
    if arguments.run:
        _report(arguments.run.resolve(), _recorded_seconds(arguments.run), arguments.rounds)
        return
    with tempfile.TemporaryDirectory(prefix="hivemill-cost-") as place:
        seconds_of("init", "demo", folder=Path(place))
        whole, _ = seconds_of("run", "--date", DATE, folder=Path(place) / "demo")
        (record,) = Path(place).glob("demo/*/runs/*/run.json")
        _report(record.parent, whole, arguments.rounds)


def _report(run: Path, whole_seconds: float, rounds: int) -> None:
    nodes = {node["node_id"]: node["seconds"] for node in _json(run / "run.json")["nodes"]}
    evaluator = measure(__file__, "evaluator", run=str(run), rounds=rounds).facts
    surfaces = measure(__file__, "surfaces", run=str(run)).facts
    added = {
        "DataVerdict, its node": nodes["DataVerdict"],
        "Evaluator, beyond plain metrics": evaluator["full"][0] - min(evaluator["plain"]),
        **{f"  of it {name}": seconds for name, seconds in evaluator["parts"].items()},
        **surfaces,
    }
    total = sum(seconds for name, seconds in added.items() if not name.startswith(" "))
    rows = [(name, f"{seconds:.2f}", f"{seconds / whole_seconds:.1%}") for name, seconds in added.items()]
    rows += [("the verdict", f"{total:.2f}", f"{total / whole_seconds:.1%}")]
    rows += [("the whole run", f"{whole_seconds:.1f}", ""), ("its Evaluator", f"{nodes['Evaluator']:.1f}", "")]
    print_table(("part", "seconds", "of the run"), rows)
    print(f"Evaluator, wall: with everything {evaluator['full']} s, without {evaluator['plain']} s, by turns")
    print(f"Evaluator, CPU: with everything {evaluator['full_cpu']} s, without {evaluator['plain_cpu']} s")
    print_result(
        "verdict_cost",
        total / whole_seconds / BOUND_SHARE,
        f"bound of {BOUND_SHARE:.0%} of the run",
        "share of the run's wall time over bound",
        share=round(total / whole_seconds, 4),
        verdict_seconds=round(total, 2),
        run_seconds=round(whole_seconds, 1),
        evaluator_cpu_seconds=round(evaluator["full_cpu"][0] - min(evaluator["plain_cpu"]), 2),
        rows=evaluator["rows"],
    )


def _recorded_seconds(run: Path) -> float:
    record = _json(run / "run.json")
    times = (datetime.datetime.fromisoformat(record[key]) for key in ("started_utc", "finished_utc"))
    started, finished = times
    return (finished - started).total_seconds()


def evaluator_seconds(run: str, rounds: int) -> dict[str, Any]:
    """Seconds of the Evaluator on the run's rows and model: {rows, plain, full, plain_cpu, full_cpu, parts}."""
    from hivemill.common import runtime

    runtime.prepare_tensorflow()
    from hivemill.components.evaluator.one_machine import executor

    facts: dict[str, Any] = {"plain": [], "full": [], "plain_cpu": [], "full_cpu": [], "parts": {}}
    for number in range(rounds):
        timed = _timed_parts(facts["parts"] if number == 0 else {})
        for name, switched in (("plain", _without_the_verdict()), ("full", timed)):
            with tempfile.TemporaryDirectory() as place, switched, cpu_clock() as clock:
                _evaluate(executor, Path(run), Path(place))
                verdict = _json(Path(place) / "verdict" / "verdict.json")
            facts[name].append(round(clock["wall_seconds"], 2))
            facts[f"{name}_cpu"].append(round(clock["cpu_seconds"], 2))
    whole = next(one for one in verdict["slices"] if not one["slice"])
    return facts | {"rows": whole["metrics"]["example_count"]}


def _evaluate(executor: Any, run: Path, place: Path) -> None:
    import apache_beam as beam
    from tfx.dsl.components.base import base_beam_executor
    from tfx.types import standard_artifacts

    from hivemill.components.artifacts import ModelVerdict
    from hivemill.pipeline.config import loader

    loaded = loader.load(run / "config.yaml").config
    node = next(one for one in _json(run / "lineage.json")["nodes"] if one["node_id"] == "Evaluator")
    kinds = {"examples": standard_artifacts.Examples, "model": standard_artifacts.Model}
    inputs = {key: [_artifact(kind, Path(node["inputs"][key][0]["uri"]))] for key, kind in kinds.items()}
    splits = sorted(path.name.removeprefix("Split-") for path in Path(inputs["examples"][0].uri).glob("Split-*"))
    inputs["examples"][0].split_names = json.dumps(splits)
    kinds = {"evaluation": standard_artifacts.ModelEvaluation, "blessing": standard_artifacts.ModelBlessing}
    outputs = {name: [_artifact(kind, place / name)] for name, kind in {**kinds, "verdict": ModelVerdict}.items()}
    version = _json(run / "run.json")["baseline_version"]
    properties = {
        "gates": loaded.gates.model_dump_json(),
        "label_column": loaded.label.column,
        "user_column": loaded.label.user,
        "baseline_path": str(loaded.places().store / loaded.model_name() / str(version)) if version else None,
        "baseline_version": version,
    }
    context = base_beam_executor.BaseBeamExecutor.Context(
        make_beam_pipeline_fn=lambda: beam.Pipeline(runner="FnApiRunner"), tmp_dir=str(place / "tmp"), unique_id="1"
    )
    executor.OneMachineExecutor(context).Do(inputs, outputs, properties)


def _artifact(kind: type, path: Path) -> Any:
    artifact = kind()
    artifact.uri = str(path)
    path.mkdir(parents=True, exist_ok=True)
    return artifact


@contextlib.contextmanager
def _without_the_verdict() -> Iterator[None]:
    """The Evaluator computes its metrics, judges them by the gates, and nothing else."""
    import numpy as np

    from hivemill.components.evaluator import executor
    from hivemill.components.evaluator.metrics import bootstrap

    nothing = {"references": None, "importance": None, "problem": None}
    shape = (len(bootstrap.METRICS), bootstrap.REPLICATES + 1)
    with (
        mock.patch.object(executor, "besides", lambda *_: nothing),
        mock.patch.object(bootstrap, "sum_groups", lambda *_: bootstrap.no_groups()),
        mock.patch.object(bootstrap, "replicates", lambda *_: np.full(shape, np.nan)),
    ):
        yield


@contextlib.contextmanager
def _timed_parts(seconds: dict[str, float]) -> Iterator[None]:
    """Adds up how long the parts take. The sums of the bootstrap's groups are left in the rest."""
    from hivemill.components.evaluator import executor, importance
    from hivemill.components.evaluator.metrics import bootstrap
    from hivemill.components.evaluator.references import boosted_trees, compare

    parts = (
        ("samples of rows", executor, "_sample"),
        ("reference models", compare, "compare"),
        ("of these LightGBM", boosted_trees, "fit_and_predict"),
        ("importance of columns", importance, "importance"),
        ("replicates of the bootstrap", bootstrap, "replicates"),
    )
    with contextlib.ExitStack() as stack:
        for name, module, function in parts:
            timed = _adding(getattr(module, function), seconds, name)
            stack.enter_context(mock.patch.object(module, function, timed))
        yield


def _adding(function: Callable[..., Any], seconds: dict[str, float], name: str) -> Callable[..., Any]:
    def timed(*arguments: Any) -> Any:
        started = time.monotonic()
        try:
            return function(*arguments)
        finally:
            seconds[name] = seconds.get(name, 0.0) + time.monotonic() - started

    return timed


def surfaces_seconds(run: str) -> dict[str, float]:
    """Wall seconds of the baseline's file and of everything that is rendered, in a new process, imports included."""
    from hivemill.pipeline import tensorboard
    from hivemill.pipeline.config import loader
    from hivemill.pipeline.history import baseline
    from hivemill.pipeline.report import page
    from hivemill.pipeline.runs.records import RunFolder

    folder = Path(run)
    root = folder.parents[1]
    loaded = loader.load(folder / "config.yaml").config
    date = datetime.date.fromisoformat(_json(folder / "run.json")["date"])
    with tempfile.TemporaryDirectory() as place:
        elsewhere = RunFolder(Path(place), folder.name)
        return {
            "the last good window's file": _seconds(lambda: baseline.write_baseline(loaded, elsewhere, date)),
            "TensorBoard's card and trend": _seconds(
                lambda: (tensorboard.write_run(folder), tensorboard.write_trend(root))
            ),
            "report page": _seconds(lambda: page.write_report(folder)),
            "index of all runs": _seconds(lambda: page.write_index(root)),
        }


def _seconds(work: Callable[[], Any]) -> float:
    started = time.monotonic()
    work()
    return round(time.monotonic() - started, 3)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
