"""HiveLogExampleGen against TFX's ParquetExampleGen: the same Parquet rows through each whole executor, GZIP out.

Each run is a process of its own; CPU seconds are those of `Executor.Do` with all its threads and children, imports left
out on both sides (and shown). ParquetExampleGen gets one split: its default split by hash would only add to its cost.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import _harness, _tables
from benchmarks._example_gen_run import examples_artifact, executor_context, output_bytes, run_example_gen

_PEER = "TFX ParquetExampleGen"
_OURS = "HiveLogExampleGen"


def hivemill(table: str, work: str) -> dict[str, Any]:
    """Two days: the first is `train`, the second, of a single row, is `eval` (there must be one)."""
    return run_example_gen(table, work, _tables.LAST_DAY, train_days=1)


def parquet_example_gen(table: str, work: str) -> dict[str, Any]:
    started = time.monotonic()
    import common.runtime

    common.runtime.prepare_tensorflow()
    from tfx.components.example_gen.custom_executors import parquet_executor
    from tfx.proto import example_gen_pb2
    from tfx.utils import proto_utils

    split = example_gen_pb2.Input.Split(name="train", pattern=f"dt={_first_day()}/*")
    properties = {
        "input_base": table,
        "input_config": proto_utils.proto_to_json(example_gen_pb2.Input(splits=[split])),
        "output_config": proto_utils.proto_to_json(example_gen_pb2.Output()),
        "output_data_format": example_gen_pb2.FORMAT_TF_EXAMPLE,
        "output_file_format": example_gen_pb2.FILE_FORMAT_UNSPECIFIED,
    }
    outputs = {"examples": [examples_artifact(work)]}
    imported = time.monotonic() - started
    with _harness.cpu_clock() as clock:
        parquet_executor.Executor(executor_context(work)).Do({}, outputs, properties)
    return {**clock, "import_seconds": imported, "output_bytes": output_bytes(work)}


def _first_day() -> str:
    return str(_tables.LAST_DAY.fromordinal(_tables.LAST_DAY.toordinal() - 1))


MEASUREMENTS = {_OURS: hivemill, _PEER: parquet_example_gen}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--repeats", type=int, default=3)
    _harness.add_measure_argument(parser)
    arguments = parser.parse_args()
    if _harness.run_measurement(arguments, MEASUREMENTS):
        return
    with tempfile.TemporaryDirectory(prefix="hivemill-bench-") as work:
        measured = _compare(Path(work), arguments.rows, arguments.repeats)
    _print(measured, arguments.rows, arguments.repeats)


def _compare(work: Path, rows: int, repeats: int) -> dict[str, list[_harness.Measured]]:
    table = work / "table"
    _tables.write_parquet(table / f"dt={_first_day()}" / "part-00000.parquet", rows)
    _tables.write_parquet(table / f"dt={_tables.LAST_DAY}" / "part-00000.parquet", 1)
    measured: dict[str, list[_harness.Measured]] = {name: [] for name in MEASUREMENTS}
    for _ in range(repeats):  # one after the other, so that both sides see the same machine
        for name, runs in measured.items():
            folder = work / "run"
            runs.append(_harness.measure(__file__, name, table=str(table), work=str(folder)))
            shutil.rmtree(folder)
    return measured


def _print(measured: dict[str, list[_harness.Measured]], rows: int, repeats: int) -> None:
    rates = {name: rows / _harness.median(run.facts["cpu_seconds"] for run in runs) for name, runs in measured.items()}
    _harness.print_table(
        ["", "rows/CPU-s", "CPU s", "wall s", "import s", "peak MiB", "output MiB"],
        [[name, f"{rates[name]:,.0f}", *_cells(runs)] for name, runs in measured.items()],
    )
    _harness.print_result(
        "example_gen",
        rates[_OURS] / rates[_PEER],
        _PEER,
        "rows per CPU-second",
        rows=rows,
        repeats=repeats,
        hivemill=round(rates[_OURS]),
        peer_rate=round(rates[_PEER]),
    )


def _cells(runs: list[_harness.Measured]) -> list[str]:
    def middle(key: str) -> float:
        return _harness.median(run.facts[key] for run in runs)

    peak = _harness.median(run.peak_memory_bytes for run in runs) / 2**20
    seconds = [f"{middle(key):.1f}" for key in ("cpu_seconds", "wall_seconds", "import_seconds")]
    return [*seconds, f"{peak:,.0f}", f"{middle('output_bytes') / 2**20:.1f}"]


if __name__ == "__main__":
    main()
