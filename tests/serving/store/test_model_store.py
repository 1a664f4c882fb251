"""The model store: layout, labels, crashes at any moment, two writers, broken disks. No TensorFlow."""

import errno
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.serving.store import model_store
from hivemill.serving.store.model_store import ModelStore

ROOT = Path(__file__).resolve().parents[3]
RECORD = {"run_id": "2026-11-15", "metrics": {"auc": 0.71}, "baseline_version": None}


def saved_model(folder: Path, text: str = "graph", num_variables: int = 2) -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_text(text)
    (folder / "fingerprint.pb").write_text("f")
    for i in range(num_variables):
        (folder / "variables" / f"variables.data-{i:05d}").write_bytes(bytes([i % 256]) * 20_000)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != model_store.RECORD_FILE]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "models", "shop")


@pytest.fixture
def source(tmp_path):
    return saved_model(tmp_path / "export")


def test_an_empty_store(store):
    assert store.versions() == [] and store.labels() == {}
    with pytest.raises(InfrastructureError, match=r"no version 7 of shop \(it has: none\)"):
        store.path_of(7)


def test_publish(store, source):
    before = int(time.time())
    version = store.publish(source, RECORD, "abc")
    assert before <= version <= int(time.time())
    assert store.versions() == [version]
    assert contents(store.path_of(version)) == contents(source)
    record = store.record(version)
    assert record["run_id"] == "2026-11-15" and record["metrics"] == {"auc": 0.71}
    assert record["source_fingerprint"] == "abc" and record["model_version"] == version
    assert store.labels() == {"stable": version}


def test_the_first_version_stays_stable_and_versions_ascend(store, source):
    versions = [store.publish(source, RECORD, fingerprint) for fingerprint in "abc"]
    assert versions == sorted(set(versions)) == store.versions()
    assert store.labels() == {"stable": versions[0]}


def test_a_clock_that_went_back_does_not_reuse_numbers(store, source, monkeypatch):
    first = store.publish(source, RECORD, "a")
    monkeypatch.setattr(model_store.time, "time", lambda: 1000.0)
    assert store.publish(source, RECORD, "b") == first + 1


def test_the_same_source_is_the_same_version(store, source):
    first = store.publish(source, RECORD, "a")
    store.publish(source, RECORD, "b")
    assert store.publish(source, RECORD, "a") == first
    assert len(store.versions()) == 2


def test_set_label(store, source):
    first, second = (store.publish(source, RECORD, fingerprint) for fingerprint in "ab")
    store.set_label("canary", second)
    assert store.labels() == {"stable": first, "canary": second}
    with pytest.raises(InfrastructureError, match=rf"no version 5 of shop \(it has: {first}, {second}\)"):
        store.set_label("stable", 5)
    assert store.labels() == {"stable": first, "canary": second}


def test_models_config_is_what_tensorflow_serving_parses(store, source):
    first, second = (store.publish(source, RECORD, fingerprint) for fingerprint in "ab")
    store.publish(source, RECORD, "unlabelled")
    store.set_label("canary", second)
    other = ModelStore(store.path, "other")
    third = other.publish(source, RECORD, "a")
    configs = parse_model_server_config((store.path / "models.config").read_text()).model_config_list.config
    by_name = {config.name: config for config in configs}
    assert sorted(by_name) == ["other", "shop"]
    shop = by_name["shop"]
    assert shop.base_path == str(store.folder) and shop.model_platform == "tensorflow"
    assert list(shop.model_version_policy.specific.versions) == sorted([first, second])
    assert dict(shop.version_labels) == {"stable": first, "canary": second}
    assert dict(by_name["other"].version_labels) == {"stable": third}


def test_models_config_quotes_any_path(tmp_path, source):
    store = ModelStore(tmp_path / 'a "b" \\ é\n', "shop")
    store.publish(source, RECORD, "a")
    (config,) = parse_model_server_config((store.path / "models.config").read_text()).model_config_list.config
    assert config.base_path == str(store.folder)


def parse_model_server_config(text: str):
    """Field names and numbers as in tensorflow_serving/config/model_server_config.proto (the parts written here)."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    file = text_format.Parse(
        """
        name: "model_server_config_subset.proto" package: "subset" syntax: "proto3"
        message_type { name: "Specific" field { name: "versions" number: 1 type: TYPE_INT64 label: LABEL_REPEATED } }
        message_type { name: "Policy"
          field { name: "specific" number: 102 type: TYPE_MESSAGE type_name: ".subset.Specific"
                  label: LABEL_OPTIONAL } }
        message_type { name: "ModelConfig"
          field { name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
          field { name: "base_path" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
          field { name: "model_platform" number: 4 type: TYPE_STRING label: LABEL_OPTIONAL }
          field { name: "model_version_policy" number: 7 type: TYPE_MESSAGE type_name: ".subset.Policy"
                  label: LABEL_OPTIONAL }
          field { name: "version_labels" number: 8 type: TYPE_MESSAGE label: LABEL_REPEATED
                  type_name: ".subset.ModelConfig.VersionLabelsEntry" }
          nested_type { name: "VersionLabelsEntry" options { map_entry: true }
            field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
            field { name: "value" number: 2 type: TYPE_INT64 label: LABEL_OPTIONAL } } }
        message_type { name: "List"
          field { name: "config" number: 1 type: TYPE_MESSAGE type_name: ".subset.ModelConfig" label: LABEL_REPEATED } }
        message_type { name: "ModelServerConfig"
          field { name: "model_config_list" number: 1 type: TYPE_MESSAGE type_name: ".subset.List"
                  label: LABEL_OPTIONAL } }
        """,
        descriptor_pb2.FileDescriptorProto(),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("subset.ModelServerConfig"))
    return text_format.Parse(text, kind())


def _publish_many(path: str, source: str, name: str, count: int) -> None:
    for i in range(count):
        ModelStore(path, "shop").publish(Path(source), RECORD, f"{name}{i}")


def test_publishers_at_once_lose_nothing(store, source):
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_publish_many, args=(str(store.path), str(source), name, 5)) for name in ("x", "y", "z")
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    fingerprints = {store.record(version)["source_fingerprint"] for version in store.versions()}
    assert fingerprints == {f"{name}{i}" for name in "xyz" for i in range(5)}
    assert store.labels()["stable"] == store.versions()[0]


PUBLISH = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from hivemill.serving.store.model_store import ModelStore
    print("ready", flush=True)
    sys.stdin.readline()
    ModelStore(sys.argv[1], "shop").publish(Path(sys.argv[2]), {"run_id": "killed"}, sys.argv[3])
    """
)


def _publisher(store: ModelStore, source: Path, fingerprint: str) -> subprocess.Popen:
    arguments = [sys.executable, "-c", PUBLISH, str(store.path), str(source), fingerprint]
    process = subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


def test_killed_at_any_moment_a_version_is_complete_or_absent(store, tmp_path):
    source = saved_model(tmp_path / "export", num_variables=100)
    expected = contents(source)
    started = time.monotonic()
    whole = _publisher(store, source, "whole")
    whole.communicate("go\n")
    seconds = time.monotonic() - started
    moments = random.Random(11)
    outcomes = {"absent": 0, "complete": 0}
    for attempt in range(25):
        process = _publisher(store, source, f"killed{attempt}")
        before = store.versions()
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(moments.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for version in store.versions():
            assert contents(store.path_of(version)) == expected
            assert store.record(version)["source_fingerprint"]
        outcomes["complete" if len(store.versions()) > len(before) else "absent"] += 1
        parse_model_server_config((store.path / "models.config").read_text())
    assert outcomes["absent"] and outcomes["complete"], outcomes  # the kills did fall on both sides of the rename
    published = [store.publish(source, RECORD, f"killed{attempt}") for attempt in range(25)]
    assert len(set(published)) == 25 and set(published) < set(store.versions())
    assert not list(store.path.rglob(".*.tmp"))


@pytest.mark.parametrize("after", ["rename", "labels"])
def test_killed_between_the_files_the_next_run_completes_the_publication(store, source, after, monkeypatch):
    name = "write_json_atomically" if after == "rename" else "write_text_atomically"
    with monkeypatch.context() as patch:
        patch.setattr(model_store, name, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.publish(source, RECORD, "a")
    (version,) = store.versions()
    assert store.publish(source, RECORD, "a") == version
    assert store.labels() == {"stable": version}
    assert str(version) in (store.path / "models.config").read_text()


def test_the_leftovers_of_a_dead_writer_go_and_those_of_a_living_one_stay(store, tmp_path):
    source = saved_model(tmp_path / "export", num_variables=2_000)
    dead = store.folder / ".1700000000.dead.tmp"
    saved_model(dead)
    living = _publisher(store, source, "living")
    living.stdin.write("go\n")
    living.stdin.flush()
    deadline = time.monotonic() + 20
    while dead.exists() or not list(store.folder.glob(".*.tmp")):
        assert time.monotonic() < deadline and living.poll() is None
        time.sleep(0.001)
    version = store.publish(saved_model(tmp_path / "small"), RECORD, "second")  # waits for the living one
    living.communicate()
    assert living.returncode == 0
    assert len(store.versions()) == 2 and store.versions()[1] == version
    assert len(contents(store.path_of(store.versions()[0]))) == 2_002
    assert not list(store.folder.glob(".*.tmp"))


def test_what_is_no_saved_model_is_refused(store, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InfrastructureError, match=r"empty: there is no saved_model.pb"):
        store.publish(tmp_path / "empty", RECORD, "a")
    assert not store.path.exists()


@pytest.mark.parametrize("name", ["", ".", "a/b", "../up", "a b"])
def test_names_that_are_no_names(tmp_path, store, source, name):
    with pytest.raises(ConfigError, match="must be letters"):
        ModelStore(tmp_path, name)
    version = store.publish(source, RECORD, "a")
    with pytest.raises(ConfigError, match="must be letters"):
        store.set_label(name, version)


def test_a_root_that_cannot_be_written(tmp_path, source):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InfrastructureError, match=r"model store .*file/models: .*Not a directory"):
        ModelStore(tmp_path / "file" / "models", "shop").publish(source, RECORD, "a")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path, source):
    (tmp_path / "models").mkdir(mode=0o500)
    with pytest.raises(InfrastructureError, match="Make it writable for this user"):
        ModelStore(tmp_path / "models", "shop").publish(source, RECORD, "a")


def test_a_disk_that_fills_leaves_the_store_as_it_was(store, source, tmp_path):
    """The real error of a write that the system refuses, by a limit on file size in a process of its own."""
    version = store.publish(source, RECORD, "a")
    config = (store.path / "models.config").read_text()
    big = saved_model(tmp_path / "big")
    (big / "variables" / "variables.data-00000").write_bytes(b"x" * 1_000_000)
    code = textwrap.dedent(
        f"""
        import resource, signal, sys
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, {resource.RLIM_INFINITY}))
        {textwrap.indent(PUBLISH, " " * 8).strip()}
        """
    )
    process = subprocess.run(
        [sys.executable, "-c", code, str(store.path), str(big), "b"],
        cwd=ROOT,
        input="go\n",
        capture_output=True,
        text=True,
    )
    assert process.returncode != 0
    assert "InfrastructureError: model store" in process.stderr and "File too large" in process.stderr
    assert "Free space on that disk" in process.stderr
    assert store.versions() == [version] and store.labels() == {"stable": version}
    assert (store.path / "models.config").read_text() == config
    assert not list(store.path.rglob(".*.tmp"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_messages_of_full_and_read_only_disks(store, source, monkeypatch, number):
    def fail(_source, target):
        raise OSError(number, os.strerror(number), target)

    monkeypatch.setattr(model_store.shutil, "copyfile", fail)
    with pytest.raises(InfrastructureError, match=os.strerror(number)) as caught:
        store.publish(source, RECORD, "a")
    assert "the store is as it was before" in caught.value.hint and str(store.folder) in caught.value.message
    assert "Check store.path" not in caught.value.hint
    assert store.versions() == []


def test_a_damaged_labels_file_names_itself(store, source):
    store.publish(source, RECORD, "a")
    (store.folder / "labels.json").write_text("{")
    with pytest.raises(InfrastructureError, match=r"labels.json: not valid JSON"):
        store.labels()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\xff\xfe", "not valid JSON in UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"version": 1, "labels": {"stable": "7"}}', "`labels.stable`"),
        (b'{"version": 1, "labels": {}, "removing": 7}', "`removing`"),
        (b'{"version": 1, "labels": {}, "also_served": null}', "`also_served`"),
        (b'{"version": 1, "labels": {}, "rollout": 5}', "`rollout"),
    ],
)
def test_damage_of_labels_is_told_and_never_says_remove(store, source, content, why):
    store.publish(source, RECORD, "a")
    (store.folder / "labels.json").write_bytes(content)
    with pytest.raises(InfrastructureError, match=why) as caught:
        store.labels()
    assert "Do not remove it" in str(caught.value.hint)


def test_another_models_damage_stops_no_publish_and_keeps_what_it_serves(store, source, tmp_path):
    other = ModelStore(store.path, "other")
    served = other.publish(source, RECORD, "o")
    (other.folder / "labels.json").write_bytes(b"\xff")
    version = store.publish(source, RECORD, "a")
    config = (store.path / "models.config").read_text()
    assert str(served) in config and str(version) in config
    with pytest.raises(InfrastructureError, match=r"labels\.json"):
        other.publish(source, RECORD, "p")


def test_a_models_config_that_is_no_text_is_written_anew(store, source):
    store.publish(source, RECORD, "a")
    (store.path / "models.config").write_bytes(b"\xff\xfe")
    version = store.publish(source, RECORD, "b")
    assert str(store.labels()["stable"]) in (store.path / "models.config").read_text() and version in store.versions()


def test_a_folder_with_the_largest_number_is_no_version(store, source):
    (store.folder / str(2**63 - 1)).mkdir(parents=True)
    version = store.publish(source, RECORD, "a")
    assert store.versions() == [version] and version < 2**32


def test_the_store_does_not_depend_on_where_the_model_came_from(store, source):
    version = store.publish(source, RECORD, "a")
    expected = contents(source)
    (source / "saved_model.pb").write_text("changed in place")
    shutil.rmtree(source / "variables")
    assert contents(store.path_of(version)) == expected | {"saved_model.pb": b"graph"}


def test_labels_file_is_versioned(store, source):
    version = store.publish(source, RECORD, "a")
    document = json.loads((store.folder / "labels.json").read_text())
    assert document["version"] == 1 and document["labels"] == {"stable": version}
    (store.folder / "labels.json").write_text(json.dumps(document | {"version": 2}))
    with pytest.raises(InfrastructureError, match=r"labels.json: `version` must be 1; received 2"):
        store.labels()
