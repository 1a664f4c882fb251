"""One run of HiveLogExampleGen's executor, as the benchmarks measure it."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Any

from benchmarks import _harness

# This runner does not use the image option; it keeps TFX from packing itself into an archive (2.5 s) per executor.
BEAM_ARGUMENTS = ["--runner=FnApiRunner", "--direct_num_workers=1", "--sdk_container_image=none"]


def run_example_gen(
    table: str,
    work: str,
    date: datetime.date,
    train_days: int,
    kept: str | None = None,
    source_options: dict[str, Any] | None = None,
    beam_arguments: list[str] = BEAM_ARGUMENTS,
) -> dict[str, Any]:
    """Runs the executor for `train_days` days and one eval day; partitions are kept in `kept`, else below `work`.

    In a process without TensorFlow, as a node of its own runs. Returns CPU and wall seconds of `Executor.Do`, seconds
    of the imports, bytes written and rows.
    """
    started = time.monotonic()
    from hivemill.common import runtime

    runtime.keep_tensorflow_out()
    from hivemill.components.artifacts import WindowManifest
    from hivemill.components.hive_example_gen import executor
    from hivemill.components.hive_example_gen.component import HiveLogExampleGen
    from hivemill.components.hive_example_gen.options import SourceOptions, WindowOptions
    from hivemill.components.hive_example_gen.planning.window import plan_window

    source = SourceOptions(table=table, **(source_options or {}))
    window = WindowOptions(
        train_days=train_days, validation_days=0, eval_days=1, completeness={"min_share_of_median": None}
    )
    kept = kept or str(Path(work) / "partitions")
    plan = plan_window(source, window, date, kept).fingerprint
    component = HiveLogExampleGen(source=source, window=window, date=date, plan_fingerprint=plan, partitions_path=kept)
    manifest = WindowManifest()
    manifest.uri = str(Path(work) / "manifest")
    outputs = {"examples": [examples_artifact(work)], "manifest": [manifest]}
    imported = time.monotonic() - started
    with _harness.cpu_clock() as clock:
        executor.HiveExampleGenExecutor(executor_context(work, beam_arguments)).Do(
            {}, outputs, component.exec_properties
        )
    rows = outputs["examples"][0].get_int_custom_property("num_rows")
    return {**clock, "import_seconds": imported, "output_bytes": output_bytes(work), "rows": rows}


def executor_context(work: str, beam_arguments: list[str] = BEAM_ARGUMENTS):
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor

    return BaseBeamExecutor.Context(beam_pipeline_args=beam_arguments, tmp_dir=str(Path(work) / "tmp"), unique_id="1")


def examples_artifact(work: str):
    from tfx.types import standard_artifacts

    examples = standard_artifacts.Examples()
    examples.uri = str(Path(work) / "examples")
    return examples


def output_bytes(work: str) -> int:
    return sum(file.stat().st_size for file in Path(work, "examples").rglob("*.gz"))
