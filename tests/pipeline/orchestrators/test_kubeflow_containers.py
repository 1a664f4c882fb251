"""The whole DAG as Kubeflow would run it: every command of the compiled file as a process of its own, on MariaDB.

Slow: ten processes import TensorFlow one after the other.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.pipeline import mariadb
from tests.pipeline.orchestrators import containers
from tests.pipeline.shop import RUN_DATE, document, hivemill_command, make_shop, only_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def node_steps(folder: Path) -> list[str]:
    """Kubeflow's names of the steps of a run's nodes."""
    return [node["node_id"].lower() for node in document(folder, "run.json")["nodes"]]


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """The shop on the volume; its config asks for MariaDB and says where the volume is."""
    folder = tmp_path_factory.mktemp("volume")
    make_shop(folder)
    return folder


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    made = mariadb.server(tmp_path_factory.mktemp("mariadb"))
    yield made
    made.kill()


@pytest.fixture(scope="module")
def cluster(volume, database, tmp_path_factory):
    """The pipeline, compiled by the verb, and the containers of its first run; Transform's first one is killed."""
    folder = tmp_path_factory.mktemp("containers")
    config = yaml.safe_load((volume / "hivemill.yaml").read_text())
    config["metadata"] = {"backend": "mysql", "host": "127.0.0.1", "port": database.port, "user": "hivemill"}
    config["kubeflow"] = {"image": "hivemill", "mount_path": str(volume)}
    path = folder / "cluster.yaml"
    # The order of the features is the model's, so the keys are not sorted.
    path.write_text(yaml.safe_dump(config | {"root": str(volume / "root")}, sort_keys=False))
    # Compiled where the volume is not: the config's own relative paths are those of the volume.
    compiled = folder / "pipeline.yaml"
    command = hivemill_command(path, "compile", "--engine", "kubeflow", "-o", str(compiled))
    done = subprocess.run(command, cwd=containers.REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    made = containers.Cluster(compiled, folder, {"hivemill-metadata": {"password": mariadb.PASSWORD}})
    made.kill["transform"] = lambda: any((volume / "root" / "artifacts").glob("Transform/transformed_examples/*"))
    state = made.run("job-1", date=RUN_DATE)
    assert state == "SUCCEEDED", "\n".join(f"{one.task}: {one.stderr}" for one in made.ended if one.returncode)
    return made


def test_every_command_of_the_file_ran_in_order_and_the_killed_one_again(cluster, volume):
    steps = ["begin", *node_steps(only_run(volume / "hivemill.yaml")), "end-2", "end"]
    steps.insert(steps.index("transform"), "transform")
    assert [one.task for one in cluster.ended[: len(steps)]] == steps
    codes = {one.task: one.returncode for one in cluster.ended if one.returncode}
    assert codes == {"transform": -9}


def test_result_equals_the_local_runners(cluster, volume, tmp_path):
    config = make_shop(tmp_path)
    done = subprocess.run(
        hivemill_command(config, "run", "--date", RUN_DATE), cwd=containers.REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    theirs, ours = only_run(config), only_run(volume / "hivemill.yaml")
    assert node_steps(ours) == node_steps(theirs)
    for name in ("window", "num_rows", "missing", "late", "date"):
        assert document(ours, "manifest.json")[name] == document(theirs, "manifest.json")[name]
    mine, other = (document(folder, "verdict.json")["model"]["slices"] for folder in (ours, theirs))
    assert [one["slice"] for one in mine] == [one["slice"] for one in other]
    for one, two in zip(mine, other, strict=True):
        assert one["metrics"] == pytest.approx(two["metrics"], rel=1e-5, nan_ok=True)
    assert {file.name for file in ours.iterdir()} >= {file.name for file in theirs.iterdir()}
    shapes = [
        [
            (node["node_id"], sorted(node["inputs"]), sorted(node["outputs"]))
            for node in document(one, "lineage.json")["nodes"]
        ]
        for one in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]


def test_run_of_the_same_inputs_does_nothing(cluster, volume):
    before, num_ended = document(only_run(volume / "hivemill.yaml"), "run.json"), len(cluster.ended)
    assert cluster.run("job-2", date=RUN_DATE) == "SUCCEEDED"
    nodes = cluster.ended[num_ended + 1 : -2]
    assert [one.task for one in nodes] == node_steps(only_run(volume / "hivemill.yaml"))
    assert all("Nothing to do" in one.stderr for one in nodes)
    assert document(only_run(volume / "hivemill.yaml"), "run.json") == before


def test_overrides_reach_the_run_and_the_exit_handler_ends_one_that_cannot_begin(cluster, volume):
    num_ended = len(cluster.ended)
    assert cluster.run("job-3", date=RUN_DATE, overrides=["window.train_days=40"]) == "FAILED"
    ended = cluster.ended[num_ended:]
    assert [(one.task, one.returncode) for one in ended] == [("begin", 3)] * 3 + [("end", 3)] * 3
    assert "2026-10" in ended[0].stderr and "2026-10" in ended[-1].stderr
    assert only_run(volume / "hivemill.yaml")
