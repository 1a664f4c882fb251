"""What a run costs when its partitions are converted already: the same window again, and the window of a week later.

The week later has seven new days; what it costs is set against converting those seven days alone, nothing kept. Each
run is a process of its own; CPU seconds are those of `Executor.Do`, imports left out.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import _harness, _tables
from benchmarks._example_gen_run import run_example_gen

_NEW_DAYS = 7
_WEEK_LATER = _tables.LAST_DAY + datetime.timedelta(days=_NEW_DAYS)


def run(table: str, work: str, kept: str, date: str, train_days: int) -> dict[str, Any]:
    return run_example_gen(table, work, datetime.date.fromisoformat(date), train_days, kept)


MEASUREMENTS = {"run": run}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--days", type=int, default=28, help="days of the window, the last one is the eval day")
    parser.add_argument("--rows", type=int, default=20_000, help="rows per day")
    parser.add_argument("--repeats", type=int, default=3)
    _harness.add_measure_argument(parser)
    arguments = parser.parse_args()
    if _harness.run_measurement(arguments, MEASUREMENTS):
        return
    rounds = [_round(arguments.days, arguments.rows) for _ in range(arguments.repeats)]
    cpu = {name: _harness.median(each[name].facts["cpu_seconds"] for each in rounds) for name in rounds[0]}
    wall = {name: _harness.median(each[name].facts["wall_seconds"] for each in rounds) for name in rounds[0]}
    _harness.print_table(
        ["run", "CPU s", "wall s", "of the first"],
        [[name, f"{cpu[name]:.2f}", f"{wall[name]:.2f}", f"{cpu[name] / cpu['first']:.3f}"] for name in cpu],
    )
    _harness.print_result(
        "window_reuse",
        cpu["again"] / cpu["first"],
        "the first run of the same window",
        "CPU seconds of the executor",
        week_later_ratio=round(cpu["a week later"] / cpu["its new days alone"], 3),
        days=arguments.days,
        new_days=_NEW_DAYS,
        rows_per_day=arguments.rows,
        repeats=arguments.repeats,
    )


def _round(days: int, rows: int) -> dict[str, _harness.Measured]:
    with tempfile.TemporaryDirectory(prefix="hivemill-bench-") as folder:
        table = Path(folder, "table")
        _tables.write_days(table, days + _NEW_DAYS, rows, _WEEK_LATER)
        runs = {
            "first": (_tables.LAST_DAY, days, "kept"),
            "again": (_tables.LAST_DAY, days, "kept"),
            "a week later": (_WEEK_LATER, days, "kept"),
            "its new days alone": (_WEEK_LATER, _NEW_DAYS, "nothing-kept"),
        }
        return {
            name: _harness.measure(
                __file__,
                "run",
                table=str(table),
                work=str(Path(folder, f"run{index}")),
                kept=str(Path(folder, kept)),
                date=date.isoformat(),
                train_days=window_days - 1,
            )
            for index, (name, (date, window_days, kept)) in enumerate(runs.items())
        }


if __name__ == "__main__":
    main()
