"""The copy of the store in a bucket: its order of writes, kills at every one of them, and what refuses to be written.

Arrow's own clients against an S3 server and a Google Cloud Storage server in this process.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.serving.rollout.controller import RolloutMachine
from hivemill.serving.rollout.options import RolloutOptions
from hivemill.serving.store.labels import read_state
from hivemill.serving.store.mirror import StoreMirror
from hivemill.serving.store.model_store import ModelStore
from hivemill.serving.store.server_config import parse_models_config
from tests.serving.rollout.rollouts import FileServer, machine, make_store, metrics, served
from tests.support import gs_server, s3_server

ROOT = Path(__file__).parents[3]
TOP = "bucket/folder/"
OPTIONS = RolloutOptions(min_hours=0, min_impressions=1, load_timeout_seconds=3, percentages=(10, 100))


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def url_at(port, kind="s3"):
    place = f"bucket/folder?endpoint_override=127.0.0.1:{port}&scheme=http"
    return f"s3://{place}&region=us-east-1" if kind == "s3" else f"gs://anonymous@{place}&retry_limit_seconds=3"


class Bucket:
    """`objects` by key below the URL; `writes` in their order; `refuse(method, keys)` gives a status to answer."""

    def __init__(self, kind):
        self.kind = kind
        self.top = TOP if kind == "s3" else TOP.removeprefix("bucket/")
        self.all, self.writes, self.refuse = {}, [], lambda method, keys: None

    @property
    def objects(self):
        """Without the empty objects that stand for folders."""
        return {key.removeprefix(self.top): value for key, value in self.all.items() if not key.endswith("/")}

    def before_write(self, method, keys):
        keys = [key.removeprefix(self.top) for key in keys]
        status = self.refuse(method, keys)
        if not status:
            self.writes += [(method, key) for key in keys if not key.endswith("/")]
        return status

    def assert_that_no_reader_meets_half_a_version(self):
        """What models.config names is there, as a whole, and what labels.json names is in models.config."""
        config = self.objects.get("models.config", b"").decode()
        served = {}
        for model in parse_models_config(config).model_config_list.config:
            assert model.base_path == f"{self.kind}://{TOP}{model.name}"
            served[model.name] = set(model.model_version_policy.specific.versions)
            for version in served[model.name]:
                folder = f"{model.name}/{version}"
                files = json.loads(self.objects[f"{folder}/hivemill_files.json"])["files"]
                assert "saved_model.pb" in files
                there = {name: len(self.objects[f"{folder}/{name}"]) for name in files}
                assert there == {name: file["bytes"] for name, file in files.items()}


@pytest.fixture(params=["s3", pytest.param("gs", marks=pytest.mark.slow)])
def bucket(request, monkeypatch):
    made = Bucket(request.param)
    monkeypatch.setattr(gs_server, "PAGE_OBJECTS", 3)  # no listing in one page
    server = s3_server.serving if made.kind == "s3" else gs_server.serving_here
    with server(made.all, before_write=made.before_write) as port:
        made.url = url_at(port, made.kind)
        yield made


both = pytest.mark.parametrize("bucket", ["s3", "gs"], indirect=True)
on_google_storage = pytest.mark.parametrize("bucket", ["gs"], indirect=True)


def add_variables(store, content=b"weights"):
    """Every version gets two files more, as a real one has."""
    for version in store.versions():
        for name in ("variables/variables.index", "assets/vocabulary"):
            file = store.path_of(version) / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content + str(version).encode())
    return store


@pytest.fixture
def store(tmp_path):
    return add_variables(make_store(tmp_path, 2))


def expected(store, state=None):
    """All objects that a copy of the store has."""
    files = {}
    for version in store.versions():
        folder = store.path_of(version)
        files |= {
            f"shop/{version}/{path.relative_to(folder)}": path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
    return files


def assert_is_copy(bucket, store):
    own = ("models.config", "shop/labels.json")
    told = {key: value for key, value in bucket.objects.items() if not key.endswith("hivemill_files.json")}
    static = {name: (store.path / name).read_bytes() for name in ("batching.config", "monitoring.config")}
    assert {key: value for key, value in told.items() if key not in own} == expected(store) | static
    (config,) = parse_models_config(told["models.config"].decode()).model_config_list.config
    assert dict(config.version_labels) == store.labels()
    labels = json.loads(told["shop/labels.json"])
    assert labels == {"version": 1, "labels": store.labels(), "rollout": store.state().rollout}
    of_versions = {Path(key).name for key in bucket.all if key.endswith("/")} - {"shop", "folder"}
    assert of_versions <= {"assets", "variables", *map(str, store.versions())}
    bucket.assert_that_no_reader_meets_half_a_version()


@both
def test_versions_first_and_within_them_the_graph_last(bucket, store):
    done = StoreMirror(store, bucket.url).sync()
    old, new = store.versions()
    rest = ("hivemill_files.json", "assets/vocabulary", "hivemill_version.json", "variables/variables.index")
    wanted = [f"shop/{version}/{name}" for version in (old, new) for name in (*rest, "saved_model.pb")]
    wanted += ["batching.config", "monitoring.config", "models.config", "shop/labels.json"]
    assert [key for _, key in bucket.writes] == wanted == list(done.uploaded)
    assert_is_copy(bucket, store)


@both
def test_what_is_there_is_not_written_again(bucket, store):
    mirror = StoreMirror(store, bucket.url)
    mirror.sync()
    bucket.writes.clear()
    assert mirror.sync() == StoreMirror(store, bucket.url).sync()
    assert not bucket.writes


def test_a_reader_of_the_copy_finds_labels_as_in_the_store(bucket, store, tmp_path):
    machine(store, None).start()
    StoreMirror(store, bucket.url).sync()
    (tmp_path / "labels.json").write_bytes(bucket.objects["shop/labels.json"])
    copied = read_state(tmp_path)
    assert (copied.labels, copied.rollout) == (store.labels(), store.state().rollout)


@both
def test_removal_is_the_reverse(bucket, store):
    old, new = store.versions()
    mirror = StoreMirror(store, bucket.url)
    mirror.sync()
    bucket.writes.clear()
    store.set_label("stable", new)
    store.retain(1, 0)
    assert mirror.sync().removed == (f"shop/{old}",)
    keys = [key for _, key in bucket.writes]
    assert keys[:3] == ["models.config", "shop/labels.json", f"shop/{old}/saved_model.pb"]
    assert {key.rpartition("/")[0] for key in keys[3:]} == {
        f"shop/{old}{rest}" for rest in ("", "/assets", "/variables")
    }
    assert_is_copy(bucket, store)


@both
def test_an_upload_that_broke_off_goes_on(bucket, store):
    old, _ = store.versions()
    bucket.refuse = lambda method, keys: 403 if keys == [f"shop/{old}/saved_model.pb"] else None
    with pytest.raises(
        InfrastructureError, match=rf"{bucket.kind}://bucket/folder/shop/{old}/saved_model.pb cannot be written"
    ):
        StoreMirror(store, bucket.url).sync()
    assert "models.config" not in bucket.objects
    bucket.refuse, before = (lambda method, keys: None), set(bucket.objects)
    bucket.writes.clear()
    StoreMirror(store, bucket.url).sync()
    assert not before & {key for _, key in bucket.writes}
    assert_is_copy(bucket, store)


@both
def test_a_file_that_was_cut_short_is_written_again(bucket, store):
    _, new = store.versions()
    StoreMirror(store, bucket.url).sync()
    bucket.all[f"{bucket.top}shop/{new}/variables/variables.index"] = b"w"
    bucket.writes.clear()
    StoreMirror(store, bucket.url).sync()
    assert bucket.writes == [("PUT", f"shop/{new}/variables/variables.index")]
    assert_is_copy(bucket, store)


@both
def test_two_stores_do_not_share_a_url(bucket, store, tmp_path):
    StoreMirror(store, bucket.url).sync()
    (tmp_path / "other").mkdir()
    other = make_store(tmp_path / "other", 1)
    other.publish(tmp_path / "other" / "export", {}, "more")
    other.set_label("stable", other.versions()[-1])
    before = bucket.objects
    with pytest.raises(InfrastructureError, match=r"never had|has other files") as raised:
        StoreMirror(other, bucket.url).sync()
    assert "of its own" in raised.value.hint or "share this URL" in raised.value.hint
    assert all(bucket.objects[key] == content for key, content in before.items())


def test_a_version_of_the_same_number_with_other_files_is_not_mixed(bucket, store):
    mirror = StoreMirror(store, bucket.url)
    mirror.sync()
    old, _ = store.versions()
    (store.path_of(old) / "assets" / "vocabulary").write_bytes(b"longer than it was before")
    with pytest.raises(InfrastructureError, match=rf"shop/{old} has other files than .*{old}"):
        mirror.sync()


def test_a_version_that_came_back_from_a_copy_goes_to_another(bucket, store):
    StoreMirror(store, bucket.url).sync()
    for version in store.versions():
        files = bucket.objects[f"shop/{version}/hivemill_files.json"]
        (store.path_of(version) / "hivemill_files.json").write_bytes(files)
    assert StoreMirror(store, bucket.url).sync().uploaded == ()
    bucket.all.clear()
    StoreMirror(store, bucket.url).sync()
    bucket.assert_that_no_reader_meets_half_a_version()
    assert bucket.objects[f"shop/{version}/hivemill_files.json"] == files
    assert not StoreMirror(store, bucket.url).is_behind()


def test_what_the_store_never_had_stays(bucket, store):
    bucket.all[f"{bucket.top}shop/17/saved_model.pb"] = b"somebody's"
    bucket.all[f"{bucket.top}other/notes.txt"] = b"somebody's"
    assert StoreMirror(store, bucket.url).sync().removed == ()
    assert {"shop/17/saved_model.pb", "other/notes.txt"} <= bucket.objects.keys()


@both
def test_a_large_file_goes_in_parts(bucket, store):
    content = os.urandom(17 << 20)
    (store.path_of(store.versions()[-1]) / "variables" / "variables.data").write_bytes(content)
    StoreMirror(store, bucket.url).sync()
    assert bucket.objects[f"shop/{store.versions()[-1]}/variables/variables.data"] == content


@both
def test_labels_that_move_are_told_and_no_version_is_sent_again(bucket, store):
    _, new = store.versions()
    StoreMirror(store, bucket.url).sync()
    bucket.writes.clear()
    store.set_label("stable", new)
    StoreMirror(store, bucket.url).sync()
    assert bucket.writes == [("PUT", "models.config"), ("PUT", "shop/labels.json")]
    assert_is_copy(bucket, store)


@on_google_storage
def test_objects_that_mark_folders_change_nothing(bucket, store):
    """A console makes them, and some tools; Arrow does not."""
    old, new = store.versions()
    StoreMirror(store, bucket.url).sync()
    marked = {f"{key.rpartition('/')[0]}/" for key in bucket.all}
    bucket.all.update(dict.fromkeys({*marked, f"{bucket.top}shop/"}, b""))
    assert not StoreMirror(store, bucket.url).is_behind()
    store.set_label("stable", new)
    store.retain(1, 0)
    assert StoreMirror(store, bucket.url).sync().removed == (f"shop/{old}",)
    assert not any(f"/{old}/" in key for key in bucket.all)
    assert_is_copy(bucket, store)


@both
def test_a_version_that_another_sync_has_removed(bucket, store):
    """Arrow's error for it is another one on each store."""
    old, new = store.versions()
    mirror = StoreMirror(store, bucket.url)
    mirror.sync()
    store.set_label("stable", new)
    store.retain(1, 0)
    list_before = mirror._listing
    listings = [list_before()]
    mirror._listing = lambda: listings.pop() if listings else list_before()
    StoreMirror(store, bucket.url).sync()
    assert mirror.sync().removed == (f"shop/{old}",)
    assert_is_copy(bucket, store)


@both
def test_a_version_that_may_not_be_removed_is_told(bucket, store):
    old, new = store.versions()
    StoreMirror(store, bucket.url).sync()
    store.set_label("stable", new)
    store.retain(1, 0)
    bucket.refuse = lambda method, keys: 403 if any("assets/vocabulary" in key for key in keys) else None
    with pytest.raises(
        InfrastructureError, match=rf"{bucket.kind}://bucket/folder/shop/{old} cannot be removed"
    ) as raised:
        StoreMirror(store, bucket.url).sync()
    assert "credentials must be allowed to list, read, write and delete" in raised.value.hint
    bucket.refuse = lambda method, keys: None
    assert StoreMirror(store, bucket.url).is_behind()
    assert StoreMirror(store, bucket.url).sync().removed == (f"shop/{old}",)
    assert_is_copy(bucket, store)


@pytest.mark.slow  # Arrow's client waits before it tries again
@on_google_storage
def test_a_bucket_that_says_too_many_requests_is_asked_again(bucket, store):
    """As Google's does where one object is written more than once in a second."""
    statuses = [429, 503]
    bucket.refuse = lambda method, keys: statuses.pop() if statuses and keys == ["models.config"] else None
    StoreMirror(store, bucket.url.replace("seconds=3", "seconds=30")).sync()
    assert not statuses
    assert_is_copy(bucket, store)


@pytest.mark.slow  # Arrow's client tries again for 8 s
def test_google_storage_that_is_not_there_says_so(store):
    with pytest.raises(InfrastructureError, match=r"gs://bucket/folder cannot be listed: UNAVAILABLE: .*connect"):
        StoreMirror(store, url_at(1, "gs")).sync()


@pytest.mark.slow  # Arrow's client tries again for 6 s
def test_a_bucket_that_is_not_there_says_what_to_do(store):
    with pytest.raises(
        InfrastructureError, match=r"store.mirror s3://bucket/folder cannot be listed: .*NETWORK"
    ) as raised:
        StoreMirror(store, url_at(1)).sync()
    assert "The store is as it should be" in raised.value.hint and "hivemill models sync" in raised.value.hint


def test_google_credentials_come_from_the_environment(store, tmp_path, monkeypatch):
    bucket = Bucket("gs")
    with gs_server.serving_here(bucket.all, bucket.before_write, token="TOKEN") as port:
        with pytest.raises(InfrastructureError, match=r"folder cannot be listed: UNAUTHENTICATED") as raised:
            StoreMirror(store, url_at(port, "gs")).sync()
        assert "Its credentials must be allowed" in raised.value.hint
        user = {"type": "authorized_user", "client_id": "id", "client_secret": "SECRET", "refresh_token": "refresh"}
        (tmp_path / "user.json").write_text(json.dumps({**user, "token_uri": f"http://127.0.0.1:{port}/token"}))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "user.json"))
        StoreMirror(store, url_at(port, "gs").replace("anonymous@", "")).sync()
    assert_is_copy(bucket, store)


def test_credentials_do_not_belong_into_the_url(store):
    with pytest.raises(ConfigError, match=r"^store.mirror s3://bucket/folder holds credentials") as raised:
        StoreMirror(store, "s3://KEY:SECRET@bucket/folder")
    assert "SECRET" not in raised.value.message


@both
def test_a_version_that_retention_removes_during_its_upload(bucket, store):
    old, new = store.versions()
    store.set_label("stable", new)

    def removed_meanwhile(method, keys):
        if keys == [f"shop/{old}/assets/vocabulary"]:
            store.retain(1, 0)

    bucket.refuse = removed_meanwhile
    StoreMirror(store, bucket.url).sync()
    assert store.versions() == [new]
    bucket.assert_that_no_reader_meets_half_a_version()
    StoreMirror(store, bucket.url).sync()
    assert_is_copy(bucket, store)


@both
def test_many_who_sync_at_once_while_labels_move(bucket, store):
    old, new = store.versions()
    failures = []

    def sync_often():
        try:
            for _ in range(5):
                StoreMirror(store, bucket.url).sync()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=sync_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in (new, old) * 4:
        store.set_label("stable", version)
        bucket.assert_that_no_reader_meets_half_a_version()
    store.set_label("stable", new)
    store.retain(1, 0)
    for thread in threads:
        thread.join()
    assert not failures
    StoreMirror(store, bucket.url).sync()
    assert_is_copy(bucket, store)


class ServerOfTheCopy(FileServer):
    """A model server that reads the bucket: it loads what is there as a whole, and fails on anything else."""

    def __init__(self, file, bucket):
        super().__init__(file)
        self.bucket = bucket

    def reload(self, config_text):
        (config,) = parse_models_config(config_text).model_config_list.config
        assert config.base_path == f"{self.bucket.kind}://{TOP}shop"
        for version in config.model_version_policy.specific.versions:
            assert f"shop/{version}/saved_model.pb" in self.bucket.objects
        super().reload(config_text)


def test_a_rollout_of_servers_that_read_the_copy(bucket, store, tmp_path):
    """The copy is told at every phase, before the servers; on the way back after them."""
    old, new = store.versions()
    mirror = StoreMirror(store, bucket.url)
    server = ServerOfTheCopy(tmp_path / "server.json", bucket)
    options = OPTIONS.model_copy(update={"server_reads": "mirror"})
    rollout = RolloutMachine(store, options, server, mirror)
    rollout.start()
    assert_is_copy(bucket, store)
    assert server.memory()["labels"] == store.labels() == {"stable": old, "canary": new}
    rollout.step(metrics(store))
    assert store.labels()["stable"] == new
    assert_is_copy(bucket, store)
    rollout.rollback()
    assert store.labels()["stable"] == old
    assert_is_copy(bucket, store)


def test_a_start_is_taken_back_where_the_copy_does_not_follow(bucket, store, tmp_path):
    old, new = store.versions()
    mirror = StoreMirror(store, bucket.url)
    mirror.sync()
    bucket.refuse = lambda method, keys: 403
    with pytest.raises(InfrastructureError, match=r"models.config cannot be written"):
        RolloutMachine(store, OPTIONS, served(store, tmp_path), mirror).start()
    assert store.labels() == {"stable": old}
    bucket.refuse = lambda method, keys: None
    RolloutMachine(store, OPTIONS, served(store, tmp_path), mirror).start()
    assert store.labels()["canary"] == new
    assert_is_copy(bucket, store)


def test_the_way_back_does_not_wait_for_the_copy(bucket, store, tmp_path):
    old, _ = store.versions()
    mirror, server = StoreMirror(store, bucket.url), served(store, tmp_path)
    RolloutMachine(store, OPTIONS, server, mirror).start()
    bucket.refuse = lambda method, keys: 403
    with pytest.raises(InfrastructureError, match=r"the store is back at .*, but store.mirror .* cannot be written"):
        RolloutMachine(store, OPTIONS, server, mirror).rollback()
    assert store.labels() == server.memory()["labels"] == {"stable": old, "canary": old}
    bucket.refuse = lambda method, keys: None
    RolloutMachine(store, OPTIONS, server, mirror).rollback()
    assert_is_copy(bucket, store)


def test_a_step_that_the_copy_has_not_seen_says_so_and_the_next_call_heals_it(bucket, store):
    mirror = StoreMirror(store, bucket.url)
    options = OPTIONS.model_copy(update={"percentages": (10, 50, 100)})
    RolloutMachine(store, options, None, mirror).start()
    bucket.refuse = lambda method, keys: 403
    with pytest.raises(InfrastructureError, match=r"is at 50 %\. But store.mirror .*labels.json cannot be written"):
        RolloutMachine(store, options, None, mirror).step(metrics(store))
    bucket.refuse = lambda method, keys: None
    RolloutMachine(store, options, None, mirror).end_interrupted()
    assert json.loads(bucket.objects["shop/labels.json"])["rollout"]["percent"] == 50


# What a process is doing when it is killed: a line of Python in `CHILD`.
CALLS = {
    "first": "mirror.sync()",
    "publish": "store.publish(Path(sys.argv[1]) / 'export', {}, 'new'); mirror.sync()",
    "start": "rollout.start()",
    "rollback": "rollout.rollback()",
    "retain": "store.set_label('stable', store.versions()[-1]); store.retain(1, 0); mirror.sync()",
}
CHILD = """
import sys
from pathlib import Path
from hivemill.serving.store.model_store import ModelStore
from hivemill.serving.store.mirror import StoreMirror
from hivemill.serving.rollout.controller import RolloutMachine
from hivemill.serving.rollout.options import RolloutOptions
store = ModelStore(Path(sys.argv[1]) / "models", "shop")
mirror = StoreMirror(store, sys.argv[2])
rollout = RolloutMachine(store, RolloutOptions(), None, mirror)
sys.stdin.readline()
"""


class Killer:
    """Ends the process that writes, before or after its n-th write."""

    def __init__(self, bucket, at, after):
        self.bucket, self.at, self.after, self.count = bucket, at, after, 0

    def __call__(self, method, keys):
        if all(key.endswith("/") for key in keys):
            return None
        self.bucket.assert_that_no_reader_meets_half_a_version()
        self.count += 1
        if self.count == self.at + 1:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            return None if self.after else 500
        return None


def _prepared(name, bucket, store):
    """The same beginning each time: what the call finds."""
    bucket.all.clear()
    bucket.refuse = lambda method, keys: None
    mirror = StoreMirror(store, bucket.url)
    if name == "rollback":
        RolloutMachine(store, RolloutOptions(), None, mirror).start()
    if name != "first":
        mirror.sync()


def _killed_at(name, bucket, folder, at, after):
    """The exit code; 0 where the call has fewer writes."""
    bucket.refuse = killer = Killer(bucket, at, after)
    command = [sys.executable, "-c", CHILD + CALLS[name], str(folder), bucket.url]
    killer.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    killer.process.stdin.write(b"go\n")
    with contextlib.suppress(BrokenPipeError):
        killer.process.stdin.close()
    code = killer.process.wait(60)
    assert code in (0, -signal.SIGKILL), killer.process.stderr.read().decode()
    bucket.refuse = lambda method, keys: None
    return code


def _kill_everywhere(name, bucket, tmp_path, moments):
    kills = 0
    for at in moments:
        for after in (False, True):
            folder = tmp_path / f"{at}-{after}"
            folder.mkdir()
            store = add_variables(make_store(folder, 2))
            _prepared(name, bucket, store)
            if _killed_at(name, bucket, folder, at, after) == 0:
                return kills
            kills += 1
            bucket.assert_that_no_reader_meets_half_a_version()
            RolloutMachine(store, RolloutOptions(), None, StoreMirror(store, bucket.url)).end_interrupted()
            assert_is_copy(bucket, ModelStore(store.path, "shop"))
    return kills


@both
def test_killed_while_it_publishes(bucket, tmp_path):
    assert _kill_everywhere("publish", bucket, tmp_path, (2,)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_killed_at_every_write(name, bucket, tmp_path):
    kills = _kill_everywhere(name, bucket, tmp_path, range(100))
    print(f"{name}: {kills} kills")
    assert kills >= {"first": 28}.get(name, 6)
