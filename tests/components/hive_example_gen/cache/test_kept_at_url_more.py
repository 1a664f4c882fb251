"""Conversions kept in a bucket: the label join, files that end a process, and workers with folders of their own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from hivemill.common.errors import DataCorruptError, DataNotReadyError
from hivemill.components.hive_example_gen.cache import crash_guard
from hivemill.components.hive_example_gen.convert import convert_partition
from hivemill.components.hive_example_gen.rows.label_join import build, open_indexes
from tests.components.hive_example_gen.cache import kept_case
from tests.components.hive_example_gen.cache.kept_case import bucket_case, forget, manifest_of
from tests.components.hive_example_gen.cache.test_reading import _orc
from tests.components.hive_example_gen.rows.test_label_join_component import WINDOW
from tests.components.hive_example_gen.rows.test_label_join_component import Case as JoinTables

ROOT = Path(__file__).parents[4]


@pytest.fixture(params=["s3", pytest.param("gs", marks=pytest.mark.slow)])
def kind(request):
    return request.param


class JoinCase(kept_case.Case):
    window = WINDOW

    def __init__(self, folder, root):
        self.folder, self.root = folder, root
        self.tables = JoinTables.__new__(JoinTables) if (folder / "log").exists() else JoinTables(folder)
        self.tables.folder = folder

    @property
    def source(self):
        return self.tables.source

    @property
    def label(self):
        return self.tables.label


@pytest.fixture(autouse=True)
def nothing_fetched(monkeypatch):
    monkeypatch.setattr(open_indexes, "_FETCHED", open_indexes._Fetched())


def test_labels_joined_from_indexes_in_a_bucket(kind, tmp_path, monkeypatch):
    expected = JoinCase(tmp_path, str(tmp_path / "root")).run()
    assert manifest_of(expected)["label_join"]["clicks"][1]["without_impression"] == 1
    with bucket_case(kind, tmp_path, monkeypatch, JoinCase) as (case, objects):
        assert case.run() == expected
        indexes = {name.rpartition("/")[0] for name in objects if name.endswith("/index.json")}
        assert len(indexes) == 8, "of clicks and of impressions, four days each"
        monkeypatch.setattr(build, "_build", lambda *_: pytest.fail("built again"))
        monkeypatch.setattr(open_indexes, "_FETCHED", open_indexes._Fetched())
        forget()
        for name in [name for name in objects if name.endswith("/partition.json")]:
            del objects[name]
        assert case.run("again") == expected


def test_indexes_that_were_asked_long_ago_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(open_indexes, "MAX_PAIRS_HELD", 1)
    with bucket_case("s3", tmp_path, monkeypatch, JoinCase) as (case, _):
        plans = case.plan().partitions[0].rules.join.clicks
        first = build.opened(plans, case.kept)
        assert len(open_indexes._FETCHED._held) == 1
        assert [len(index) for index in build.opened(plans, case.kept)] == [len(index) for index in first]


def test_a_damaged_index_is_built_again(tmp_path, monkeypatch):
    with bucket_case("gs", tmp_path, monkeypatch, JoinCase) as (case, objects):
        plans = case.plan().partitions[0].rules.join.clicks
        for plan in plans:
            build.ensure(plan, case.kept)
        damaged = next(name for name in objects if name.endswith(f"{plans[0].fingerprint}/time"))
        objects[damaged] = objects[damaged][:-8]
        assert set(build.find_all(plans, case.kept)) == {plan.fingerprint for plan in plans[1:]}
        build.ensure(plans[0], case.kept)
        assert set(build.find_all(plans, case.kept)) == {plan.fingerprint for plan in plans}


class OrcCase(kept_case.Case):
    @property
    def source(self):
        return super().source.model_copy(update={"columns": None, "format": "orc"})


@pytest.mark.slow
def test_a_file_that_ended_a_process_on_another_machine_is_refused(kind, tmp_path, monkeypatch):
    with bucket_case(kind, tmp_path, monkeypatch, OrcCase) as (case, objects):
        for day in (13, 14, 15):
            for hour in ("06", "07"):
                _orc(case.file(day, hour), damaged=(day, hour) == (15, "07"))
        partition = case.plan().splits["eval"][1]
        folder = "folder/partitions/" if kind == "gs" else "bucket/folder/partitions/"
        note = f"{folder}.reading/{partition.fingerprint}.another-machine:1:0"
        objects[note] = b""
        with pytest.raises(DataCorruptError, match=r"hour=07/000000_0 is damaged: reading it ends the process"):
            case.run()
        assert note in objects, "for the next run: nothing has changed"
        assert len([name for name in objects if ".reading/" in name and not name.endswith("/")]) == 1


def test_a_note_of_this_number_in_an_earlier_life_of_the_container_is_none_of_a_living_process(tmp_path):
    assert not crash_guard._is_alive(f"{socket.gethostname()}:{os.getpid()}:0")


def test_notes_at_a_url_are_left_for_orc_only(tmp_path, monkeypatch):
    requests = []
    with bucket_case("s3", tmp_path, monkeypatch, requests=requests) as (case, _):
        text = case.plan().partitions[0]
        text = text.__class__(**{**text.__dict__, "spec": text.spec.model_copy(update={"format": "text"})})
        convert_partition(text, str(case.table), case.source.bad_rows, case.kept)
        assert not any(".reading" in request for request in requests)


@contextlib.contextmanager
def _pool(folder):
    """Hivemill's worker pool with another working directory and another place for temporary files."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "tmp").mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp")}
    command = [sys.executable, "-m", "hivemill.pipeline.orchestrators.beam.worker_pool", f"--service_port={port}"]
    pool = subprocess.Popen(command, env=environment, cwd=folder, start_new_session=True)
    try:
        grpc.channel_ready_future(grpc.insecure_channel(f"localhost:{port}")).result(60)
        yield port
    finally:
        os.killpg(pool.pid, signal.SIGKILL)
        pool.wait(60)


@pytest.mark.slow
def test_workers_that_share_no_folder(kind, tmp_path, monkeypatch):
    expected = JoinCase(tmp_path, str(tmp_path / "root")).run()
    with bucket_case(kind, tmp_path, monkeypatch, JoinCase) as (case, _), _pool(tmp_path / "worker") as port:
        engine = ["--runner=PortableRunner", "--job_endpoint=embed", "--sdk_container_image=none"]
        engine += ["--environment_type=EXTERNAL", f"--environment_config=localhost:{port}"]
        monkeypatch.setattr(build, "_build", lambda *_: pytest.fail("built here"))
        monkeypatch.chdir(tmp_path)
        assert case.run(beam_arguments=engine) == expected
        assert list((tmp_path / "worker" / "tmp").glob("hivemill*")) == []
        broken = case.tables.folder / "clicks" / "dt=2026-11-14" / "hour=00" / "000000_0"
        broken.write_text(broken.read_text().replace("2026-11-14", "2026-11-11"))
        with pytest.raises(DataNotReadyError, match=r"clicks of 2026-11-14: .* rows cannot be used") as raised:
            case.run("broken", engine)
        assert "partition_slack" in raised.value.hint
