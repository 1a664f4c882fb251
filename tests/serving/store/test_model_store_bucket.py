"""The model store in an object store: the same promises as in a folder, by real clients. No TensorFlow."""

import concurrent.futures
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from hivemill.common.errors import ConfigError, InfrastructureError, LockHeldError
from hivemill.common.storage import object_store
from hivemill.serving.rollout.rollout_lock import alone
from hivemill.serving.store import server_config
from hivemill.serving.store.bucket import BucketModelStore, open_store
from hivemill.serving.store.model_store import ModelStore
from tests.serving.store.test_model_store import RECORD, contents, saved_model
from tests.support.object_stores import KINDS, bucket

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(params=KINDS)
def place(request, monkeypatch, tmp_path_factory):
    with bucket(request.param, tmp_path_factory.mktemp("keys"), monkeypatch) as (objects, url):
        yield objects, f"{url}/models"


@pytest.fixture
def source(tmp_path):
    return saved_model(tmp_path / "export")


def fetched(url, version, folder):
    object_store.fetch(f"{url}/shop/{version}", folder)
    return contents(folder)


def test_place_decides_what_is_opened(place, tmp_path):
    assert type(open_store(tmp_path, "shop")) is ModelStore
    store = open_store(place[1], "shop")
    assert type(store) is BucketModelStore and store.place == place[1]
    with pytest.raises(ConfigError, match="holds credentials"):
        open_store("s3://user:secret@bucket/models", "shop")


def test_an_empty_store(place):
    store = open_store(place[1], "shop")
    assert store.versions() == [] and store.labels() == {} and store.audit() == []
    with pytest.raises(InfrastructureError, match=rf"{place[1]}/shop/7: the store has no version 7 \(it has: none\)"):
        store.path_of(7)
    assert place[0] == {}


def test_what_one_publishes_another_sees(place, source, tmp_path):
    version = open_store(place[1], "shop").publish(source, RECORD, "abc")
    other = open_store(place[1], "shop")
    assert other.versions() == [version] and other.labels() == {"stable": version}
    assert other.record(version)["run_id"] == "2026-11-15"
    assert other.place_of(version) == f"{place[1]}/shop/{version}"
    assert {name: data for name, data in fetched(place[1], version, tmp_path / "x").items()} == contents(source)
    assert [line["action"] for line in other.audit()] == ["publish", "label"]


def test_same_content_as_in_a_folder(place, source, tmp_path):
    local = ModelStore(tmp_path / "models", "shop")
    there = open_store(place[1], "shop")
    for store in (local, there):
        first = store.publish(source, RECORD, "a")
        store.publish(source, RECORD, "b")
        store.set_label("canary", first, "a try")
    names = {name for name in object_store.sizes(place[1]) if not name.startswith(".")}
    kept = [file for file in object_store.files_below(local.path) if not file.rpartition("/")[2].startswith(".")]
    assert {_anonymous(name) for name in names} == {_anonymous(name) for name in kept}
    assert [line["action"] for line in there.audit()] == [line["action"] for line in local.audit()]


def _anonymous(name):
    return "/".join("N" if part.isdecimal() else part for part in name.split("/"))


def test_server_config_names_the_bucket(place, source):
    store = open_store(place[1], "shop")
    version = store.publish(source, RECORD, "a")
    text = object_store.read_bytes(f"{place[1]}/models.config").decode()
    (model,) = server_config.parse_models_config(text).model_config_list.config
    assert model.base_path == f"{place[1]}/shop"
    assert list(model.model_version_policy.specific.versions) == [version]


def test_retention_removes_there_and_spares_what_has_a_label(place, source):
    store = open_store(place[1], "shop")
    versions = [store.publish(source, RECORD, fingerprint) for fingerprint in "abcd"]
    assert store.retain(1, 0.0) == versions[1:3]
    assert open_store(place[1], "shop").versions() == [versions[0], versions[3]]
    left = {name.split("/")[1] for name in object_store.sizes(place[1]) if name.startswith("shop/1")}
    assert left == {str(versions[0]), str(versions[3])}


def test_graph_is_last_of_a_version_and_labels_follow(tmp_path, monkeypatch, source):
    order = []
    with bucket("s3", tmp_path, monkeypatch, before_write=lambda method, keys: order.extend(keys)) as (_, url):
        open_store(f"{url}/models", "shop").publish(source, RECORD, "a")
    names = [_anonymous(name.split("models/")[1]) for name in order if ".locks" not in name and "models/" in name]
    graph = names.index("shop/N/saved_model.pb")
    assert all(names.index(name) < graph for name in names if name.startswith("shop/N/") and "saved_model" not in name)
    assert graph < names.index("shop/labels.json") < names.index("models.config")


def test_refused_write_leaves_the_labels_and_says_where(tmp_path, monkeypatch, source):
    refuse = []
    with bucket("s3", tmp_path, monkeypatch, before_write=lambda method, keys: 403 if refuse else None) as (_, url):
        store = open_store(f"{url}/models", "shop")
        version = store.publish(source, RECORD, "a")
        refuse.append(True)
        with pytest.raises(InfrastructureError, match="s3://bucket/folder/models/"):
            store.set_label("canary", version)
        refuse.clear()
        assert open_store(f"{url}/models", "shop").labels() == {"stable": version}


def test_rule_that_refuses_publishes_nothing(place, source):
    def refuse(labels):
        raise InfrastructureError("no")

    store = open_store(place[1], "shop")
    with pytest.raises(InfrastructureError, match="no"):
        store.publish(source, RECORD, "a", check=refuse)
    assert open_store(place[1], "shop").versions() == []


def test_of_many_writers_no_change_is_lost(place, source):
    version = open_store(place[1], "shop").publish(source, RECORD, "a")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: open_store(place[1], "shop").set_label(f"label-{n}", version), range(8)))
    store = open_store(place[1], "shop")
    assert set(store.labels()) == {"stable", *(f"label-{n}" for n in range(8))}
    assert len(store.audit()) == 10


def test_one_rollout_command_at_a_time(place, source):
    open_store(place[1], "shop").publish(source, RECORD, "a")
    told = pytest.raises(LockHeldError, match="a rollout command for shop")
    with alone(open_store(place[1], "shop")), told, alone(open_store(place[1], "shop")):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_publisher_killed_at_any_write_leaves_old_or_new(kind, tmp_path, monkeypatch, source):
    """The server kills the publisher before its Nth write; another one then publishes the same."""
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        sys.path.insert(0, "tests/serving")
        from tests.serving.store.test_model_store import RECORD
        from hivemill.serving.store.bucket import open_store
        open_store(sys.argv[1], "shop").publish(Path(sys.argv[2]), RECORD, "b")
        """
    )
    victim, left, kills = [], [0], 0

    def before_write(method, names):
        left[0] -= 1
        if left[0] == 0 and victim:
            victim[0].kill()
        return None

    with bucket(kind, tmp_path, monkeypatch, before_write=before_write) as (objects, url):
        old = open_store(f"{url}/models", "shop").publish(source, RECORD, "a")
        for number in range(1, 60):
            before = dict(objects)
            left[0] = number
            victim[:] = [subprocess.Popen([sys.executable, "-c", script, f"{url}/models", str(source)], cwd=ROOT)]
            code = victim[0].wait(60)
            victim.clear()
            if code == 0:
                break
            kills += 1
            seen = open_store(f"{url}/models", "shop")
            assert seen.labels() == {"stable": old} and set(seen.versions()) >= {old}
            again = open_store(f"{url}/models", "shop")
            new = again.publish(source, RECORD, "b")
            assert again.versions() == [old, new]
            assert [line["action"] for line in again.audit()].count("publish") == 2
            assert fetched(f"{url}/models", new, tmp_path / f"x{number}") == contents(source)
            json.loads(objects[next(name for name in objects if name.endswith("shop/labels.json"))])
            objects.clear()
            objects.update(before)
    assert kills >= 8
