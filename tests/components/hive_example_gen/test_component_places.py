"""The component through its real executor, its rows from a metastore's table, from a server's query, and from S3."""

import datetime
import json
from pathlib import Path

import pytest

pytest.importorskip("pymetastore", reason="the extra `hive` is not installed")
pytest.importorskip("impala", reason="the extra `hive` is not installed")

from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts

from hivemill.common.errors import InfrastructureError
from hivemill.components.artifacts import WindowManifest
from hivemill.components.hive_example_gen import executor
from hivemill.components.hive_example_gen.component import HiveLogExampleGen
from hivemill.components.hive_example_gen.options import HiveOptions, SourceOptions, WindowOptions
from hivemill.components.hive_example_gen.planning.window import plan_window
from tests.components.hive_example_gen.catalog import hive_server as hs
from tests.components.hive_example_gen.catalog import metastore_server as ms
from tests.support import s3_server

DATE = datetime.date(2026, 11, 15)
DAYS = (DATE - datetime.timedelta(days=1), DATE)
WINDOW = WindowOptions(train_days=1, validation_days=0)
IN_MEMORY = ["--runner=FnApiRunner", "--sdk_container_image=none"]
ROWS = b"1\x01a\n2\x01b\n"


def _run(source, folder):
    """The manifest of a run."""
    place = str(folder / "partitions")
    component = HiveLogExampleGen(
        source=source,
        window=WINDOW,
        date=DATE,
        plan_fingerprint=plan_window(source, WINDOW, DATE, place).fingerprint,
        partitions_path=place,
    )
    examples, written = standard_artifacts.Examples(), WindowManifest()
    examples.uri, written.uri = str(folder / "examples"), str(folder / "manifest")
    context = BaseBeamExecutor.Context(IN_MEMORY, tmp_dir=str(folder / "tmp"), unique_id="run")
    executor.HiveExampleGenExecutor(context).Do(
        {}, {"examples": [examples], "manifest": [written]}, component.exec_properties
    )
    assert all(any(Path(examples.uri, f"Split-{split}").iterdir()) for split in ("train", "eval"))
    return json.loads(Path(written.uri, "manifest.json").read_text())


def test_a_table_of_a_metastore(tmp_path):
    columns = {"user_id": "bigint", "name": "string"}
    partitions = []
    for day in DAYS:
        folder = tmp_path / "somewhere" / f"of {day}"
        folder.mkdir(parents=True)
        (folder / "000000_0").write_bytes(ROWS)
        partitions.append(([str(day)], ms.descriptor(columns, f"file:{folder}")))
    made = ms.table(ms.descriptor(columns, tmp_path / "somewhere"), {"dt": "string"})
    with ms.serving(ms.Handler(made, partitions)) as port:
        manifest = _run(SourceOptions(table=f"hive://127.0.0.1:{port}/logs.clicks"), tmp_path)
    assert (manifest["table"], manifest["num_rows"]) == ("logs.clicks", {"train": 2, "eval": 2})
    assert manifest["partitions"][1]["files"][0]["path"] == f"{tmp_path}/somewhere/of 2026-11-15/000000_0"


def _asking(port):
    return SourceOptions(
        server=f"hiveserver2://127.0.0.1:{port}/logs",
        query="SELECT * FROM clicks WHERE dt = '{start_date}'",
        hive=HiveOptions(auth="nosasl", timeout_seconds=5),
    )


def test_a_query(tmp_path):
    answer = hs.Answer({"user_id": "BIGINT", "name": "STRING"}, [(1, "a"), (2, None), (3, "c")])
    with hs.serving(hs.Handler({"clicks": answer})) as port:
        manifest = _run(_asking(port), tmp_path)
    assert manifest["num_rows"] == {"train": 3, "eval": 3}
    asked = [(entry["query"], entry["asked"]) for entry in manifest["partitions"]]
    assert asked == [
        ("SELECT * FROM clicks WHERE dt = '2026-11-14'", "settled"),
        ("SELECT * FROM clicks WHERE dt = '2026-11-15'", "2026-11-15"),
    ]


def test_a_query_that_breaks_off_in_a_worker(tmp_path):
    answer = hs.Answer({"user_id": "BIGINT"}, [(1,)] * 3000, breaks_after=1000)
    with (
        hs.serving(hs.Handler({"clicks": answer})) as port,
        pytest.raises(InfrastructureError, match="breaks off after 1,000 rows"),
    ):
        _run(_asking(port), tmp_path)


def test_a_table_on_s3(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    objects = {f"bucket/logs/clicks/dt={day}/000000_0": ROWS for day in DAYS}
    with s3_server.serving(objects) as port:
        url = f"s3://bucket/logs/clicks?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        manifest = _run(SourceOptions(table=url, columns={"user_id": "bigint", "name": "string"}), tmp_path)
    assert (manifest["table"], manifest["num_rows"]) == ("clicks", {"train": 2, "eval": 2})
    assert "endpoint" not in json.dumps(manifest)
