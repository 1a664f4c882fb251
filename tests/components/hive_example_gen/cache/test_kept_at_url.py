"""The component with kept conversions and artifacts in a bucket: as in folders, whatever happens in between."""

import datetime
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hivemill.common import progress
from hivemill.common.errors import DataCorruptError, DataNotReadyError, InfrastructureError
from hivemill.common.storage import urls
from hivemill.components.hive_example_gen import executor
from hivemill.components.hive_example_gen.cache import partition_record, quarantine
from hivemill.components.hive_example_gen.cache.entries import store_at
from hivemill.components.hive_example_gen.cache.partition_record import PartitionRecord, Shard
from hivemill.components.hive_example_gen.cache.tfrecord import TFRecordWriter
from hivemill.components.hive_example_gen.convert import convert_partition
from hivemill.components.hive_example_gen.options import BadRowOptions
from tests.components.hive_example_gen.cache.kept_case import Case, bucket_case, everything_below, forget, manifest_of
from tests.support.object_stores import KINDS

ROOT = Path(__file__).parents[4]
LONG_AGO = "2020-01-01T00:00:00.000Z"


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """An empty folder for temporary files, and afterwards again."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert [path.name for path in folder.iterdir() if path.name.startswith("hivemill")] == []


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(params=["s3", pytest.param("gs", marks=pytest.mark.slow)])
def either(request):
    """For what both stores do by the same code of ours."""
    return request.param


def _kept(objects):
    return {name.partition("partitions/")[2] for name in objects if "partitions/" in name and not name.endswith("/")}


def test_manifest_and_shards_are_the_same_as_in_a_folder(kind, tmp_path, monkeypatch):
    expected = Case(tmp_path, str(tmp_path / "root")).run()
    requests = []
    with bucket_case(kind, tmp_path, monkeypatch, requests=requests) as (case, objects):
        first = case.run()
        assert first == expected
        assert manifest_of(first)["num_rows"] == {"train": 200, "eval": 100}
        kept = _kept(objects)
        assert {name.split("/")[0] for name in kept if name[0] == "."} == {".records"}
        requests.clear()
        monkeypatch.setattr(
            executor.HiveExampleGenExecutor, "_make_beam_pipeline", lambda self: pytest.fail("a pipeline was made")
        )
        assert case.run("again") == expected
        assert _kept(objects) == kept
        assert sum(request.startswith("COPY") for request in requests) == 6
        of_shards = {request.split()[0] for request in requests if "/data-" in request}
        assert of_shards <= {"COPY"}, "no shard passes through this machine"


def test_a_partition_that_was_damaged_is_converted_again_and_no_other(either, tmp_path, monkeypatch):
    with bucket_case(either, tmp_path, monkeypatch) as (case, objects):
        expected = case.run()
        shards = sorted(name for name in objects if "/data-0" in name and "partitions/" in name)
        records = sorted(name for name in objects if name.endswith("/partition.json"))
        objects.pop(shards[0])
        objects[shards[1]] = objects[shards[1]][:-1]
        gone = {name.split("/")[-2] for name in shards[:2]} | {records[2].split("/")[-2]}
        objects[records[2]] = b"{"
        objects.pop(next(name for name in objects if "/.records/" in name))
        forget()
        before = _kept(objects)
        planned = case.plan().partitions
        assert {each.fingerprint for each in planned if not each.cached} == gone
        assert case.run("again") == expected
        changed = {name.split("/")[0] for name in _kept(objects) - before}
        assert changed == gone | {".records"}


class _Killer:
    """Kills a process when it writes an object whose name has `word`, which is then not written."""

    def __init__(self):
        self.process, self.word, self.seen = None, None, []

    def __call__(self, method, names):
        self.seen += names
        if self.process is None:
            return None
        if self.word in names[0]:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
        return 403 if self.process.poll() is not None else None


_CONVERTS = """
import sys, tempfile
sys.path[:0] = {paths!r}
tempfile.tempdir = {scratch!r}
from pathlib import Path
from tests.components.hive_example_gen.cache.kept_case import Case
from hivemill.components.hive_example_gen.convert import convert_partition
sys.stdin.readline()
case = Case(Path({folder!r}), {root!r})
for partition in case.plan().partitions:
    if partition.name == {name!r}:
        convert_partition(partition, str(case.table), case.source.bad_rows, case.kept)
        print("converted")
"""


def _converting(case, name, scratch):
    """A process that converts one partition once a line is written to it."""
    paths = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]
    code = _CONVERTS.format(paths=paths, scratch=str(scratch), folder=str(case.folder), root=case.root, name=name)
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    "word", [*(pytest.param(word, marks=pytest.mark.slow) for word in ("/data-", "/quarantine")), "/partition.json"]
)
def test_a_killed_conversion_leaves_nothing_that_anyone_sees(kind, word, tmp_path, monkeypatch):
    killer, modified = _Killer(), {}
    (tmp_path / "another").mkdir()
    with bucket_case(kind, tmp_path, monkeypatch, before_write=killer, modified=modified) as (case, objects):
        killer.word, killer.process = word, _converting(case, "dt=2026-11-14/hour=07", tmp_path / "another")
        assert killer.process.communicate("go\n", timeout=120)[0] == ""
        assert killer.process.returncode == -signal.SIGKILL
        assert not any(name.endswith("partition.json") for name in objects)
        assert any("/data-" in name for name in objects) is (word != "/data-")
        assert not any(partition.cached for partition in case.plan().partitions)
        left = _kept(objects)
        killer.process = None
        modified |= dict.fromkeys(objects, LONG_AGO)
        run = case.run()
        assert manifest_of(run)["num_rows"] == {"train": 200, "eval": 100}
        assert case.run("again") == run
        shards = {name for name in _kept(objects) if "/data-" in name}
        assert len(shards) == 6, "what the killed one left is gone, being old"
        assert not left & shards


class _Stop:
    """After so many writes the bucket takes none: from outside that is a kill, clean-up included."""

    def __init__(self):
        self.left = None

    def __call__(self, method, names):
        if self.left is None:
            return None
        self.left -= 1
        return 403 if self.left < 0 else None


@pytest.mark.slow
def test_stopped_before_every_write_it_goes_on_as_if_nothing_had_been(kind, tmp_path, monkeypatch):
    expected = Case(tmp_path, str(tmp_path / "root")).run()
    stop, done, writes = _Stop(), False, 0
    with bucket_case(kind, tmp_path, monkeypatch, before_write=stop) as (case, objects):
        while not done:
            objects.clear()
            forget()
            stop.left = writes
            try:
                done = case.run() == expected and stop.left >= 0
            except InfrastructureError as error:
                assert "cannot be" in error.message
            for name in [name for name in objects if name.endswith("/partition.json")]:
                _check_whole(objects, name)
            stop.left = None
            forget()
            assert case.run("again") == expected
            writes += 1
    assert writes > 20


def _check_whole(objects, name):
    for shard in json.loads(objects[name])["shards"]:
        assert len(objects[name.replace("partition.json", shard["name"])]) == shard["bytes"]


def test_leftovers_go_when_they_are_old_and_nothing_else(kind, tmp_path, monkeypatch):
    modified, now = {}, datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    with bucket_case(kind, tmp_path, monkeypatch, modified=modified) as (case, objects):
        (partition, *_) = case.plan().partitions
        record = convert_partition(partition, str(case.table), case.source.bad_rows, case.kept)
        case.store.remember(partition_record.PARTITION, {partition.fingerprint: record})
        stays = _kept(objects)
        prefix = next(iter(objects)).partition("folder/")[0] + "folder/partitions/"
        other = "ab" * 32
        old = [f"{partition.fingerprint}/data-00000-0123456789ab.gz", f"{other}/data-00000-0123456789ab.gz"]
        old += [f"{other}/quarantine.jsonl.gz", ".failures.x/begun", ".failures.x/y.json"]
        young = [f"{partition.fingerprint}/data-00001-ba9876543210.gz", "cd" * 32 + "/hash1", ".failures.z/begun"]
        notes = [f".reading/{other}.a:1:b", "of-somebody-else/file", "file"]
        for name, at in [*((n, LONG_AGO) for n in old), *((n, now) for n in (*young, *notes))]:
            objects[prefix + name], modified[prefix + name] = b"x", at
        modified |= {prefix + notes[1]: LONG_AGO, prefix + notes[2]: LONG_AGO}
        modified |= {prefix + name: LONG_AGO for name in stays}
        case.store.remove_leftovers()
        assert _kept(objects) == stays | set(young) | set(notes)


def test_two_at_once_do_not_mix(kind, tmp_path, monkeypatch):
    """What a runner does that takes a worker for dead: the slower one ends later, or never."""
    with bucket_case(kind, tmp_path, monkeypatch) as (case, _):
        partition = case.plan().partitions[0]
        place = case.source.place
        with case.store.writing(partition_record.PARTITION, partition.fingerprint) as slow:
            shard = slow.shard(0)
            shard.write_bytes(b"of the slow one")
            slow.done(shard)
            record = convert_partition(partition, place, case.source.bad_rows, case.kept)
            forget()
            assert partition_record.find(case.kept, partition.fingerprint) == record
            own = PartitionRecord(partition.fingerprint, partition.name, 1, (Shard(shard.name, 1, 15),), {})
            (slow.folder / partition_record.RECORD_NAME).write_text(json.dumps(own.to_json()))
        forget()
        assert partition_record.find(case.kept, partition.fingerprint) == own
        with case.store.local([(record.fingerprint, record.shards[0].name)]) as (path,):
            assert path.stat().st_size == record.shards[0].bytes, "who read the first record still finds its shards"


def test_what_fails_is_taken_back(kind, tmp_path, monkeypatch):
    with bucket_case(kind, tmp_path, monkeypatch) as (case, objects):
        with pytest.raises(ValueError), case.store.writing(partition_record.PARTITION, "ab" * 32) as entry:
            entry.shard(0).write_bytes(b"x")
            entry.done(entry.shard(0))
            raise ValueError
        assert _kept(objects) == set()


def test_an_error_of_a_worker_is_raised_as_itself(kind, tmp_path, monkeypatch):
    with bucket_case(kind, tmp_path, monkeypatch) as (case, objects):
        case.file(14).write_bytes(b"PAR1 no Parquet PAR1")
        with pytest.raises(DataCorruptError, match="hour=06/000000_0 cannot be read as Parquet: ") as raised:
            case.run()
        assert raised.value.hint.startswith("Write the file again")
        assert {name for name in _kept(objects) if name[0] == "."} == set()
        assert not any("examples/" in name for name in objects)


def test_too_many_bad_rows_say_how_to_see_them(either, tmp_path, monkeypatch):
    with bucket_case(either, tmp_path, monkeypatch) as (case, _):
        case.file(14).write_bytes(b"x\x01a\n" * 90)
        with pytest.raises(DataNotReadyError, match=r"row 1, column 'id'") as raised:
            case.run()
        (partition,) = (each for each in case.plan().partitions if each.name == "dt=2026-11-14/hour=06")
        place = f"{case.kept}/{partition.fingerprint}/quarantine.jsonl.gz"
        command = f"aws s3 cp {place} - | zcat" if either == "s3" else f"gcloud storage cat {place} | zcat"
        assert command in raised.value.message
        rows = list(quarantine.read(case.kept, partition.fingerprint))
        assert [(row.row, row.raw) for row in rows[:2]] == [(1, "x\x01a"), (2, "x\x01a")] and len(rows) == 90
        assert list(quarantine.read(case.kept, "ab" * 32)) == []


def test_no_bucket(kind, tmp_path, monkeypatch):
    with bucket_case(kind, tmp_path, monkeypatch) as (case, _):
        case.root = f"{kind}://no-bucket/folder"
        with pytest.raises(InfrastructureError, match=f"{kind}://no-bucket/folder/partitions/.* cannot be written"):
            case.run()


def test_no_permission_is_told_before_anything_is_converted(kind, tmp_path, monkeypatch):
    with bucket_case(kind, tmp_path, monkeypatch, before_write=lambda *_: 403) as (case, objects):
        monkeypatch.setattr(
            executor.HiveExampleGenExecutor, "_make_beam_pipeline", lambda self: pytest.fail("a pipeline was made")
        )
        with pytest.raises(InfrastructureError, match=f"{case.kept}/.* cannot be written: ") as raised:
            case.run()
        assert "credentials" in raised.value.hint
        assert _kept(objects) == set()


def test_a_bucket_that_refuses_later_is_told_by_the_workers(either, tmp_path, monkeypatch):
    def refuse(_, names):
        return 403 if "/data-" in names[0] else None

    with (
        bucket_case(either, tmp_path, monkeypatch, before_write=refuse) as (case, _),
        pytest.raises(InfrastructureError, match=r"/data-00000-\w+.gz cannot be written: .*(ACCESS|PERMISSION)_DENIED"),
    ):
        case.run()


def test_a_full_disk_of_a_worker_names_its_scratch_folder(tmp_path, monkeypatch):
    def full(self, records):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(TFRecordWriter, "write", full)
    with bucket_case("s3", tmp_path, monkeypatch) as (case, objects):
        with pytest.raises(InfrastructureError, match=f"the disk is full: {tmp_path}/scratch: No space left") as raised:
            case.run()
        assert raised.value.hint.startswith("Free space there")
        assert _kept(objects) == set()


@pytest.mark.slow
def test_nobody_answers(tmp_path, monkeypatch):
    with bucket_case("s3", tmp_path, monkeypatch) as (case, _):
        pass
    urls._opened.cache_clear()
    with pytest.raises(
        InfrastructureError, match=r"s3://bucket/folder/partitions/\w+ cannot be listed: .*NETWORK_CONNECTION"
    ):
        case.plan()


def test_progress_counts_partitions_of_other_machines(either, tmp_path, monkeypatch):
    reports = []
    with bucket_case(either, tmp_path, monkeypatch) as (case, _):
        progress.listen(lambda *report: reports.append(report))
        try:
            case.run()
        finally:
            progress.listen(None)
    assert reports[-1] == (300, 300, "rows")


def _filled(objects, prefix, number):
    """As many entries as a window of that many partitions has."""
    for index in range(number):
        key = f"{index:064x}"
        record = PartitionRecord(key, f"dt={index}", 7, (Shard("data-00000-x.gz", 7, 3),), {"id": ("int64", False)})
        objects[f"{prefix}/partitions/{key}/data-00000-x.gz"] = b"abc"
        objects[f"{prefix}/partitions/{key}/partition.json"] = json.dumps(record.to_json()).encode()
    return [f"{index:064x}" for index in range(number)]


def test_a_plan_of_hours_costs_no_request_per_partition(either, tmp_path, monkeypatch):
    requests = []
    with bucket_case(either, tmp_path, monkeypatch, requests=requests) as (case, objects):
        keys = _filled(objects, "bucket/folder" if either == "s3" else "folder", 200)
        case.store.remember(partition_record.PARTITION, partition_record.find_all(case.kept, keys))
        forget()
        requests.clear()
        found = partition_record.find_all(case.kept, [*keys, "ab" * 32])
        assert (list(found), found[keys[0]].rows) == (keys, 7)
        assert len([request for request in requests if "token" not in request]) <= 4
        objects.pop(next(name for name in objects if name.endswith(f"{keys[5]}/data-00000-x.gz")))
        forget()
        assert set(partition_record.find_all(case.kept, keys)) == set(keys) - {keys[5]}, (
            "what is remembered proves nothing"
        )
        memory = next(name for name in objects if "/.records/" in name)
        objects[memory] = b"damaged"
        forget()
        assert len(partition_record.find_all(case.kept, keys)) == 199


def test_only_the_newest_memory_stays(either, tmp_path, monkeypatch):
    with bucket_case(either, tmp_path, monkeypatch) as (case, objects):
        keys = _filled(objects, "bucket/folder" if either == "s3" else "folder", 20)
        for asked in (keys[:10], keys[5:], keys[8:]):
            case.store.remember(partition_record.PARTITION, partition_record.find_all(case.kept, asked))
            forget()
        (memory,) = (name for name in _kept(objects) if name.startswith(".records"))
        case.store.remember(partition_record.PARTITION, partition_record.find_all(case.kept, keys[6:]))
        assert memory in _kept(objects), "all of these are in it"


def test_scratch_that_a_killed_process_left_is_removed_after_a_day(scratch, tmp_path, monkeypatch):
    for name, age in (("hivemill-kept-old", 90_000), ("hivemill-kept-young", 3_600), ("of-somebody", 90_000)):
        (scratch / name).mkdir()
        os.utime(scratch / name, (os.stat(scratch).st_mtime - age,) * 2)
    with bucket_case("s3", tmp_path, monkeypatch) as (case, _):
        convert_partition(case.plan().partitions[0], str(case.table), BadRowOptions(), case.kept)
    assert {path.name for path in scratch.iterdir()} == {"hivemill-kept-young", "of-somebody"}
    (scratch / "hivemill-kept-young").rmdir()


def test_artifacts_elsewhere_than_what_is_kept(either, tmp_path, monkeypatch):
    with bucket_case(either, tmp_path, monkeypatch) as (case, _):
        expected = case.run()
        key = case.plan().partitions[0].fingerprint
        name = partition_record.find(case.kept, key).shards[0].name
        here = str(tmp_path / "a" / "b.gz")
        case.store.hand_out([(key, name, here)])
        (tmp_path / "kept" / key).mkdir(parents=True)
        os.rename(here, tmp_path / "kept" / key / name)
        store_at(str(tmp_path / "kept")).hand_out([(key, name, f"{case.root}/there.gz")])
        assert everything_below(case.root)["there.gz"] == case.shards["Split-train/data_tfrecord-00000-of-00004.gz"]
        assert expected
