"""Peak memory of HiveLogExampleGen as the partition grows: it must stay flat.

Each run converts one partition of so many rows (40 columns, Parquet files of at most FILE_ROWS rows, which are links to
one file) in a process of its own, without TensorFlow, as a node of its own runs. The ratio is the peak with the most
rows over the peak with the fewest, both with what the imports hold; the line of 1 row shows it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import _harness, _tables
from benchmarks._example_gen_run import run_example_gen


def convert(table: str, work: str) -> dict[str, Any]:
    return run_example_gen(table, work, _tables.LAST_DAY, train_days=1)


FILE_ROWS = 1_000_000


def _write(partition: Path, rows: int) -> None:
    """Files of FILE_ROWS rows; the input cannot know that they are one."""
    first = partition / "000000_0"
    _tables.write_parquet(first, min(rows, FILE_ROWS))
    for index in range(1, -(-rows // FILE_ROWS)):
        os.link(first, partition / f"{index:06d}_0")


MEASUREMENTS = {"convert": convert}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 20_000_000])
    _harness.add_measure_argument(parser)
    arguments = parser.parse_args()
    if _harness.run_measurement(arguments, MEASUREMENTS):
        return
    measured = {rows: _measure(rows) for rows in (1, *sorted(arguments.rows))}
    peaks = {rows: run.peak_memory_bytes / 2**20 for rows, run in measured.items()}
    _harness.print_table(
        ["rows", "peak MiB", "above one row MiB", "CPU s"],
        [
            [f"{rows:,}", f"{peak:,.0f}", f"{peak - peaks[1]:,.0f}", f"{measured[rows].facts['cpu_seconds']:.1f}"]
            for rows, peak in peaks.items()
        ],
    )
    fewest, most = min(arguments.rows), max(arguments.rows)
    _harness.print_result(
        "memory",
        peaks[most] / peaks[fewest],
        f"the same component with {fewest:,} rows",
        "peak resident bytes",
        peak_mib={str(rows): round(peak) for rows, peak in peaks.items()},
    )


def _measure(rows: int) -> _harness.Measured:
    with tempfile.TemporaryDirectory(prefix="hivemill-bench-") as work:
        table = Path(work, "table")
        first_day = _tables.LAST_DAY.fromordinal(_tables.LAST_DAY.toordinal() - 1)
        _write(table / f"dt={first_day}", rows)
        _tables.write_parquet(table / f"dt={_tables.LAST_DAY}" / "000000_0", 1)
        return _harness.measure(__file__, "convert", table=str(table), work=str(Path(work, "run")))


if __name__ == "__main__":
    main()
