"""A TFJob as the operator would run it: the commands of the manifest as processes, TF_CONFIG as the operator sets it.

Slow: the nodes before the training, then a chief and a worker that import TensorFlow and TFX.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.pipeline import mariadb
from tests.pipeline.orchestrators import containers
from tests.pipeline.shop import RUN_DATE, document, hivemill_command, make_shop, only_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
EPOCHS = 40
# One process instead of one for each node: it is the training that the test is about.
_BEFORE = """
import sys
from pathlib import Path
from hivemill.pipeline.runs import stepwise_run
from hivemill.pipeline.cli.console import Console
for node in sys.argv[2:]:
    stepwise_run.launch(sys.argv[1], node, Console())
"""


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volume")
    config = make_shop(folder, rows_per_day=600)
    made = yaml.safe_load(config.read_text())
    made["training"] |= {"strategy": "multi_worker", "epochs": EPOCHS, "plateau": None}
    made["kubeflow"] = {"image": "hivemill", "mount_path": str(folder)}
    with contextlib.ExitStack() as stack:
        database = mariadb.server(tmp_path_factory.mktemp("mariadb"))
        stack.callback(database.kill)
        made["metadata"] = {"backend": "mysql", "host": "127.0.0.1", "port": database.port, "user": "hivemill"}
        config.write_text(yaml.safe_dump(made, sort_keys=False))
        yield folder


@pytest.fixture(scope="module")
def pipeline(volume) -> Path:
    """pipeline.json of a run that is begun; its nodes up to Transform have ended."""
    words = ["node", "--begin", "--date", RUN_DATE, "--job", "job-1"]
    path = _done(hivemill_command(volume / "hivemill.yaml", *words)).strip()
    before = [*("HiveLogExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "DataVerdict", "Transform")]
    _done([sys.executable, "-c", _BEFORE, path, *before])
    return Path(path)


@pytest.fixture(scope="module")
def job(volume, pipeline, tmp_path_factory) -> dict:
    file = tmp_path_factory.mktemp("job") / "trainer.yaml"
    words = ["compile", "--engine", "tfjob", "--pipeline", str(pipeline), "-o", str(file)]
    _done(hivemill_command(volume / "hivemill.yaml", *words))
    return yaml.safe_load(file.read_text())


def _done(command: list[str]) -> str:
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(containers.REPOSITORY)}
    environment["HIVEMILL_METADATA_PASSWORD"] = mariadb.PASSWORD
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


class Operator:
    """What the Training Operator does for a TFJob, with processes for pods: names, addresses, TF_CONFIG, restarts."""

    def __init__(self, job: dict, folder: Path):
        self._folder = folder
        replicas = job["spec"]["tfReplicaSpecs"]
        self.pods = {(kind.lower(), i): r for kind, r in replicas.items() for i in range(r["replicas"])}
        self._addresses = {
            pod: f"127.0.0.1:{port}" for pod, port in zip(self.pods, _free_ports(self.pods), strict=True)
        }
        script = folder / "bin" / "hivemill"
        script.parent.mkdir(parents=True)
        text = f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(containers.REPOSITORY)!r})\n"
        script.write_text(text + "from hivemill.pipeline.cli.main import entry\nentry()\n")
        script.chmod(0o755)

    def start(self, kind: str, index: int) -> subprocess.Popen:
        container = self.pods[kind, index]["template"]["spec"]["containers"][0]
        work = self._folder / f"{kind}-{index}"
        work.mkdir(exist_ok=True)
        command = [*container["command"], *container["args"]]
        environment = {"PATH": f"{self._folder}/bin:/usr/bin:/bin", "TF_CONFIG": self._tf_config(kind, index)}
        for one in container["env"]:
            assert one["valueFrom"]["secretKeyRef"] == {"name": "hivemill-metadata", "key": "password"}
            environment[one["name"]] = mariadb.PASSWORD
        with open(self._folder / f"{kind}-{index}.stderr", "a") as stderr:
            return subprocess.Popen(command, cwd=work, env=environment, stderr=stderr)

    def _tf_config(self, kind: str, index: int) -> str:
        """https://github.com/kubeflow/training-operator, pkg/controller.v1/tensorflow/tensorflow.go (v1.9)."""
        cluster: dict[str, list[str]] = {}
        for (name, _), address in self._addresses.items():
            cluster.setdefault(name, []).append(address)
        return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}, "environment": "cloud"})

    @contextlib.contextmanager
    def all_started(self) -> Iterator[dict[tuple[str, int], subprocess.Popen]]:
        pods = {pod: self.start(*pod) for pod in self.pods}
        try:
            yield pods
        finally:
            for process in pods.values():
                process.kill()
                process.wait()

    def said(self, kind: str, index: int) -> str:
        return (self._folder / f"{kind}-{index}.stderr").read_text()[-4000:]


def _free_ports(pods: Iterable) -> list[int]:
    with contextlib.ExitStack() as stack:
        return [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in pods]


def test_chief_and_worker_train_one_model_though_both_are_killed_in_turn(volume, pipeline, job, tmp_path):
    operator = Operator(job, tmp_path)
    assert list(operator.pods) == [("chief", 0), ("worker", 0)]
    root, folder = volume / "root", only_run(volume / "hivemill.yaml")
    with operator.all_started() as pods:
        while not list(root.glob("checkpoints/*/state/*.index")):
            assert [process.poll() for process in pods.values()] == [None, None], operator.said("chief", 0)
            time.sleep(0.05)
        pods["worker", 0].kill()
        assert pods["chief", 0].wait(timeout=120) == 6, operator.said("chief", 0)
    assert "another worker of this training was lost" in document(folder / "nodes", "Trainer.json")["error"]["message"]
    assert not _models(root)

    exported = set((root / "artifacts").glob("Trainer/model/*/Format-Serving"))
    with operator.all_started() as pods:  # as the kubelet does: restartPolicy OnFailure
        while not set((root / "artifacts").glob("Trainer/model/*/Format-Serving")) - exported:
            assert [process.poll() for process in pods.values()] == [None, None], operator.said("chief", 0)
            time.sleep(0.01)
        pods["chief", 0].kill()  # in its export: the worker has trained to the end, and must be there once more
        assert pods["worker", 0].wait(timeout=120) != 0, operator.said("worker", 0)

    with operator.all_started() as pods:
        codes = {pod: process.wait(timeout=300) for pod, process in pods.items()}
    assert codes == dict.fromkeys(pods, 0), "\n".join(operator.said(*pod) for pod in pods)
    assert "worker-0 of Trainer: trains along with the chief." in operator.said("worker", 0)
    assert document(folder / "nodes", "Trainer.json")["state"] == "succeeded"
    assert len(_models(root)) == 1
    (history,) = (root / "artifacts" / "Trainer" / "model_run").rglob("history.json")
    assert json.loads(history.read_text())["checks"][-1]["epoch"] == EPOCHS
    assert not list((root / "checkpoints").iterdir())
    assert not [*(tmp_path / "chief-0").iterdir(), *(tmp_path / "worker-0").iterdir()]

    # A job that is created again: the chief alone finds the model, and waits for no worker.
    made = _models(root)
    again = operator.start("chief", 0)
    assert again.wait(timeout=200) == 0, operator.said("chief", 0)
    assert _models(root) == made


def _models(root: Path) -> dict[str, int]:
    """Every exported model with the time of its making."""
    files = (root / "artifacts" / "Trainer" / "model").rglob("saved_model.pb")
    return {str(file): file.stat().st_mtime_ns for file in files}


def test_worker_of_a_node_that_trains_nothing_is_refused(pipeline, job, tmp_path):
    operator = Operator(job, tmp_path)
    words = operator.pods["worker", 0]["template"]["spec"]["containers"][0]["args"]
    words[words.index("Trainer")] = "Evaluator"
    assert operator.start("worker", 0).wait(timeout=200) == 2
    assert "node Evaluator trains nothing" in operator.said("worker", 0)
