"""HiveLogExampleGen against TFX's ParquetExampleGen: the same rows through each whole executor, GZIP out.

One line per format of the table, one for the peer (Parquet), and one for the bare encoder: tfx_bsl's Arrow to
tf.Example over batches that are in memory, nothing read and nothing written. Each run is a process of its own; CPU
seconds are those of `Executor.Do` with all its threads and children, imports left out on all sides (and shown).
ParquetExampleGen gets one split: its default split by hash would only add to its cost. The `ratio` of the last line is
Parquet's; `ratios` has all formats.
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
_ENCODER = "encoder alone"


def hivemill(table: str, work: str, file_format: str) -> dict[str, Any]:
    """Two days: the first is `train`, the second, of a single row, is `eval` (there must be one)."""
    options = {} if file_format in ("parquet", "orc", "avro") else {"columns": _tables.COLUMNS, "format": file_format}
    return run_example_gen(table, work, _tables.LAST_DAY, train_days=1, source_options=options)


def encoder(table: str, work: str) -> dict[str, Any]:
    """The encoder on the flattened batches of the Parquet table."""
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

    from hivemill.components.hive_example_gen.formats import parquet
    from hivemill.components.hive_example_gen.formats.bad_rows import BadRows
    from hivemill.components.hive_example_gen.formats.data_file import DataFile
    from hivemill.components.hive_example_gen.rows.flatten import flatten
    from hivemill.components.hive_example_gen.table.spec import TableSpec

    spec = TableSpec(format="parquet", columns=None, partition_columns={"dt": "string"})
    file = DataFile.of(table, f"dt={_first_day()}/{FILE}")
    coder, seconds, rows = RecordBatchToExamplesEncoder(), 0.0, 0
    for batch in parquet.read_batches(file, spec, BadRows()):
        flat = flatten(batch)
        with _harness.cpu_clock() as clock:
            coder.encode(flat)
        seconds, rows = seconds + clock["cpu_seconds"], rows + flat.num_rows
    return {"cpu_seconds": seconds, "wall_seconds": seconds, "import_seconds": 0.0, "output_bytes": 0, "rows": rows}


def parquet_example_gen(table: str, work: str) -> dict[str, Any]:
    started = time.monotonic()
    from hivemill.common import runtime

    runtime.prepare_tensorflow()
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


FILE = "000000_0"
MEASUREMENTS = {"hivemill": hivemill, _PEER: parquet_example_gen, _ENCODER: encoder}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--formats", nargs="+", choices=_tables.FORMATS, default=list(_tables.FORMATS))
    parser.add_argument("--peer-repeats", type=int, default=1, help="the peer takes minutes; 0 leaves it out")
    _harness.add_measure_argument(parser)
    arguments = parser.parse_args()
    if _harness.run_measurement(arguments, MEASUREMENTS):
        return
    with tempfile.TemporaryDirectory(prefix="hivemill-bench-") as work:
        measured = _compare(Path(work), arguments)
    _print(measured, arguments.rows, arguments.repeats)


def _compare(work: Path, arguments: argparse.Namespace) -> dict[str, list[_harness.Measured]]:
    for file_format in {*arguments.formats, "parquet"}:
        table = work / file_format
        _tables.write(table / f"dt={_first_day()}" / FILE, file_format, arguments.rows)
        _tables.write(table / f"dt={_tables.LAST_DAY}" / FILE, file_format, 1)
    measured: dict[str, list[_harness.Measured]] = {name: [] for name in (*arguments.formats, _ENCODER, _PEER)}
    for repeat in range(arguments.repeats):  # one after the other, so that all sides see the same machine
        for name, runs in measured.items():
            if name == _PEER and repeat >= arguments.peer_repeats:
                continue
            runs.append(_run(work, name))
    return measured


def _run(work: Path, name: str) -> _harness.Measured:
    folder = work / "run"
    try:
        if name in (_PEER, _ENCODER):
            return _harness.measure(__file__, name, table=str(work / "parquet"), work=str(folder))
        return _harness.measure(__file__, "hivemill", table=str(work / name), work=str(folder), file_format=name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _print(measured: dict[str, list[_harness.Measured]], rows: int, repeats: int) -> None:
    measured = {name: runs for name, runs in measured.items() if runs}
    rates = {name: rows / _harness.median(run.facts["cpu_seconds"] for run in runs) for name, runs in measured.items()}
    ours = [name for name in rates if name not in (_PEER, _ENCODER)]
    of_peer = {name: rates[name] / rates[_PEER] for name in rates} if _PEER in rates else {}
    _harness.print_table(
        ["", "rows/CPU-s", "of peer", "of encoder", "CPU s", "wall s", "import s", "peak MiB", "output MiB"],
        [
            [name, *_rates(rates[name], of_peer.get(name), rates[_ENCODER]), *_cells(runs)]
            for name, runs in measured.items()
        ],
    )
    _harness.print_result(
        "example_gen",
        of_peer.get(ours[0]),
        _PEER,
        "rows per CPU-second",
        rows=rows,
        repeats=repeats,
        rates={name: round(rate) for name, rate in rates.items()},
        ratios={name: round(of_peer[name], 2) for name in ours if of_peer},
        of_encoder={name: round(rates[name] / rates[_ENCODER], 3) for name in ours},
    )


def _rates(rate: float, of_peer: float | None, encoder: float) -> list[str]:
    return [f"{rate:,.0f}", "" if of_peer is None else f"{of_peer:.1f}", f"{rate / encoder:.2f}"]


def _cells(runs: list[_harness.Measured]) -> list[str]:
    def middle(key: str) -> float:
        return _harness.median(run.facts[key] for run in runs)

    peak = _harness.median(run.peak_memory_bytes for run in runs) / 2**20
    seconds = [f"{middle(key):.1f}" for key in ("cpu_seconds", "wall_seconds", "import_seconds")]
    return [*seconds, f"{peak:,.0f}", f"{middle('output_bytes') / 2**20:.1f}"]


if __name__ == "__main__":
    main()
