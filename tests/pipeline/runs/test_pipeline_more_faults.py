"""Whole runs below which something moves: the bar, the metadata, a partition, the clock, a disk gone read-only."""

from __future__ import annotations

import contextlib
import datetime
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from hivemill.common import clock
from hivemill.pipeline.runs import run
from hivemill.serving.store import model_store
from hivemill.serving.store.model_store import ModelStore
from tests.pipeline.shop import (
    RUN_DATE,
    document,
    hivemill,
    hivemill_command,
    make_shop,
    mounted_disk,
    only_run,
    rewrite_column,
)

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A root with one finished run, whose version is stable."""
    config = make_shop(tmp_path_factory.mktemp("shop"), rows_per_day=800)
    assert hivemill(config, "--set", "gates.metrics={clicks: {min: 5}}", "run", "--date", RUN_DATE) == 0
    return config


@pytest.fixture
def store(shop):
    return ModelStore(shop.parent / "root" / "models", "shop")


def _run(config, *words):
    return hivemill(config, "--set", "gates.metrics={clicks: {min: 5}}", *words, "run", "--date", RUN_DATE)


def _newest_run(config):
    folders = (config.parent / "root" / "runs").glob("*/run.json")
    return max(folders, key=lambda file: file.stat().st_mtime).parent


def test_run_judges_again_where_stable_moves_while_it_judges(shop, store, monkeypatch, capsys):
    first = store.labels()["stable"]
    publish = ModelStore.publish
    moved = []

    def another_is_first(self, saved_model, *arguments, **options):
        """As another root or a rollout does, between the judging and the push."""
        if not moved:
            moved.append(publish(store, store.path_of(first), {"run_id": "another"}, "another"))
            store.set_label("stable", moved[0])
        return publish(self, saved_model, *arguments, **options)

    monkeypatch.setattr(ModelStore, "publish", another_is_first)
    assert _run(shop, "--set", "training.epochs=1") == 0
    assert "Judges again" in capsys.readouterr().err
    record = document(_newest_run(shop), "run.json")
    states = {node["node_id"]: node["state"] for node in record["nodes"]}
    assert (states["Trainer"], states["Evaluator"], states["Pusher"]) == ("cached", "succeeded", "succeeded")
    assert (record["attempt"], record["baseline_version"]) == (2, moved[0])
    assert document(_newest_run(shop), "verdict.json")["model"]["baseline_version"] == moved[0]
    assert store.record(record["model_version"])["baseline_version"] == moved[0]


def test_run_that_was_killed_after_its_push_is_not_judged_against_itself(tmp_path, monkeypatch):
    config = make_shop(tmp_path, rows_per_day=800)
    publish = ModelStore.publish

    def killed_after(self, *arguments, **options):
        publish(self, *arguments, **options)
        raise KeyboardInterrupt  # no `except Exception` on the way holds it up, as none holds up a kill

    monkeypatch.setattr(ModelStore, "publish", killed_after)
    assert _run(config) == 130
    monkeypatch.setattr(ModelStore, "publish", publish)
    assert _run(config) == 0
    record = document(only_run(config), "run.json")
    store = ModelStore(tmp_path / "root" / "models", "shop")
    assert store.versions() == [record["model_version"]]
    assert (record["attempt"], record["baseline_version"]) == (2, None)
    assert document(only_run(config), "verdict.json")["model"]["baseline_version"] is None


def test_metadata_that_refuses_connections_ends_a_run_with_6_and_the_next_one_goes_on(shop, store, capsys):
    versions = store.versions()
    words = ["--set", "metadata.retries=1", "--set", "training.epochs=3"]
    with _locked_by_another_process(shop.parent / "root" / "metadata.db"):
        assert _run(shop, *words) == 6
    assert "metadata" in capsys.readouterr().err
    assert store.versions() == versions
    assert _run(shop, *words) == 0
    assert len(store.versions()) == len(versions) + 1


@contextlib.contextmanager
def _locked_by_another_process(file: Path):
    """SQLite's locks are POSIX locks: they keep out other processes only."""
    code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN EXCLUSIVE')"
    command = [sys.executable, "-c", f"{code}; print('held', flush=True); input()", str(file)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        yield
    finally:
        holder.kill()
        holder.wait()


def test_clock_that_jumps_back_a_year_gives_versions_in_order_and_a_run_that_ends(shop, store, monkeypatch):
    newest = store.versions()[-1]
    a_year_ago = SimpleNamespace(time=lambda: time.time() - 365 * 86_400)
    monkeypatch.setattr(model_store, "time", a_year_ago)
    assert _run(shop, "--set", "training.learning_rate=0.002") == 0
    record = document(_newest_run(shop), "run.json")
    assert record["model_version"] > newest
    assert store.versions()[-1] == record["model_version"]
    assert store.labels()["stable"] in store.versions()


def test_clock_that_jumps_back_a_day_in_the_middle_of_a_run_changes_no_outcome(shop, store, monkeypatch, capsys):
    """As a machine does whose clock was wrong until it met a time server. Nothing counts on the order of two times."""
    compiled, shift = run._Run.compiled, []

    class Jumped(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.datetime.now(tz) - datetime.timedelta(days=len(shift))

    def jumps_first(self):
        shift.append("a day")
        return compiled(self)

    monkeypatch.setattr(clock, "datetime", SimpleNamespace(datetime=Jumped, timezone=datetime.timezone))
    monkeypatch.setattr(model_store, "time", SimpleNamespace(time=lambda: time.time() - 86_400 * len(shift)))
    monkeypatch.setattr(run._Run, "compiled", jumps_first)
    newest = store.versions()[-1]
    assert _run(shop, "--set", "training.learning_rate=0.0015") == 0
    record = document(_newest_run(shop), "run.json")
    assert record["finished_utc"] < record["started_utc"]
    assert record["state"] == "succeeded" and record["model_version"] > newest
    assert all(0 <= node["seconds"] < 600 for node in record["nodes"])
    assert (_newest_run(shop) / "report.html").exists()
    capsys.readouterr()
    assert _run(shop, "--set", "training.learning_rate=0.0015") == 0
    assert "Nothing to do" in capsys.readouterr().err
    assert hivemill(shop, "status") == 0


def test_partition_that_changes_between_plan_and_reading_stops_the_run_with_3(shop, monkeypatch, capsys):
    """The last of those that share the table: it is another one afterwards."""
    compiled = run._Run.compiled

    def changed_first(self):
        rewrite_column(shop.parent, "2026-11-13", "position", [1, 2, 3])
        return compiled(self)

    monkeypatch.setattr(run._Run, "compiled", changed_first)
    rewrite_column(shop.parent, "2026-11-13", "position", [2, 3])  # not converted yet in this form
    assert _run(shop) == 3
    assert "Run again: the new plan takes the files as they are then." in capsys.readouterr().err
    stopped = _newest_run(shop).name
    monkeypatch.setattr(run._Run, "compiled", compiled)
    assert _run(shop) in (0, 4)  # the changed column may be drift; what counts is that it is another run
    assert _newest_run(shop).name != stopped


@pytest.fixture
def disk(tmp_path):
    """A disk of its own, which only root can make and turn read-only."""
    with mounted_disk(tmp_path / "disk", "300m") as place:
        yield place


def _remount(disk: Path, mode: str) -> bool:
    command = ["mount", "-o", f"remount,{mode}", disk]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_root_on_a_read_only_disk_ends_with_6_before_any_cost(tmp_path, disk, capsys):
    config = make_shop(tmp_path, rows_per_day=100)
    if not _remount(disk, "ro"):
        pytest.skip("this machine does not let a test remount")
    assert hivemill(config, "--set", f"root={disk}/root", "run", "--date", RUN_DATE) == 6
    assert "cannot be written" in capsys.readouterr().err


def test_disk_that_turns_read_only_during_the_run_ends_with_6_and_the_run_goes_on_afterwards(tmp_path, disk):
    """As a kernel does with a disk that has errors: `remount,ro` waits for nobody."""
    config = make_shop(tmp_path, rows_per_day=600)
    words = ["--set", f"root={disk}/root", "--set", "gates.metrics={clicks: {min: 5}}", "run", "--date", RUN_DATE]
    process = subprocess.Popen(hivemill_command(config, *words), cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    while not list(disk.glob("root/runs/*/nodes/StatisticsGen.json")):
        assert process.poll() is None
        time.sleep(0.05)
    # Open files keep a tmpfs from being remounted; a read-only bind mount over it does not ask them.
    subprocess.run(["mount", "--bind", disk, disk], check=True)
    try:
        while subprocess.run(["mount", "-o", "remount,ro,bind", disk], capture_output=True).returncode:
            assert process.poll() is None  # a file that is open for writing at that moment keeps it from turning
        _, error = process.communicate(timeout=300)
        assert process.returncode == 6, error
        assert "cannot be written" in error or "ead-only" in error
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
    assert hivemill(config, *words) == 0
