"""Records of runs: written whole, read back, and honest about the dead."""

import datetime
import json

import pytest

from hivemill.pipeline.root import lock
from hivemill.pipeline.runs import records


def _write(root, run_id, **changes):
    record = records.new_record(run_id, datetime.date(2026, 11, 15), attempt=1, runner="local") | changes
    records.RunFolder(root, run_id).write(record)


def test_run_without_a_living_owner_is_shown_as_killed(tmp_path):
    _write(tmp_path, "a")
    assert [run["state"] for run in records.list_runs(tmp_path)] == ["killed"]
    with lock.run_lock(tmp_path, "a"):
        assert [run["state"] for run in records.list_runs(tmp_path)] == ["running"]
        assert records.status(tmp_path)["running"][0]["run_id"] == "a"


def test_status_names_the_last_finished_run(tmp_path):
    _write(tmp_path, "2026-11-15-a", state="succeeded", finished_utc="2026-11-15T03:00:00+00:00")
    _write(tmp_path, "2026-11-08-b", state="failed", finished_utc="2026-11-16T03:00:00+00:00")
    assert records.status(tmp_path)["last_finished"]["run_id"] == "2026-11-08-b"
    assert [run["run_id"] for run in records.list_runs(tmp_path)] == ["2026-11-08-b", "2026-11-15-a"]


def test_damaged_record_is_skipped_not_fatal(tmp_path):
    _write(tmp_path, "a", state="failed", finished_utc="x")
    bad = tmp_path / "runs" / "b"
    bad.mkdir()
    (bad / records.RUN_JSON).write_text('{"half')
    assert [run["run_id"] for run in records.list_runs(tmp_path)] == ["a"]


def test_node_records_are_read_back(tmp_path):
    folder = records.RunFolder(tmp_path, "a")
    folder.write_node(records.NodeRecord("Trainer", "succeeded", 1.5, rows=10, peak_memory_bytes=2**20))
    assert folder.node("Trainer") == json.loads((folder.path / "nodes" / "Trainer.json").read_text())
    folder.clear_nodes()
    assert folder.node("Trainer") is None


DAMAGES = {
    "cut short": b'{"version": 1, "run',
    "not UTF-8": b"\xff\xfe\x00",
    "too deep": b"[" * 100_000,
    "a list": b"[1]",
    "empty": b"{}",
    "no state": json.dumps({"version": 1, "run_id": "b"}).encode(),
    "wrong types": json.dumps({**records.new_record("b", datetime.date(2026, 11, 15), 1), "nodes": 7}).encode(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_stops_nobody_and_is_named(tmp_path, damage):
    _write(tmp_path, "a", state="failed", finished_utc="x")
    _write(tmp_path, "b")
    records.RunFolder(tmp_path, "b").file(records.RUN_JSON).write_bytes(DAMAGES[damage])
    records.RunFolder(tmp_path, "a").file(records.VERDICT_JSON).write_bytes(DAMAGES[damage])
    assert [run["run_id"] for run in records.list_runs(tmp_path)] == ["a"]
    assert damage == "wrong types" or records.RunFolder(tmp_path, "b").read() is None
    records.check_no_other_job(tmp_path, None)
    status = records.status(tmp_path)
    assert status["last_finished"]["run_id"] == "a" and status["verdict"] is None
    (named,) = status["damaged_runs"]
    assert named.startswith(str(tmp_path / "runs" / "b" / "run.json"))
