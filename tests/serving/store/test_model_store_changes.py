"""The store's audit log, retention, server files, and writers at once."""

import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import pytest

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.serving.store import audit, model_store, server_config
from hivemill.serving.store.audit import AuditLog
from hivemill.serving.store.model_store import ModelStore
from tests.serving.rollout.rollouts import machine, make_store, metrics


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path, 3)


def aged(store, version, hours):
    """Makes a version look older."""
    file = store.path_of(version) / "hivemill_version.json"
    record = json.loads(file.read_text())
    record["created_utc"] = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - hours * 3600))
    file.write_text(json.dumps(record))


def test_every_change_is_told_once_with_who_where_when_and_why(store):
    old, _, new = store.versions()
    store.set_label("canary", new, why="by hand")
    lines = store.audit()
    assert [line["action"] for line in lines] == ["publish", "label", "publish", "publish", "label"]
    assert [line["run_id"] for line in lines if line["action"] == "publish"] == ["run-0", "run-1", "run-2"]
    last = lines[-1]
    assert last["why"] == "by hand" and last["labels"] == {"stable": old, "canary": new}
    assert last["who"] and last["host"] == os.uname().nodename and last["pid"] == os.getpid()
    assert last["time_utc"].endswith("+00:00")
    assert store.state().change == last


def test_a_user_without_a_name(store, monkeypatch):
    monkeypatch.setattr(audit.getpass, "getuser", lambda: {}["no entry"])
    store.set_label("canary", store.versions()[0])
    assert store.audit()[-1]["who"] == f"uid {os.getuid()}"


def test_a_torn_line_is_cut_off_and_a_damaged_one_named(store):
    file = store.folder / "audit.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"id": "torn')
    assert len(store.audit()) == 4
    store.set_label("canary", store.versions()[1])
    assert file.read_bytes().startswith(whole) and len(store.audit()) == 5
    file.write_bytes(b"edited\n" + file.read_bytes())
    with pytest.raises(InfrastructureError, match=r"audit\.jsonl:1: every line must be a JSON object"):
        store.audit()


def test_a_log_that_does_not_exist_has_no_lines(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    assert log.lines() == [] and log.ids() == set()
    log.append({"id": "é"})
    assert log.ids() == {"é"}


def _label(path, name, count):
    for number in range(count):
        store = ModelStore(path, "shop")
        store.set_label(f"{name}{number}", store.versions()[0], why=name)


def test_writers_at_once_lose_no_label_and_no_line(store):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_label, args=(str(store.path), name, 8)) for name in "xyz"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    wanted = {f"{name}{number}" for name in "xyz" for number in range(8)}
    assert store.labels().keys() == wanted | {"stable"}
    assert len({line["id"] for line in store.audit()}) == len(store.audit()) == 4 + 24
    config = server_config.parse_models_config((store.path / "models.config").read_text()).model_config_list.config[0]
    assert dict(config.version_labels) == store.labels()


def _publish_slowly(path, source, copying, go_on):
    copy = shutil.copyfile

    def slowly(*arguments):
        copying.set()
        assert go_on.wait(60)
        copy(*arguments)

    model_store.shutil.copyfile = slowly
    ModelStore(path, "shop").publish(Path(source), {}, "slow")


def test_labels_move_while_a_version_is_copied(store, tmp_path):
    """A rollback must not wait for gigabytes."""
    context = multiprocessing.get_context("spawn")
    copying, go_on = context.Event(), context.Event()
    arguments = (str(store.path), str(tmp_path / "export"), copying, go_on)
    publisher = context.Process(target=_publish_slowly, args=arguments)
    publisher.start()
    assert copying.wait(60)
    before = store.versions()
    store.set_label("canary", before[1])
    assert store.versions() == before and publisher.is_alive()
    go_on.set()
    publisher.join()
    assert publisher.exitcode == 0 and len(store.versions()) == len(before) + 1
    assert store.labels() == {"stable": before[0], "canary": before[1]}


def test_what_a_check_refuses_under_the_lock_leaves_no_version(store, tmp_path):
    """Labels may move while a version is copied: the publisher's check has the last word."""
    seen = []

    def check(labels):
        seen.append(dict(labels))
        if len(seen) == 1:
            store.set_label("stable", store.versions()[1])
        else:
            raise ConfigError("judged against another version")

    before = store.versions()
    with pytest.raises(ConfigError, match="judged against another"):
        store.publish(tmp_path / "export", {}, "late", check=check)
    assert [labels["stable"] for labels in seen] == before[:2]
    assert store.versions() == before and not list(store.folder.glob(".*.tmp"))


def test_retention_spares_labels_rollouts_and_the_young(tmp_path):
    store = make_store(tmp_path, 8)
    versions = store.versions()
    store.set_label("canary", versions[2])
    for version in versions[:7]:
        aged(store, version, hours=48)
    aged(store, versions[4], hours=23)
    assert store.retain(keep_versions=2, grace_hours=24) == [versions[1], versions[3], versions[5]]
    assert store.versions() == [versions[0], versions[2], versions[4], versions[6], versions[7]]
    last = store.audit()[-1]
    assert last["action"] == "remove" and last["removed"] == [versions[1], versions[3], versions[5]]
    assert store.retain(keep_versions=2, grace_hours=24) == []
    assert store.state().removing == ()


def test_retention_spares_both_sides_of_a_rollout_and_the_way_back(tmp_path):
    store = make_store(tmp_path, 4)
    first, second, third, fourth = store.versions()
    machine(store, None).start(second)
    assert store.retain(1, 0) == [third]
    machine(store, None, percentages=(100,)).step(metrics(store))
    assert store.labels() == {"stable": second, "canary": second, "previous": first}
    assert store.retain(1, 0) == [] and store.versions() == [first, second, fourth]


def test_a_version_copied_in_by_hand_is_as_old_as_its_folder(tmp_path):
    store = make_store(tmp_path, 2)
    (store.folder / "5").mkdir()
    assert store.retain(1, 1) == []
    os.utime(store.folder / "5", (0, 0))
    assert store.retain(1, 1) == [5]


def test_labels_of_versions_that_are_gone_are_refused(store):
    with pytest.raises(InfrastructureError, match="no version 5 of shop"):
        store.set_label("canary", 5)
    assert len(store.audit()) == 4


def test_a_store_of_before_the_audit_log_goes_on(store):
    old = store.versions()[0]
    (store.folder / "labels.json").write_text(json.dumps({"version": 1, "labels": {"stable": old}}))
    (store.folder / "audit.jsonl").unlink()
    store.set_label("canary", old)
    assert [line["action"] for line in store.audit()] == ["publish"] * 3 + ["label"]


@pytest.mark.parametrize("content", ['{"version": 1, "labels": {"stable": "5"}}', "[]", '{"version": 1, "labels": []}'])
def test_a_labels_file_with_something_else(store, content):
    (store.folder / "labels.json").write_text(content)
    with pytest.raises(InfrastructureError, match=r"labels\.json: "):
        store.labels()


@pytest.mark.parametrize("url", ["s3://bucket/models", "gs://bucket", "hdfs://name:8020/models", "file:///models"])
def test_object_stores_are_refused(url):
    with pytest.raises(ConfigError, match="must be a folder of a POSIX file system"):
        ModelStore(url, "shop")


def test_extra_files_are_part_of_the_version(tmp_path):
    store = make_store(tmp_path, 1)
    version = store.publish(tmp_path / "export", {}, "x", {"assets.extra/tf_serving_warmup_requests": b"warm"})
    assert (store.path_of(version) / "assets.extra" / "tf_serving_warmup_requests").read_bytes() == b"warm"


def test_batching_and_monitoring_files_are_valid_and_the_operators_from_then_on(tmp_path):
    store = make_store(tmp_path, 1)
    (store.path / "batching.config").write_text("max_batch_size { value: 7 }\n")
    store.publish(tmp_path / "export", {}, "x")
    assert (store.path / "batching.config").read_text() == "max_batch_size { value: 7 }\n"
    batching = _parsed(server_config.STATIC_FILES["batching.config"], _BATCHING)
    assert (batching.max_execution_batch_size.value, batching.batch_timeout_micros.value) == (256, 1000)
    assert batching.enable_large_batch_splitting.value and batching.max_batch_size.value > 256
    monitoring = _parsed((store.path / "monitoring.config").read_text(), _MONITORING)
    assert monitoring.prometheus_config.enable and monitoring.prometheus_config.path.startswith("/")


# Fields and numbers as in session_bundle_config.proto and monitoring_config.proto, which the PyPI package leaves out.
_BATCHING = """
    message_type { name: "Flag" field { name: "value" number: 1 type: TYPE_BOOL label: LABEL_OPTIONAL } }
    message_type { name: "Value" field { name: "value" number: 1 type: TYPE_INT64 label: LABEL_OPTIONAL } }
    message_type { name: "Top"
      field { name: "max_batch_size" number: 1 type: TYPE_MESSAGE type_name: ".t.Value" label: LABEL_OPTIONAL }
      field { name: "batch_timeout_micros" number: 2 type: TYPE_MESSAGE type_name: ".t.Value" label: LABEL_OPTIONAL }
      field { name: "max_enqueued_batches" number: 3 type: TYPE_MESSAGE type_name: ".t.Value" label: LABEL_OPTIONAL }
      field {
        name: "enable_large_batch_splitting" number: 8 type: TYPE_MESSAGE type_name: ".t.Flag" label: LABEL_OPTIONAL }
      field {
        name: "max_execution_batch_size" number: 9 type: TYPE_MESSAGE type_name: ".t.Value" label: LABEL_OPTIONAL } }
"""
_MONITORING = """
    message_type { name: "Prometheus"
      field { name: "enable" number: 1 type: TYPE_BOOL label: LABEL_OPTIONAL }
      field { name: "path" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL } }
    message_type { name: "Top"
      field { name: "prometheus_config" number: 1 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".t.Prometheus"
      } }
"""


def _parsed(text, types):
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    head = 'name: "t.proto" package: "t" syntax: "proto3"'
    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(head + types, descriptor_pb2.FileDescriptorProto()))
    return text_format.Parse(text, message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Top"))())
