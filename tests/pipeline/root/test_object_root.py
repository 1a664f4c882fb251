"""Records of runs with the root in an object store: this process's copy of them, and what is put when."""

import time

import pytest

from hivemill.common.errors import LockHeldError
from hivemill.common.storage import object_store
from hivemill.pipeline.root import lock, object_root
from hivemill.pipeline.runs import records
from hivemill.pipeline.runs.records import RunFolder
from tests.support.object_stores import KINDS, bucket

RECORD = {"run_id": "one", "state": "succeeded", "exit_code": 0, "date": "2026-11-15"}


@pytest.fixture(params=KINDS)
def url(request, monkeypatch, tmp_path):
    with bucket(request.param, tmp_path, monkeypatch) as (_, place):
        yield f"{place}/mill"


@pytest.fixture(autouse=True)
def copies(monkeypatch):
    monkeypatch.setattr(object_root, "_COPIES", {})


def another_process(url):
    """A copy that knows nothing of this process's."""
    made = object_root.ObjectRoot(url)
    made.fetch()
    return made


def test_folder_on_a_disk_is_itself(tmp_path):
    assert object_root.folder_of(str(tmp_path)) == tmp_path
    assert object_root.behind(tmp_path) is None
    object_root.put_changes(tmp_path)
    object_root.fetch_run(tmp_path, "one")
    assert object_root.place_of(tmp_path / "x") == str(tmp_path / "x") and not list(tmp_path.iterdir())


def test_what_changes_is_put_and_another_process_reads_it(url):
    root = object_root.folder_of(url)
    assert object_root.folder_of(url) == root
    folder = RunFolder(root, "one")
    folder.write(RECORD)
    (folder.path / "nodes").mkdir()
    folder.file("nodes/Trainer.json").write_text("{}")
    folder.file("report.html").write_text("page")
    object_root.put_changes(root)
    other = another_process(url)
    assert RunFolder(other.path, "one").read() == RECORD
    assert not (other.path / "runs" / "one" / "report.html").exists()
    other.fetch_run("one")
    assert (other.path / "runs" / "one" / "report.html").read_text() == "page"
    assert object_root.place_of(folder.file("report.html")) == f"{url}/runs/one/report.html"


def test_only_what_changed_is_put(tmp_path, monkeypatch):
    written = []
    with bucket("s3", tmp_path, monkeypatch, before_write=lambda method, keys: written.extend(keys)) as (_, place):
        root = object_root.folder_of(f"{place}/mill")
        RunFolder(root, "one").write(RECORD)
        RunFolder(root, "two").write(RECORD)
        object_root.put_changes(root)
        written.clear()
        object_root.put_changes(root)
        assert written == []
        RunFolder(root, "two").write(RECORD | {"state": "failed"})
        object_root.put_changes(root)
        assert written == ["bucket/folder/mill/runs/two/run.json"]


def test_record_comes_after_the_files_that_it_speaks_of(tmp_path, monkeypatch):
    written = []
    with bucket("s3", tmp_path, monkeypatch, before_write=lambda method, keys: written.extend(keys)) as (_, place):
        root = object_root.folder_of(f"{place}/mill")
        for name in ("run.json", "verdict.json", "zzz.txt"):
            (root / "runs" / "one").mkdir(parents=True, exist_ok=True)
            (root / "runs" / "one" / name).write_text("{}")
        object_root.put_changes(root)
    assert [name.rpartition("/")[2] for name in written if name.endswith((".json", ".txt"))][-1] == "run.json"


def test_file_that_is_gone_from_the_copy_goes_there_and_one_that_was_never_fetched_stays(url):
    object_store.write_bytes(f"{url}/runs/one/run.json", b"{}")
    object_store.write_bytes(f"{url}/runs/one/nodes/Trainer.json", b"{}")
    object_store.write_bytes(f"{url}/runs/one/log.txt", b"a log")
    root = object_root.folder_of(url)
    RunFolder(root, "one").clear_nodes()
    object_root.put_changes(root)
    assert sorted(object_store.sizes(url)) == ["runs/one/log.txt", "runs/one/run.json"]


def test_locked_sees_what_was_put_meanwhile_and_puts_at_the_end_even_after_an_error(url):
    root = object_root.folder_of(url)
    object_store.write_bytes(f"{url}/runs/one/run.json", b'{"state": "failed"}')
    object_store.write_bytes(f"{url}/runs/one/log.txt", b"first\n")
    with pytest.raises(ZeroDivisionError), lock.run_lock(root, "one"):
        assert RunFolder(root, "one").read() == {"state": "failed"}
        with open(RunFolder(root, "one").file("log.txt"), "a") as log:
            log.write("second\n")
        RunFolder(root, "one").write(RECORD)
        raise ZeroDivisionError
    assert object_store.read_bytes(f"{url}/runs/one/log.txt") == b"first\nsecond\n"
    assert RunFolder(another_process(url).path, "one").read() == RECORD


def test_lock_is_one_for_all_machines_and_is_shown(url, monkeypatch):
    root = object_root.folder_of(url)
    with lock.run_lock(root, "one"):
        assert lock.owner(root)["run_id"] == "one"
        assert records.status(root)["lock"]["run_id"] == "one"
        other = another_process(url)
        monkeypatch.setitem(object_root._COPIES, "other", other)
        with pytest.raises(LockHeldError, match="one, process"), lock.run_lock(other.path, "two"):
            pass
    assert lock.owner(root) is None
    assert lock.remove(root, None) is None


def test_order_of_verdicts_is_the_stores(url):
    """Two files of one copy would have the time at which they were fetched."""
    for run in ("b", "a"):
        object_store.write_bytes(f"{url}/runs/{run}/verdict.json", b"{}")
        time.sleep(1.1 if url.startswith("s3") else 0)
    times = object_store.modified(f"{url}/runs")
    root = object_root.folder_of(url)
    for name, when in times.items():
        assert (root / "runs" / name).stat().st_mtime == pytest.approx(when.timestamp(), abs=0.001)


def test_only_one_backfill_at_a_time(url, monkeypatch):
    root = object_root.folder_of(url)
    with lock.backfill_lock(root, root / "backfills", "first", print):
        other = another_process(url)
        monkeypatch.setitem(object_root._COPIES, "other", other)
        told = pytest.raises(LockHeldError, match="first, process")
        with told, lock.backfill_lock(other.path, other.path / "backfills", "second", print):
            pass
        with lock.run_lock(other.path, "a run of the first"):
            pass
