"""Kills a run with SIGKILL at random moments, spread over all of it; each time the next start must make it whole.

One table, one undisturbed run, then N trials: a new root, a run that is killed, one that is not. After each the store,
the metrics, the model's weights and ML Metadata are compared with the undisturbed run, and a process that polled the
store all the while says whether a reader could ever have seen half a version.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import _harness
from benchmarks._kill_store import Watcher

RUN_DATE = "2026-11-15"
_DEADLINE_SECONDS = 1800
_POLL_SECONDS = 0.02
_CONFIG = """\
name: shop
source: {{table: {table}, success_file: _SUCCESS}}
window: {{train_days: 3, validation_days: 1, eval_days: 1}}
label: {{column: click, user: user_id}}
features:
  item_id: {{type: categorical, oov_buckets: 4}}
  category: {{type: categorical}}
  price: {{type: numeric, transform: quantile_buckets, buckets: 5}}
  device: {{type: categorical}}
  recent_items: {{type: multivalent, encoding: hash, hash_buckets: 100}}
model: {{embedding_size: 4, hidden_units: [16]}}
training: {{batch_size: 128, epochs: 3, learning_rate: 0.003}}
gates: {{metrics: {{clicks: {{min: 5}}, auc: {{min: 0.1}}}}, slices: [[device]]}}
"""


@dataclasses.dataclass(frozen=True)
class Reference:
    """The undisturbed run: seconds of each stage, and what every trial must end with."""

    stages: dict[str, float]
    root: Path
    record: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Trial:
    """`killed` is false where the run was over before its moment came."""

    stage: str
    killed: bool
    seconds: float
    faults: tuple[str, ...]
    num_looks: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--rows", type=int, default=600, help="rows per day")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it there")
    _harness.add_measure_argument(parser)
    arguments = parser.parse_args()
    if _harness.run_measurement(arguments, {"compare": compare}):
        return
    with _folder(arguments.keep) as folder:
        config = make_shop(folder, arguments.rows)
        reference = _undisturbed(config, folder / "reference")
        trials = _trials(config, folder, reference, arguments)
    _show(trials, reference, arguments)
    sys.exit(any(trial.faults for trial in trials))


def make_shop(folder: Path, rows_per_day: int) -> Path:
    """Writes table and config below `folder`; returns the config's path."""
    import datetime

    from hivemill.data.click_log.generator import click_log_options, generate

    day = datetime.date.fromisoformat(RUN_DATE) - datetime.timedelta(days=3)
    options = click_log_options(
        start_date=day, days=4, rows_per_day=rows_per_day, hours=False, format="parquet", num_items=200
    )
    generate(options, folder / "log" / "clicks")
    path = folder / "hivemill.yaml"
    path.write_text(_CONFIG.format(table=folder / "log" / "clicks"), encoding="utf-8")
    return path


def _undisturbed(config: Path, root: Path) -> Reference:
    started = time.time()
    code, _ = _run_to_end(config, root)
    record = _record(root)
    if code or not record:
        raise RuntimeError(f"the undisturbed run ended with {code}; see {root}")
    first = min(file.stat().st_mtime for file in root.glob("runs/*/nodes/*.json"))
    nodes = {node["node_id"]: node["seconds"] for node in record["nodes"]}
    before = first - started - next(iter(nodes.values()))
    return Reference({"before the first node": before, **nodes, "after the last node": 1.0}, root, record)


def _trials(config: Path, folder: Path, reference: Reference, arguments: argparse.Namespace) -> list[Trial]:
    chance = random.Random(arguments.seed)
    stages = list(reference.stages)
    order = [stages[number % len(stages)] for number in range(arguments.kills)]
    chance.shuffle(order)  # with fewer kills than stages, those that are hit are chance too
    trials = []
    for number, stage in enumerate(order, 1):
        trials.append(_trial(config, folder / f"trial-{number}", reference, stage, chance.random()))
        words = "; ".join(trials[-1].faults) or "as if nothing had happened"
        print(f"{number:>3} of {arguments.kills}  {stage:<24}{trials[-1].seconds:>7.0f} s  {words}", file=sys.stderr)
    return trials


def _trial(config: Path, root: Path, reference: Reference, stage: str, share: float) -> Trial:
    started = time.monotonic()
    with Watcher(root / "models" / "shop") as watcher:
        killed = _killed_run(config, root, reference, stage, share)
        code, said = _run_to_end(config, root)
    faults = [f"a reader could see {fault}" for fault in watcher.faults()]
    if code:
        faults.append(f"the run after it ended with {code}: {said[-300:]}")
    else:
        facts = _harness.measure(__file__, "compare", mine=str(root), theirs=str(reference.root)).facts
        faults += facts["faults"]
    if not faults:
        shutil.rmtree(root)
    return Trial(stage, killed, time.monotonic() - started, tuple(dict.fromkeys(faults)), watcher.num_looks())


def _killed_run(config: Path, root: Path, reference: Reference, stage: str, share: float) -> bool:
    """Starts a run and kills it `share` of the stage's time after the stage has begun. False where it ended before."""
    stages = list(reference.stages)
    before = stages[stages.index(stage) - 1] if stages.index(stage) > 1 else None
    with open(f"{root}.killed.log", "w") as log:
        process = subprocess.Popen(_command(config, root), stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while before and not list(root.glob(f"runs/*/nodes/{before}.json")):
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(share * reference.stages[stage])
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def _run_to_end(config: Path, root: Path) -> tuple[int, str]:
    done = subprocess.run(_command(config, root), capture_output=True, text=True, timeout=_DEADLINE_SECONDS)
    return done.returncode, done.stderr


def _command(config: Path, root: Path) -> list[str]:
    hivemill = [sys.executable, "-m", "hivemill", "--config", str(config), "--set", f"root={root}"]
    return ["env", f"PYTHONPATH={_harness.REPOSITORY}", *hivemill, "run", "--date", RUN_DATE]


def _record(root: Path) -> dict[str, Any] | None:
    found = list(root.glob("runs/*/run.json"))
    return json.loads(found[0].read_text(encoding="utf-8")) if len(found) == 1 else None


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="hivemill-kill-") as folder:
        yield Path(folder)


def compare(mine: str, theirs: str) -> dict[str, Any]:
    """In a process of its own, because it loads TensorFlow and ML Metadata."""
    from benchmarks import _kill_compare

    return {"faults": _kill_compare.faults(Path(mine), Path(theirs))}


def _show(trials: list[Trial], reference: Reference, arguments: argparse.Namespace) -> None:
    rows = []
    for stage in reference.stages:
        mine = [trial for trial in trials if trial.stage == stage]
        killed, faults = sum(trial.killed for trial in mine), sum(bool(trial.faults) for trial in mine)
        rows.append([stage, f"{reference.stages[stage]:.1f}", str(killed), str(len(mine) - killed), str(faults)])
    _harness.print_table(["stage", "seconds", "killed in it", "over before", "with faults"], rows)
    for fault, count in Counter(fault for trial in trials for fault in trial.faults).most_common():
        print(f"{count} x {fault}")
    _harness.print_result(
        "kill",
        sum(not trial.faults for trial in trials) / max(1, len(trials)),
        "an undisturbed run",
        "share of killed runs that end as if nothing had happened",
        kills=sum(trial.killed for trial in trials),
        looks_at_the_store=sum(trial.num_looks for trial in trials),
        seconds_per_kill=round(_harness.median(trial.seconds for trial in trials), 1),
        rows_per_day=arguments.rows,
        seed=arguments.seed,
    )


if __name__ == "__main__":
    main()
