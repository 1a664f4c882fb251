"""A small table, and the real executor with kept conversions and artifacts in a folder or in a bucket."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import json
import struct
from pathlib import Path

from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from hivemill.common.storage import object_store, urls
from hivemill.components.hive_example_gen.cache import entries
from hivemill.components.hive_example_gen.options import SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.window import plan_window
from tests.support import object_stores

DATE = datetime.date(2026, 11, 15)
WINDOW = WindowOptions(train_days=2, validation_days=0, completeness={"min_share_of_median": None})
IN_MEMORY = ["--runner=FnApiRunner", "--sdk_container_image=none"]


class Case:
    """Three days of two hours, one bad row; `root` is a folder or a URL, under which all is written."""

    def __init__(self, folder: Path, root: str):
        self.table, self.root, self.folder = folder / "table", root, folder
        for day in (13, 14, 15):
            for hour in ("06", "07"):
                self.file(day, hour).parent.mkdir(parents=True, exist_ok=True)
                if not self.file(day, hour).exists():
                    rows = [b"%d\x01a\x02b\n" % (100 * day + row) for row in range(50)]
                    bad = [b"x\x01a\n"] if (day, hour) == (14, "07") else []
                    self.file(day, hour).write_bytes(b"".join(rows + bad))

    def file(self, day, hour="06"):
        return self.table / f"dt=2026-11-{day}" / f"hour={hour}" / "000000_0"

    window = WINDOW
    label = None

    @property
    def source(self):
        return SourceOptions(
            table=str(self.table),
            columns={"id": "bigint", "tags": "array<string>"},
            partition_columns={"dt": "string", "hour": "int"},
            bad_rows={"max_share": 0.1},
        )

    @property
    def kept(self):
        return f"{self.root}/partitions"

    @property
    def store(self):
        return entries.store_at(self.kept)

    def plan(self):
        return plan_window(self.source, self.window, DATE, self.kept, self.label)

    def run(self, name="run", beam_arguments=IN_MEMORY):
        """The manifest's bytes, and the rows of the shards by their place in the artifact."""
        from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
        from tfx.types import standard_artifacts

        from hivemill.components.artifacts import WindowManifest
        from hivemill.components.hive_example_gen import executor
        from hivemill.components.hive_example_gen.component import HiveLogExampleGen

        component = HiveLogExampleGen(
            source=self.source,
            window=self.window,
            label=self.label,
            date=DATE,
            plan_fingerprint=self.plan().fingerprint,
            partitions_path=self.kept,
        )
        examples, manifest = standard_artifacts.Examples(), WindowManifest()
        examples.uri, manifest.uri = f"{self.root}/{name}/examples", f"{self.root}/{name}/manifest"
        context = BaseBeamExecutor.Context(beam_arguments, tmp_dir=str(self.folder / "tmp"), unique_id=name)
        outputs = {"examples": [examples], "manifest": [manifest]}
        executor.HiveExampleGenExecutor(context).Do({}, outputs, component.exec_properties)
        self.shards = everything_below(examples.uri)
        return everything_below(manifest.uri)["manifest.json"], {name: rows(data) for name, data in self.shards.items()}


def rows(shard):
    """The order of features in the bytes of an example is of no meaning, and another one each time."""
    data, found = gzip.decompress(shard), []
    while data:
        (length,) = struct.unpack_from("<Q", data)
        found.append(data[12 : 12 + length])
        data = data[16 + length :]
    return [dict(sorted(row.items())) for row in ExamplesToRecordBatchDecoder().DecodeBatch(found).to_pylist()]


def everything_below(place):
    if urls.is_url(place):
        return {name: object_store.read_bytes(f"{place}/{name}") for name in object_store.sizes(place)}
    return {name: (Path(place) / name).read_bytes() for name in object_store.files_below(Path(place))}


@contextlib.contextmanager
def bucket_case(kind, folder, monkeypatch, made=Case, **how):
    """Yields (case, objects by name)."""
    forget()
    with object_stores.bucket(kind, folder, monkeypatch, **how) as (objects, url):
        yield made(folder, url), objects
    forget()


def forget():
    """What a process remembers of a bucket."""
    entries._of_url.cache_clear()


def manifest_of(run):
    return json.loads(run[0])
