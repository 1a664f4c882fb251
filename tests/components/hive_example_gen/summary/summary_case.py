"""A small table of four days with nested columns and missing values, converted with its summaries."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts

from hivemill.components.artifacts import WindowManifest
from hivemill.components.hive_example_gen import executor
from hivemill.components.hive_example_gen.component import HiveLogExampleGen
from hivemill.components.hive_example_gen.options import SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.window import plan_window
from hivemill.components.hive_example_gen.summary.request import SummaryRequest

DATE = datetime.date(2026, 11, 15)
WINDOW = WindowOptions(train_days=3, validation_days=0, eval_days=1, completeness={"min_share_of_median": None})
_SCHEMA = pa.schema(
    {
        "user": pa.string(),
        "item": pa.int64(),
        "tags": pa.list_(pa.string()),
        "context": pa.map_(pa.string(), pa.float64()),
        "price": pa.float64(),
        "click": pa.int32(),
        "empty": pa.string(),
    }
)


def row_of(number: int) -> dict:
    return {
        "user": None if number % 7 == 0 else f"u{number % 5}",
        "item": number % 11,
        "tags": None if number % 4 == 0 else ["a", "b", "c"][: number % 4],
        "context": [("k", 0.5), ("l", float(number))][: number % 3],
        "price": [None, float("nan"), number / 3][number % 3],
        "click": number % 2,
        "empty": None,
    }


class SummaryCase:
    def __init__(self, folder: Path):
        self.folder = folder
        for day in range(12, 16):
            file = folder / "table" / f"dt=2026-11-{day}" / "data.parquet"
            file.parent.mkdir(parents=True)
            pq.write_table(pa.Table.from_pylist([row_of(day * 100 + i) for i in range(60)], _SCHEMA), file)

    @property
    def kept(self) -> Path:
        return self.folder / "partitions"

    def summaries(self) -> list[Path]:
        return sorted(self.kept.glob("*/*.summary"))

    def run(self, request: SummaryRequest | None, name: str = "run") -> str:
        """The URI of the examples."""
        source = SourceOptions(table=str(self.folder / "table"))
        component = HiveLogExampleGen(
            source=source,
            window=WINDOW,
            date=DATE,
            plan_fingerprint=plan_window(source, WINDOW, DATE, str(self.kept)).fingerprint,
            partitions_path=str(self.kept),
            summary=request,
        )
        examples, manifest = standard_artifacts.Examples(), WindowManifest()
        examples.uri, manifest.uri = str(self.folder / name / "examples"), str(self.folder / name / "manifest")
        arguments = ["--runner=FnApiRunner", "--sdk_container_image=none"]
        context = BaseBeamExecutor.Context(arguments, tmp_dir=str(self.folder / "tmp"), unique_id=name)
        outputs = {"examples": [examples], "manifest": [manifest]}
        executor.HiveExampleGenExecutor(context).Do({}, outputs, component.exec_properties)
        return examples.uri
