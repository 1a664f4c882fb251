"""HiveLogExampleGen with two Beam workers against one, and against Spark turning the same Hive text into Parquet.

Wall seconds, since that is what a second worker is for: of `Executor.Do` with one worker in this process, with two
worker processes of the DirectRunner (their start included), and of Spark writing Parquet in `local[2]` after a first
small one, so that neither its start nor its compilation counts. The text table has four files of one day each.

Spark is looked for in HIVEMILL_SPARK_PYTHON (`make spark-env` makes one); without it its line is left out, and said so.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import _harness, _tables
from benchmarks._example_gen_run import BEAM_ARGUMENTS, run_example_gen

_DAYS = 4
_PARALLEL = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
_SPARK = """
import json, sys, time
from pyspark.sql import SparkSession
table, target, columns = sys.argv[1:]
spark = (SparkSession.builder.master("local[2]").config("spark.driver.memory", "2g").config("spark.ui.enabled", "false")
    .config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
    .config("spark.sql.warehouse.dir", target + "/warehouse").config("spark.sql.parquet.compression.codec", "gzip")
    .config("spark.hadoop.javax.jdo.option.ConnectionURL", f"jdbc:derby:;databaseName={target}/db;create=true")
    .config("spark.driver.extraJavaOptions", f"-Dderby.system.home={target}")
    .enableHiveSupport().getOrCreate())
stored = "ROW FORMAT DELIMITED FIELDS TERMINATED BY '\\\\001' STORED AS TEXTFILE"
spark.sql(f"CREATE EXTERNAL TABLE clicks ({columns}) PARTITIONED BY (dt string) {stored} LOCATION '{table}'")
spark.sql("MSCK REPAIR TABLE clicks")
def write(name, where):
    started = time.monotonic()
    spark.sql(f"SELECT * FROM clicks WHERE {where}").write.mode("overwrite").parquet(f"{target}/{name}")
    return time.monotonic() - started
write("small", "dt = '" + sorted(r[0] for r in spark.sql("SHOW PARTITIONS clicks").collect())[-1][3:] + "'")
seconds = write("all", "true")
print(json.dumps({"wall_seconds": seconds, "version": spark.version}))
spark.stop()
"""


def hivemill(table: str, work: str, workers: int) -> dict[str, Any]:
    beam = BEAM_ARGUMENTS if workers == 1 else [*_PARALLEL, *BEAM_ARGUMENTS[-1:]]
    options = {"columns": _tables.COLUMNS, "format": "text"}
    return run_example_gen(
        table, work, _tables.LAST_DAY, train_days=_DAYS - 1, source_options=options, beam_arguments=beam
    )


MEASUREMENTS = {"hivemill": hivemill}


def spark_seconds(table: Path, work: Path) -> dict[str, Any] | None:
    """Wall seconds of Spark's conversion; None without Spark. Raises RuntimeError with the end of its errors."""
    python = os.environ.get("HIVEMILL_SPARK_PYTHON")
    if not python or not shutil.which("java"):
        return None
    columns = ", ".join(f"{name} {hive_type}" for name, hive_type in _tables.COLUMNS.items())
    work.mkdir(parents=True, exist_ok=True)
    command = [python, "-c", _SPARK, str(table), str(work), columns]
    done = subprocess.run(command, capture_output=True, text=True, cwd=work, check=False)
    if done.returncode:
        raise RuntimeError(f"Spark failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().split("\n")[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=4_000_000, help="in all four files")
    parser.add_argument("--repeats", type=int, default=1)
    _harness.add_measure_argument(parser)
    arguments = parser.parse_args()
    if _harness.run_measurement(arguments, MEASUREMENTS):
        return
    with tempfile.TemporaryDirectory(prefix="hivemill-bench-") as folder:
        seconds = _measure(Path(folder), arguments.rows, arguments.repeats)
    _print(seconds, arguments.rows)


def _measure(folder: Path, rows: int, repeats: int) -> dict[str, list[float]]:
    table = folder / "table"
    for back in range(_DAYS):
        day = _tables.LAST_DAY - datetime.timedelta(days=back)
        _tables.write(table / f"dt={day}" / "000000_0", "text", rows // _DAYS, seed=back)
    seconds: dict[str, list[float]] = {"one worker": [], "two workers": [], "Spark local[2]": []}
    for _ in range(repeats):
        for name, workers in (("one worker", 1), ("two workers", 2)):
            run = _harness.measure(__file__, "hivemill", table=str(table), work=str(folder / "run"), workers=workers)
            seconds[name].append(run.facts["wall_seconds"])
            shutil.rmtree(folder / "run")
        peer = spark_seconds(table, folder / "spark")
        shutil.rmtree(folder / "spark", ignore_errors=True)
        if peer is not None:
            seconds["Spark local[2]"].append(peer["wall_seconds"])
    return seconds


def _print(seconds: dict[str, list[float]], rows: int) -> None:
    walls = {name: _harness.median(runs) for name, runs in seconds.items() if runs}
    base = walls["one worker"]
    _harness.print_table(
        ["", "wall s", "rows/s", "of one worker"],
        [[name, f"{wall:.1f}", f"{rows / wall:,.0f}", f"{base / wall:.2f}"] for name, wall in walls.items()],
    )
    spark = walls.get("Spark local[2]")
    if spark is None:
        print("Spark local[2]: not measured; HIVEMILL_SPARK_PYTHON names no Python with pyspark, or java is missing")
    _harness.print_result(
        "workers",
        base / walls["two workers"],
        "one worker",
        "wall seconds",
        rows=rows,
        seconds={name: round(wall, 1) for name, wall in walls.items()},
        faster_than_spark=round(spark / walls["two workers"], 2) if spark else None,
    )


if __name__ == "__main__":
    main()
