"""The whole DAG as Kubeflow would run it with its root in an object store: no volume, containers that share nothing.

Slow: each container is a process that imports TensorFlow, on MariaDB.
"""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest
import yaml

from hivemill.common.storage import object_store
from tests.pipeline import mariadb
from tests.pipeline.orchestrators import containers
from tests.pipeline.shop import RUN_DATE, document, hivemill_command, make_shop, only_run
from tests.support import object_stores

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as made:
        yield made


@pytest.fixture(scope="module")
def store(patch, tmp_path_factory):
    """(objects by name, URL) of a bucket that has the table."""
    with object_stores.bucket("s3", tmp_path_factory.mktemp("keys"), patch) as (objects, url):
        folder = tmp_path_factory.mktemp("shop")
        make_shop(folder)
        object_store.put(folder / "log" / "clicks", f"{url}/clicks")
        yield objects, url


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    made = mariadb.server(tmp_path_factory.mktemp("mariadb"))
    yield made
    made.kill()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """TMPDIR of all containers. A pod has a disk of its own; here it shows what a container leaves."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def config(store, database, scratch, tmp_path_factory):
    place = tmp_path_factory.mktemp("config") / "hivemill.yaml"
    made = yaml.safe_load((make_shop(tmp_path_factory.mktemp("any"), rows_per_day=24)).read_text())
    public = {name: os.environ[name] for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION")}
    made |= {
        "root": f"{store[1]}/mill",
        "source": {"table": f"{store[1]}/clicks", "success_file": "_SUCCESS"},
        "metadata": {"backend": "mysql", "host": "127.0.0.1", "port": database.port, "user": "hivemill"},
        "kubeflow": {
            "image": "hivemill",
            "mount_path": "/nowhere",
            "environment": {**public, "TMPDIR": str(scratch)},
            "secrets": [{"variable": name, "secret": "store", "key": name.lower()} for name in KEYS],
        },
    }
    place.write_text(yaml.safe_dump(made, sort_keys=False))
    return place


class Killer:
    """Says once, some seconds after it was first asked, that it is time to kill."""

    def __init__(self, is_reached, seconds):
        self._is_reached, self._seconds, self._since = is_reached, seconds, None

    def __call__(self):
        if self._since is None and self._is_reached():
            self._since = time.monotonic()
        return self._since is not None and time.monotonic() - self._since > self._seconds


@pytest.fixture(scope="module")
def cluster(config, store, tmp_path_factory):
    """The containers of the first run. One is killed in the training, one while a version is being put."""
    folder, objects = tmp_path_factory.mktemp("containers"), store[0]
    compiled = folder / "pipeline.yaml"
    verb(config, "compile", "--engine", "kubeflow", "-o", str(compiled))
    secrets = {"hivemill-metadata": {"password": mariadb.PASSWORD}, "store": {name.lower(): "test" for name in KEYS}}
    made = containers.Cluster(compiled, folder, secrets)
    made.compiled = compiled
    made.kill["trainer"] = Killer(lambda: any("/mill/checkpoints/" in name for name in objects), 0)
    made.kill["pusher"] = Killer(lambda: any("/mill/models/shop/1" in name for name in objects), 0)
    state = made.run("job-1", date=RUN_DATE)
    assert state == "SUCCEEDED", "\n".join(f"{one.task}: {one.stderr}" for one in made.ended if one.returncode)
    return made


def verb(config, *words, code=0):
    environment = {**os.environ, "HIVEMILL_METADATA_PASSWORD": mariadb.PASSWORD}
    command = hivemill_command(config, *words)
    done = subprocess.run(
        command, cwd=containers.REPOSITORY, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_killed_containers_ran_again_and_nothing_is_left(cluster, store, scratch):
    codes = [(one.task, one.returncode) for one in cluster.ended if one.returncode]
    assert codes == [("trainer", -9), ("pusher", -9)]
    # Arrow leaves an empty object, the folder's mark, where it has removed files.
    names = [name.partition("/mill/")[2] for name in store[0] if "/mill/" in name and not name.endswith("/")]
    assert not [name for name in names if name.startswith(("locks/", "models/.locks/", "checkpoints/"))]
    # What the two that were killed could not take away goes with their pods: records, and the node's own.
    found = [path.name for path in scratch.iterdir() if path.name.startswith("hivemill-")]
    left = sorted(name.rpartition("-")[0] for name in found if "-rates-" not in name)
    assert len([name for name in found if "-rates-" in name]) == 1  # the Trainer's, as its checkpoints
    assert left == ["hivemill", "hivemill", "hivemill-checkpoints", "hivemill-root", "hivemill-root", "hivemill-store"]


def test_file_mounts_no_volume(cluster):
    _, platform = yaml.safe_load_all(cluster.compiled.read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    assert not any("pvcMount" in one for one in executors)


def test_result_equals_the_local_runners(cluster, config, store, tmp_path):
    local = make_shop(tmp_path)
    verb(local, "run", "--date", RUN_DATE)
    theirs = only_run(local)
    (record,) = json.loads(verb(config, "--json", "runs"))
    object_store.fetch(f"{store[1]}/mill/runs/{record['run_id']}", tmp_path / "ours")
    ours = tmp_path / "ours"
    assert record["state"] == "succeeded" and record["colour"] == document(theirs, "verdict.json")["colour"]
    for name in ("window", "num_rows", "missing", "late", "date"):
        assert document(ours, "manifest.json")[name] == document(theirs, "manifest.json")[name]
    mine, other = (document(folder, "verdict.json")["model"]["slices"] for folder in (ours, theirs))
    for one, two in zip(mine, other, strict=True):
        assert one["slice"] == two["slice"]
        assert one["metrics"] == pytest.approx(two["metrics"], rel=1e-5, nan_ok=True)
    assert {file.name for file in ours.iterdir()} >= {file.name for file in theirs.iterdir()}
    assert (ours / "log.txt").stat().st_size > 1000


def test_verbs_read_the_bucket(cluster, config, store, tmp_path):
    (version,) = json.loads(verb(config, "--json", "models"))["versions"]
    assert version["labels"] == ["stable"]
    assert version["path"] == f"{store[1]}/mill/models/shop/{version['model_version']}"
    (record,) = json.loads(verb(config, "--json", "runs"))
    assert record["model_version"] == version["model_version"]
    assert json.loads(verb(config, "--json", "status"))["lock"] is None
    assert verb(config, "report").strip() == f"{store[1]}/mill/runs/{record['run_id']}/report.html"
    assert "Nothing to do: a run of the same inputs is finished" in verb(config, "plan", "--date", RUN_DATE)
    findings = json.loads(verb(config, "--json", "doctor"))["checks"]
    assert next(one for one in findings if one["name"] == "root")["state"] == "ok"


def test_pushed_version_answers_in_a_process_with_tensorflow_alone(cluster, config, store, tmp_path):
    (version,) = json.loads(verb(config, "--json", "models"))["versions"]
    object_store.fetch(version["path"], tmp_path / "model")
    load = "import sys, tensorflow as tf; print(sorted(tf.saved_model.load(sys.argv[1]).signatures))"
    done = subprocess.run(
        [containers.sys.executable, "-c", load, str(tmp_path / "model")], capture_output=True, text=True, timeout=300
    )
    assert "'serving_default'" in done.stdout, done.stderr


def test_run_of_the_same_inputs_does_nothing_and_leaves_nothing(cluster, config, store, scratch):
    before = {name: data for name, data in store[0].items() if "/jobs/" not in name}
    here = set(scratch.iterdir())
    assert cluster.run("job-2", date=RUN_DATE) == "SUCCEEDED"
    assert {name: data for name, data in store[0].items() if "/jobs/" not in name} == before
    assert not {path.name for path in set(scratch.iterdir()) - here if path.name.startswith("hivemill-")}


def test_second_job_waits_for_no_one_and_is_refused_while_the_first_goes_on(cluster, config, store):
    run = next(name for name in store[0] if name.endswith("/run.json"))
    record = json.loads(store[0][run])
    kept = store[0][run]
    store[0][run] = json.dumps(record | {"state": "running", "job": "job-0"}).encode()
    try:
        num_ended = len(cluster.ended)
        assert cluster.run("job-3", date=RUN_DATE) == "FAILED"
        assert {one.returncode for one in cluster.ended[num_ended:] if one.task == "begin"} == {7}
        assert "job-0 launches its nodes" in cluster.ended[num_ended].stderr
    finally:
        store[0][run] = kept


def test_run_in_one_process_that_is_killed_goes_on_and_its_store_obeys_the_verbs(config, store, scratch, tmp_path):
    """The local runner on a root of its own in the bucket."""
    objects, url = store
    path = tmp_path / "hivemill.yaml"
    path.write_text(config.read_text().replace(f"{url}/mill", f"{url}/other"))
    environment = {**os.environ, "HIVEMILL_METADATA_PASSWORD": mariadb.PASSWORD, "TMPDIR": str(tmp_path)}
    command = hivemill_command(path, "run", "--date", RUN_DATE)
    with subprocess.Popen(command, cwd=containers.REPOSITORY, env=environment, stderr=subprocess.PIPE) as process:
        reached = Killer(lambda: any("/other/artifacts/Transform/" in name for name in objects), 1)
        while process.poll() is None and not reached():
            time.sleep(0.1)
        process.kill()
    assert process.returncode == -9
    (record,) = json.loads(verb(path, "--json", "runs"))
    assert record["state"] == "killed"
    done = subprocess.run(command, cwd=containers.REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Takes over the lock" in done.stderr and "attempt 2: goes on" in done.stderr
    assert [line for line in done.stderr.splitlines() if "StatisticsGen" in line and "cached" in line], done.stderr
    (version,) = json.loads(verb(path, "--json", "models"))["versions"]
    assert version["labels"] == ["stable"]
    verb(path, "rollout", "start", code=2)  # of one version there is nothing to roll out
    assert not [name for name in objects if "/other/" in name and "locks/" in name and not name.endswith("/")]
