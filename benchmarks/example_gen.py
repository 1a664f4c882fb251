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

_BEAM_ARGUMENTS = ["--runner=FnApiRunner", "--direct_num_workers=1", "--sdk_container_image=none"]
_PEER = "TFX ParquetExampleGen"
_OURS = "HiveLogExampleGen"


def hivemill(table: str, work: str) -> dict[str, Any]:
    """Two days: the first is `train`, the second, of a single row, is `eval` (there must be one)."""
    started = time.monotonic()
    import common.runtime

    common.runtime.prepare_tensorflow()
    from components.artifacts import WindowManifest
    from components.hive_example_gen import executor
    from components.hive_example_gen.options import SourceOptions, WindowOptions
    from components.hive_example_gen.window import plan_window

    source, window = SourceOptions(table=table), WindowOptions(train_days=1, validation_days=0, eval_days=1)
    kept = str(Path(work) / "partitions")
    plan = plan_window(source, window, _tables.LAST_DAY, kept)
    properties = {
        "source": source.model_dump_json(),
        "window": window.model_dump_json(),
        "date": _tables.LAST_DAY.isoformat(),
        "plan_fingerprint": plan.fingerprint,
        "partitions_path": kept,
    }
    manifest = WindowManifest()
    manifest.uri = str(Path(work) / "manifest")
    outputs = {"examples": [_examples(work)], "manifest": [manifest]}
    imported = time.monotonic() - started
    with _harness.cpu_clock() as clock:
        executor.Executor(_context(work)).Do({}, outputs, properties)
    return {**clock, "import_seconds": imported, "output_bytes": _output_bytes(work)}


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
    outputs = {"examples": [_examples(work)]}
    imported = time.monotonic() - started
    with _harness.cpu_clock() as clock:
        parquet_executor.Executor(_context(work)).Do({}, outputs, properties)
    return {**clock, "import_seconds": imported, "output_bytes": _output_bytes(work)}


def _first_day() -> str:
    return str(_tables.LAST_DAY.fromordinal(_tables.LAST_DAY.toordinal() - 1))


def _context(work: str):
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor

    return BaseBeamExecutor.Context(beam_pipeline_args=_BEAM_ARGUMENTS, tmp_dir=str(Path(work) / "tmp"), unique_id="1")


def _examples(work: str):
    from tfx.types import standard_artifacts

    examples = standard_artifacts.Examples()
    examples.uri = str(Path(work) / "examples")
    return examples


def _output_bytes(work: str) -> int:
    return sum(file.stat().st_size for file in Path(work, "examples").rglob("*.gz"))


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
