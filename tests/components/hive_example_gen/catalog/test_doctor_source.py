"""`hivemill doctor` really asks the place that a source names."""

import pytest

from tests.support import s3_server

pytest.importorskip("pymetastore", reason="the extra `hive` is not installed")
pytest.importorskip("impala", reason="the extra `hive` is not installed")

from hivemill.components.hive_example_gen.options import HiveOptions, SourceOptions
from hivemill.pipeline.doctor import checks
from tests.components.hive_example_gen.catalog import hive_server as hs
from tests.components.hive_example_gen.catalog import metastore_server as ms


def _finding(**options):
    (finding,) = checks._source(SourceOptions(**options))
    return finding


def _metastore(tmp_path, values):
    sd = ms.descriptor({"id": "int"}, tmp_path)
    return ms.Handler(ms.table(sd, {"dt": "string"}), [([value], sd) for value in values])


def test_a_metastore(tmp_path):
    with ms.serving(_metastore(tmp_path, ["2026-11-14", "2026-11-15"])) as port:
        found = _finding(table=f"hive://127.0.0.1:{port}/logs.clicks")
        nothing = _finding(table=f"hive://127.0.0.1:{port}/logs.nothing")
    assert (found.state, found.message) == (
        "ok",
        f"hive://127.0.0.1:{port}/logs.clicks: 2 of dt=2026-11-14 to dt=2026-11-15",
    )
    assert (nothing.state, nothing.exit_code) == ("failed", 2)
    assert "SHOW TABLES" in nothing.fix


def test_a_metastore_that_does_not_answer(tmp_path):
    with ms.serving(_metastore(tmp_path, [])) as port:
        empty = _finding(table=f"hive://127.0.0.1:{port}/logs.clicks")
    gone = _finding(table=f"hive://127.0.0.1:{port}/logs.clicks")
    assert (empty.state, empty.exit_code) == ("failed", 2)
    assert (gone.state, gone.exit_code) == ("failed", 6)
    assert f"127.0.0.1:{port}" in gone.message
    assert gone.fix


def test_a_server_of_queries():
    options = {"query": "SELECT * FROM clicks WHERE dt = '{start_date}'", "hive": HiveOptions(auth="nosasl")}
    with hs.serving(hs.Handler({"clicks": hs.Answer({"id": "INT"})})) as port:
        found = _finding(server=f"hiveserver2://127.0.0.1:{port}/logs", **options)
    gone = _finding(server=f"hiveserver2://127.0.0.1:{port}/logs", **options)
    assert found.state == "ok"
    assert found.message.endswith("answers, and gives 1 columns for source.query")
    assert (gone.state, gone.exit_code) == ("failed", 6)


def test_an_object_store(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    with s3_server.serving({"bucket/logs/dt=2026-11-15/f": b"x"}) as port:
        url = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        found, empty = _finding(table=f"s3://bucket/logs?{url}"), _finding(table=f"s3://bucket/nothing?{url}")
    assert (found.state, found.message) == ("ok", "s3://bucket/logs: 1 of dt=2026-11-15 to dt=2026-11-15")
    assert (empty.state, empty.exit_code) == ("failed", 2)
