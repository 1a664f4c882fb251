"""Quality on the generated log: the demo's own config on more days, against the best AUC that any model can reach.

`hivemill init` writes the log and the config, `hivemill run` does the rest, so what is measured is the product: its
AUC on the last day is the one that the gates judged by. The best AUC is that of the true click probability on the same
clicks of the same day (data/click_log/truth.py). The demo's settings were chosen on the validation day of its eight
days.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import _harness

LARGEST_GAP = 0.01
_LOG_TAIL = 3000
_NOT_BLESSED = 5  # exit code of a run whose model was refused: a figure all the same


def hivemill(folder: Path, *arguments: str) -> dict[str, Any]:
    """The JSON document that a verb prints. Raises RuntimeError with the end of its errors if it fails."""
    command = [sys.executable, "-m", "hivemill", *arguments, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(_harness.REPOSITORY)}
    said = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if said.returncode not in (0, _NOT_BLESSED):
        raise RuntimeError(f"hivemill {' '.join(arguments)} ended with {said.returncode}:\n{said.stderr[-_LOG_TAIL:]}")
    return json.loads(said.stdout)


def figures(shop: Path, date: str, seed: int, settings: list[str]) -> dict[str, Any]:
    """One run of the pipeline: seconds by node, AUC and logloss of the eval day, and the best of both."""
    started = time.monotonic()
    # A store of its own for each seed: no model is judged against the one before it.
    options = ["--set", f"training.seed={seed}", "--set", f"store.path=models-{seed}"]
    options += [word for setting in settings for word in ("--set", setting)]
    record = hivemill(shop, "run", "--date", date, *options)
    wall = time.monotonic() - started
    run = shop / "hivemill" / "runs" / record["run_id"]
    verdict = json.loads((run / "verdict.json").read_text())
    metrics = next(entry["metrics"] for entry in verdict["model"]["slices"] if not entry["slice"])
    best = json.loads((run / "_truth.json").read_text())["days"][date]
    trainer = next(node for node in record["nodes"] if node["node_id"] == "Trainer")
    return {
        "seed": seed,
        "auc": metrics["auc"],
        "best_auc": best["best_auc"],
        "gap": best["best_auc"] - metrics["auc"],
        "logloss": metrics["logloss"],
        "best_logloss": best["best_logloss"],
        "trainer_seconds": trainer["seconds"],
        "wall_seconds": wall,
    }


def measured(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Figures per seed. Only the nodes from Trainer on run again for a second seed: the others are in the cache."""
    shop = folder / "shop"
    size = ("--days", str(arguments.days), "--rows-per-day", str(arguments.rows_per_day))
    made = hivemill(folder, "init", "shop", *size)
    return [figures(shop, made["last_date"], seed, arguments.settings) for seed in arguments.seeds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=15, help="days of the log; the last is judged (default: 15)")
    parser.add_argument("--rows-per-day", type=int, default=30_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[17], help="of the training (default: the demo's)")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="as of `hivemill run`")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hivemill-bench-") as folder:
        rows = measured(arguments, Path(folder))
    report(rows, arguments)


def report(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    _harness.print_table(
        ["seed", "AUC", "best", "gap", "logloss", "best", "Trainer s", "run s"],
        [
            [
                str(each["seed"]),
                *(f"{each[name]:.4f}" for name in ("auc", "best_auc", "gap", "logloss", "best_logloss")),
                f"{each['trainer_seconds']:.0f}",
                f"{each['wall_seconds']:.0f}",
            ]
            for each in rows
        ],
    )
    auc, gap = (sum(each[name] for each in rows) / len(rows) for name in ("auc", "gap"))
    passed = gap <= LARGEST_GAP
    print(f"gap {gap:.4f}, at most {LARGEST_GAP}: {'pass' if passed else 'FAIL'}")
    _harness.print_result(
        "quality_generated",
        auc / rows[0]["best_auc"],
        "the true click probability",
        "AUC of the last day",
        auc=round(auc, 4),
        best_auc=round(rows[0]["best_auc"], 4),
        gap=round(gap, 4),
        passed=passed,
        days=arguments.days,
        rows_per_day=arguments.rows_per_day,
        seeds=arguments.seeds,
        settings=arguments.settings,
    )


if __name__ == "__main__":
    main()
