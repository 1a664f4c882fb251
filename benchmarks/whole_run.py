"""What the nodes before the Trainer cost: by node, per row, with a week's new days, and beside a stock TFX pipeline.

Each run is a process of its own that launches the nodes of the DAG one after the other, as `hivemill run` does. CPU
seconds of a node are those of its launch, ML Metadata included, imports before the first node left out. The table is
the click log of `hivemill data generate`, daily Parquet partitions; the features are those of the demo without hours.

The stock pipeline is TFX's ParquetExampleGen, StatisticsGen, SchemaGen, ExampleValidator and Transform on Beam in this
process, with Hivemill's preprocessing function and TFT's analyzers. Its ExampleGen reads neither maps nor timestamps,
so it gets the same rows flattened; that copy is made before the clock starts.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import _harness

_LAST_DAY = datetime.date(2026, 11, 16)
_NEW_DAYS = 7
_CONVERSION = "HiveLogExampleGen"
_TRAINER = "Trainer"
_FEATURES = {
    **{name: {"type": "categorical"} for name in ("age_band", "gender", "member_level", "category", "brand")},
    **{name: {"type": "categorical"} for name in ("position", "device")},
    "item_id": {"type": "categorical", "min_count": 1000},
    "city": {"type": "categorical", "encoding": "hash", "hash_buckets": 1000},
    "price": {"type": "numeric", "transform": "quantile_buckets", "buckets": 20},
    "query": {"type": "multivalent"},
    "recent_items": {"type": "multivalent", "min_count": 1000, "max_length": 20},
    "context": {"type": "multivalent", "of": "items"},
    "category_by_age_band": {"type": "cross", "columns": ["category", "age_band"], "hash_buckets": 2000},
    "category_by_gender": {"type": "cross", "columns": ["category", "gender"], "hash_buckets": 1000},
    "age_band_by_gender": {"type": "cross", "columns": ["age_band", "gender"], "hash_buckets": 500},
}


def ours(root: str, table: str, date: str, train_days: int) -> dict[str, Any]:
    """CPU and wall seconds by node, rows; nothing after Transform is run."""
    from hivemill.common import runtime

    runtime.prepare_tensorflow()
    from hivemill.components.hive_example_gen.planning.window import plan_window
    from hivemill.pipeline import dag

    config = _config(root, table, train_days)
    day = datetime.date.fromisoformat(date)
    plan = plan_window(config.source, config.window, day, config.places().partitions, config.label_rules())
    inputs = dag.RunInputs(day, f"bench-{date}", plan.fingerprint, None, None)
    return _launched(dag.create_pipeline(config, inputs), Path(root), f"bench-{date}")


def stock(root: str, splits: dict[str, str]) -> dict[str, Any]:
    """The same of TFX's own nodes; `splits` are folders of flat Parquet files."""
    from hivemill.common import runtime

    runtime.prepare_tensorflow()
    from tfx.components.example_gen.component import FileBasedExampleGen
    from tfx.components.example_gen.custom_executors import parquet_executor
    from tfx.components.example_validator.component import ExampleValidator
    from tfx.components.schema_gen.component import SchemaGen
    from tfx.components.statistics_gen.component import StatisticsGen
    from tfx.components.transform.component import Transform
    from tfx.dsl.components.base import executor_spec
    from tfx.orchestration import metadata, pipeline
    from tfx.proto import example_gen_pb2

    patterns = [example_gen_pb2.Input.Split(name=name, pattern=f"{name}/*") for name in splits]
    example_gen = FileBasedExampleGen(
        input_base=str(Path(next(iter(splits.values()))).parent),
        input_config=example_gen_pb2.Input(splits=patterns),
        custom_executor_spec=executor_spec.BeamExecutorSpec(parquet_executor.Executor),
    )
    statistics = StatisticsGen(examples=example_gen.outputs["examples"])
    schema = SchemaGen(statistics=statistics.outputs["statistics"], infer_feature_shape=False)
    validator = ExampleValidator(statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"])
    transform = Transform(
        examples=example_gen.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn="hivemill.components.transform.preprocessing.preprocessing_fn",
        custom_config={"features": _config(root, root, 1).feature_set().model_dump_json()},
        disable_statistics=True,
    )
    made = pipeline.Pipeline(
        pipeline_name="stock",
        pipeline_root=f"{root}/artifacts",
        components=[example_gen, statistics, schema, validator, transform],
        metadata_connection_config=metadata.sqlite_metadata_connection_config(f"{root}/metadata.sqlite"),
        beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=none"],
    )
    return _launched(made, Path(root), "stock")


MEASUREMENTS = {"ours": ours, "stock": stock}


def _config(root: str, table: str, train_days: int) -> Any:
    from hivemill.pipeline.config.schema import PipelineConfig

    return PipelineConfig.model_validate(
        {
            "name": "bench",
            "root": root,
            "source": {"table": table, "format": "parquet", "partition_columns": {"dt": "string"}},
            "window": {"train_days": train_days, "validation_days": 1},
            "label": {"column": "click", "user": "user_id"},
            "features": _FEATURES,
        }
    )


def _launched(made: Any, root: Path, run_id: str) -> dict[str, Any]:
    """The nodes up to the Trainer, which is not run: CPU and wall seconds by node, rows of the first."""
    from tfx.dsl.compiler import compiler, constants
    from tfx.orchestration.portable import runtime_parameter_utils

    from hivemill.pipeline.orchestrators.node_launcher import launch_node
    from hivemill.pipeline.runs.records import RunFolder

    ir = compiler.Compiler().compile(made)
    runtime_parameter_utils.substitute_runtime_parameter(ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id})
    cpu, wall, rows = {}, {}, 0
    for node in ir.nodes:
        node_id = node.pipeline_node.node_info.id
        if node_id == _TRAINER:
            break
        with _harness.cpu_clock() as clock:
            record = launch_node(ir, node_id, RunFolder(root, run_id))
        cpu[node_id], wall[node_id] = round(clock["cpu_seconds"], 2), round(clock["wall_seconds"], 2)
        rows = rows or record.rows or 0
    return {"cpu": cpu, "wall": wall, "rows": rows}


def _generate(folder: Path, days: int, rows_per_day: int) -> str:
    first = _LAST_DAY - datetime.timedelta(days=days - 1)
    command = [sys.executable, "-m", "hivemill", "data", "generate", str(folder), "--start-date", first.isoformat()]
    command += ["--days", str(days), "--rows-per-day", str(rows_per_day), "--format", "parquet", "--no-hours"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(_harness.REPOSITORY)})
    return str(folder)


def _flattened(table: Path, folder: Path, days: Mapping[str, Iterable[datetime.date]]) -> dict[str, str]:
    """The days of each split as flat Parquet: maps as two lists, timestamps as integers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for split, several in days.items():
        (folder / split).mkdir(parents=True)
        for day in several:
            for file in sorted((table / f"dt={day}").glob("0*")):
                flat = pa.Table.from_batches(map(_flat, pq.ParquetFile(file).iter_batches(16_384)))
                pq.write_table(flat, folder / split / f"{day}-{file.name}.parquet")
    return {split: str(folder / split) for split in days}


def _flat(batch: Any) -> Any:
    import pyarrow as pa

    from hivemill.components.hive_example_gen.rows.flatten import flatten

    columns: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_map(column.type):
            parts = flatten(batch.select([name]))
            texts = [values.cast(pa.list_(pa.string())) for values in parts.columns]
            columns |= dict(zip(parts.schema.names, texts, strict=True))
        else:
            columns[name] = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
    return pa.record_batch(columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=250_000, help="rows a day of the tables of 3 and of 8 days")
    parser.add_argument("--week-rows", type=int, default=20_000, help="rows a day of the window of 28 days")
    parser.add_argument("--stock-days", type=int, default=3, help="days that the stock pipeline reads; 0: none")
    _harness.add_measure_argument(parser)
    arguments = parser.parse_args()
    if _harness.run_measurement(arguments, MEASUREMENTS):
        return
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="hivemill-bench-") as folder:
        facts = _by_size(Path(folder), arguments.rows, arguments.stock_days)
        facts |= _week_later(Path(folder), arguments.week_rows)
    peer = "the stock TFX pipeline on the same rows" if facts["stock_ratio"] else "none"
    _harness.print_result(
        "whole_run", facts.pop("stock_ratio"), peer, "CPU seconds before the Trainer", load_at_start=load, **facts
    )


def _by_size(folder: Path, rows_per_day: int, stock_days: int) -> dict[str, Any]:
    table = _generate(folder / "table", 8, rows_per_day)
    small = _measured_run(folder / "small", table, _LAST_DAY, 3)
    large = _measured_run(folder / "large", table, _LAST_DAY, 8)
    columns = {"3 days": small.facts, "8 days": large.facts}
    if stock_days:
        alone = small if stock_days == 3 else _measured_run(folder / "as-stock", table, _LAST_DAY, stock_days)
        found = _stock_run(folder, Path(table), stock_days).facts
        columns[f"stock, {stock_days} days"] = found | {"rows": alone.facts["rows"]}  # its ExampleGen counts none
        stock_ratio = _total(columns[f"stock, {stock_days} days"]) / _total(alone.facts)
    _print_nodes(columns)
    more_rows = large.facts["rows"] - small.facts["rows"]
    cpu = large.facts["cpu"]
    return {
        "stock_ratio": stock_ratio if stock_days else None,
        "rows": large.facts["rows"],
        "marginal_us_per_row": round((_total(large.facts) - _total(small.facts)) / more_rows * 1e6, 2),
        "after_conversion_against_it": round((_total(large.facts) - cpu[_CONVERSION]) / cpu[_CONVERSION], 2),
        "peak_memory_mib": round(large.peak_memory_bytes / 2**20),
        "peak_memory_mib_3_days": round(small.peak_memory_bytes / 2**20),
    }


def _week_later(folder: Path, rows_per_day: int) -> dict[str, Any]:
    """28 days of which 7 are new, against these 7 days alone."""
    table = _generate(folder / "weeks", 28 + _NEW_DAYS, rows_per_day)
    week_before = _LAST_DAY - datetime.timedelta(days=_NEW_DAYS)
    first = _measured_run(folder / "kept", table, week_before, 28)
    later = _measured_run(folder / "kept", table, _LAST_DAY, 28)
    alone = _measured_run(folder / "alone", table, _LAST_DAY, _NEW_DAYS)
    _print_nodes({"28 days": first.facts, "a week later": later.facts, "its 7 days alone": alone.facts})
    return {
        "week_later_ratio": round(_total(later.facts) / _total(alone.facts), 2),
        "week_later_without_transform": round(
            _total(later.facts, without="Transform") / _total(alone.facts, without="Transform"), 2
        ),
    }


def _measured_run(root: Path, table: str, last: datetime.date, days: int) -> _harness.Measured:
    return _harness.measure(__file__, "ours", root=str(root), table=table, date=last.isoformat(), train_days=days - 1)


def _stock_run(folder: Path, table: Path, days: int) -> _harness.Measured:
    every = [_LAST_DAY - datetime.timedelta(days=back) for back in range(days)]
    splits = _flattened(table, folder / "flat", {"train": every[1:], "eval": every[:1]})
    (folder / "stock").mkdir()
    return _harness.measure(__file__, "stock", root=str(folder / "stock"), splits=splits)


def _total(facts: Mapping[str, Any], without: str = "") -> float:
    return sum(seconds for node, seconds in facts["cpu"].items() if node != without)


def _print_nodes(columns: Mapping[str, Mapping[str, Any]]) -> None:
    """CPU seconds by node and run; an ExampleGen is one, whatever its name."""
    nodes = list(dict.fromkeys(node for facts in columns.values() for node in facts["cpu"]))
    rows = [[node, *(str(facts["cpu"].get(node, "")) for facts in columns.values())] for node in nodes]
    rows.append(["all, CPU s", *(f"{_total(facts):.2f}" for facts in columns.values())])
    rows.append(["all, wall s", *(f"{sum(facts['wall'].values()):.2f}" for facts in columns.values())])
    rows.append(["rows", *(f"{facts['rows']:,}" for facts in columns.values())])
    rows.append(["us a row", *(f"{_total(facts) / facts['rows'] * 1e6:.1f}" for facts in columns.values())])
    _harness.print_table(["node", *columns], rows)


if __name__ == "__main__":
    main()
