"""The TFJob of a training on several machines: its manifest, and what a process makes of the operator's TF_CONFIG."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import threading
from types import SimpleNamespace

import kubernetes_validate
import pytest
import yaml

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.pipeline.cli import main
from hivemill.pipeline.cli.console import Console
from hivemill.pipeline.config.loader import load
from hivemill.pipeline.orchestrators import training_task
from hivemill.pipeline.orchestrators.kubeflow import inside, training_job
from hivemill.pipeline.root import lock
from hivemill.pipeline.runs import records, stepwise_run
from hivemill.pipeline.runs.compiled_pipeline import PIPELINE_JSON
from hivemill.pipeline.runs.records import NodeRecord, RunFolder
from hivemill.pipeline.scheduling import dates
from tests.pipeline.shop import CONFIG

PIPELINE = "/hivemill/shop/runs/2026-11-15-1a2b3c4d/pipeline.json"
CLUSTER = {
    "metadata": {"backend": "mysql", "host": "mariadb", "user": "hivemill"},
    "kubeflow": {
        "image": "registry.example/hivemill:1",
        "secrets": [{"variable": "SLACK_URL", "secret": "alerts", "key": "slack"}],
        "environment": {"TZ": "UTC"},
        "service_account": "trainer",
        "retries": 3,
        "steps": {
            "default": {"cpu": "2", "memory": "4Gi", "timeout_seconds": 3600},
            "Trainer": {
                "memory": "16Gi",
                "accelerator": "nvidia.com/gpu",
                "accelerators": 1,
                "tolerated_taint": "nvidia.com/gpu",
                "node_selector": {"pool": "gpu"},
            },
        },
    },
}
TRAINING = CONFIG["training"] | {"strategy": "multi_worker"}
# The fields of kubeflow.org/v1 TFJob, as the operator's CRD has them (v1.9); the pod's are Kubernetes's own.
FIELDS = {
    "job": {"apiVersion", "kind", "metadata", "spec"},
    "spec": {"runPolicy", "successPolicy", "enableDynamicWorker", "tfReplicaSpecs"},
    "runPolicy": {
        *("activeDeadlineSeconds", "backoffLimit", "cleanPodPolicy", "managedBy"),
        *("schedulingPolicy", "suspend", "ttlSecondsAfterFinished"),
    },
    "replica": {"replicas", "restartPolicy", "template"},
}


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "hivemill.yaml"
    path.write_text(yaml.safe_dump(CONFIG | CLUSTER | {"training": TRAINING}, sort_keys=False))
    return path


@pytest.fixture
def compiled(config_file, tmp_path):
    file = tmp_path / "trainer.yaml"
    words = ["--config", str(config_file), "compile", "--engine", "tfjob", "--pipeline", PIPELINE, "--workers", "4"]
    assert main.main([*words, "-o", str(file)]) == 0
    return yaml.safe_load(file.read_text())


def test_manifest_has_the_fields_that_the_operator_knows(compiled):
    spec = compiled["spec"]
    assert (compiled["apiVersion"], compiled["kind"]) == ("kubeflow.org/v1", "TFJob")
    assert set(compiled) <= FIELDS["job"] and set(spec) <= FIELDS["spec"]
    assert set(spec["runPolicy"]) <= FIELDS["runPolicy"]
    assert set(spec["tfReplicaSpecs"]) == {"Chief", "Worker"}
    for replica in spec["tfReplicaSpecs"].values():
        assert set(replica) <= FIELDS["replica"]
        assert replica["restartPolicy"] in ("Always", "OnFailure", "Never", "ExitCode")
    assert spec["runPolicy"]["cleanPodPolicy"] in ("None", "Running", "All")


def test_pods_are_valid_for_kubernetes_and_have_what_the_operator_and_the_config_ask_for(compiled):
    for kind, count in (("Chief", 1), ("Worker", 3)):
        replica = compiled["spec"]["tfReplicaSpecs"][kind]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": replica["template"]["spec"]}
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
        (container,) = pod["spec"]["containers"]
        assert replica["replicas"] == count
        # Pod security standard `restricted`
        assert pod["spec"]["securityContext"]["runAsNonRoot"] and container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        # The operator refuses a job without a container of this name, and reads the port of this name.
        assert container["name"] == "tensorflow"
        assert container["ports"] == [{"name": "tfjob-port", "containerPort": 2222}]
        assert container["resources"]["limits"] == {"cpu": "2", "memory": "16Gi", "nvidia.com/gpu": "1"}
        assert pod["spec"]["nodeSelector"] == {"pool": "gpu"} and pod["spec"]["serviceAccountName"] == "trainer"
        assert pod["spec"]["volumes"][0]["persistentVolumeClaim"] == {"claimName": "hivemill"}
        variables = {one["name"]: one for one in container["env"]}
        assert variables["TZ"]["value"] == "UTC"
        assert variables["SLACK_URL"]["valueFrom"]["secretKeyRef"] == {"name": "alerts", "key": "slack"}
        assert variables["HIVEMILL_METADATA_PASSWORD"]["valueFrom"]["secretKeyRef"]["name"] == "hivemill-metadata"
        assert "value" not in variables["HIVEMILL_METADATA_PASSWORD"]
    policy = compiled["spec"]["runPolicy"]
    assert (policy["activeDeadlineSeconds"], policy["backoffLimit"]) == (3600, 13)


def test_commands_are_commands_of_hivemill(compiled):
    for replica in compiled["spec"]["tfReplicaSpecs"].values():
        container = replica["template"]["spec"]["containers"][0]
        assert container["command"] == ["hivemill"]
        parsed = main._parse(container["args"])
        assert (parsed.node, str(parsed.pipeline)) == ("Trainer", PIPELINE)


@pytest.mark.parametrize(
    ("name", "job"),
    [
        ("shop", "shop-2026-11-15-1a2b3c4d"),
        ("7 Läden_of-a-name-that-goes-on-and-on", "l-den-of-a-name-that-2026-11-15-1a2b3c4d"),
        ("42", "run-2026-11-15-1a2b3c4d"),
    ],
)
def test_name_is_a_dns_label_that_starts_with_a_letter(name, job):
    made = training_job._name(name, PIPELINE)
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", made) and len(f"{made}-worker-100") < 63
    assert made == job


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "training.strategy=none"], "strategy must be multi_worker for a TFJob; received none"),
        (["--set", "kubeflow.image=null"], "kubeflow.image is needed"),
        (["--set", "metadata={}"], "metadata.backend must be mysql"),
        (["--workers", "1"], "--workers must be 2 or more; received 1"),
        (["--workers", "3"], "training.batch_size is 256, which 3 workers cannot share"),
        (["--pipeline", "runs/x/pipeline.json"], "--pipeline must be below kubeflow.mount_path (/hivemill)"),
        (["--pipeline", "/elsewhere/runs/x/pipeline.json"], "received /elsewhere/runs/x/pipeline.json"),
        (["--output", "trainer.txt"], "must end with .yaml"),
        (["--engine", "kubeflow"], "--pipeline and --workers are for --engine tfjob"),
    ],
)
def test_what_cannot_work_is_refused(config_file, tmp_path, capsys, words, said):
    file = tmp_path / "trainer.yaml"
    usual = ["compile", "--engine", "tfjob", "--pipeline", PIPELINE, "--output", str(file)]
    assert main.main(["--config", str(config_file), *usual, *words]) == 2
    assert said in capsys.readouterr().err
    assert not file.exists()


def test_pipeline_must_be_named(config_file, tmp_path, capsys):
    words = ["compile", "--engine", "tfjob", "--output", str(tmp_path / "trainer.yaml")]
    assert main.main(["--config", str(config_file), *words]) == 2
    assert "--engine tfjob needs --pipeline" in capsys.readouterr().err


def test_pipelines_of_kubeflow_refuse_a_strategy_that_needs_workers(config_file, tmp_path, capsys):
    words = ["--config", str(config_file), "compile", "--engine", "kubeflow", "-o", str(tmp_path / "shop.yaml")]
    assert main.main(words) == 2
    assert "know nothing of each other" in capsys.readouterr().err


def tf_config(kind: str, index: int, chiefs: int = 1, workers: int = 2) -> dict[str, str]:
    """As the operator's genTFConfigJSONStr makes it."""
    cluster = {"worker": [f"shop-worker-{i}.kubeflow.svc:2222" for i in range(workers)]}
    if chiefs:
        cluster["chief"] = ["shop-chief-0.kubeflow.svc:2222"]
    document = {"cluster": cluster, "task": {"type": kind, "index": index}, "environment": "cloud"}
    return {"TF_CONFIG": json.dumps(document)}


def test_only_one_process_of_a_cluster_is_the_chief():
    assert training_task.other_worker({}) is training_task.other_worker({"TF_CONFIG": ""}) is None
    assert training_task.other_worker(tf_config("chief", 0)) is None
    assert training_task.other_worker(tf_config("worker", 0)) == "worker-0"
    assert training_task.other_worker(tf_config("worker", 1)) == "worker-1"
    assert training_task.other_worker(tf_config("worker", 0, chiefs=0)) is None
    assert training_task.other_worker(tf_config("worker", 1, chiefs=0)) == "worker-1"


@pytest.mark.parametrize("text", ["{", "5", "[]", "{}", '{"cluster": {}, "task": {"type": "worker"}}', '"x"'])
def test_tf_config_that_cannot_be_read_is_named(text):
    with pytest.raises(ConfigError, match="TF_CONFIG cannot be read"):
        training_task.other_worker({"TF_CONFIG": text})


@pytest.mark.parametrize("kind", ["ps", "evaluator", "master"])
def test_task_that_training_has_no_use_for_is_refused(kind):
    with pytest.raises(ConfigError, match=f"chief or worker; received '{kind}'"):
        training_task.other_worker(tf_config(kind, 0))


def test_config_inside_of_containers_needs_no_kfp(config_file):
    assert inside.config_inside(load(config_file)).config.root == "/hivemill/root"


@pytest.fixture
def begun(tmp_path):
    """A run whose nodes are launched one by one; its compiled pipeline is no real one."""
    folder = RunFolder(tmp_path, "2026-11-15-1a2b3c4d")
    record = records.new_record(folder.run_id, dates.day("2026-11-15"), 1, runner="steps", lateness=None, job="job-1")
    folder.write(record)
    folder.file(PIPELINE_JSON).write_text("{}")
    return folder


@pytest.fixture
def along(begun, monkeypatch):
    """Runs a worker whose training is the given function of the run's folder."""

    def run(training):
        worker = SimpleNamespace(train_along=lambda ir, node_id: training(begun))
        monkeypatch.setitem(sys.modules, "hivemill.pipeline.orchestrators.training_worker", worker)
        monkeypatch.setattr(stepwise_run, "read_pipeline", lambda path: "ir")
        monkeypatch.setattr(stepwise_run, "_check_node", lambda ir, node_id: None)
        monkeypatch.setattr(stepwise_run, "_CHIEF_POLL_SECONDS", 0.02)
        monkeypatch.setenv("TF_CONFIG", tf_config("worker", 1)["TF_CONFIG"])
        return stepwise_run.launch(str(begun.file(PIPELINE_JSON)), "Trainer", Console())

    return run


DONE = NodeRecord("Trainer", "succeeded", 5.0)
LOST = NodeRecord("Trainer", "failed", 1.0, error={"message": "a worker was lost", "hint": None, "exit_code": 6})


def test_worker_trains_along_under_the_chiefs_lock_and_waits_until_the_chief_has_exported(begun, along, tmp_path):
    begun.write_node(LOST)  # of an earlier try
    export = threading.Timer(0.3, begun.write_node, [DONE])
    with lock.run_lock(tmp_path, begun.run_id):
        record = along(lambda folder: export.start())
    assert not export.is_alive() and record.state == "succeeded"
    assert begun.node("Trainer") == dataclasses.asdict(DONE)  # the chief's own, which the worker leaves alone
    assert begun.file("log.worker-1.txt").exists()


def test_worker_whose_chief_is_lost_before_the_export_fails_so_that_it_is_started_again(begun, along, tmp_path):
    with pytest.raises(InfrastructureError, match="lost before it exported"):
        along(lambda folder: None)
    with lock.run_lock(tmp_path, begun.run_id), pytest.raises(InfrastructureError, match="lost before it exported"):

        def chief_starts_anew(folder):
            card = json.loads((tmp_path / lock.LOCK_NAME).read_text())
            changed = json.dumps(card | {"since_utc": "2026-11-15T03:00:00+00:00"}).ljust(512)
            threading.Timer(0.2, lambda: (tmp_path / lock.LOCK_NAME).write_text(changed)).start()

        along(chief_starts_anew)


def test_worker_of_a_chief_that_fails_fails_too(begun, along, tmp_path):
    with lock.run_lock(tmp_path, begun.run_id), pytest.raises(InfrastructureError, match="failed: a worker was lost"):
        along(lambda folder: folder.write_node(LOST))


def test_worker_of_a_training_that_has_ended_does_nothing_or_tells_what_is_final(begun, along):
    begun.write_node(DONE)
    assert along(lambda folder: pytest.fail("trained")) is None
    begun.write_node(dataclasses.replace(LOST, error=LOST.error | {"exit_code": 2, "message": "lower the rate"}))
    with pytest.raises(ConfigError, match="lower the rate"):
        along(lambda folder: pytest.fail("trained"))


def test_worker_of_a_run_that_has_ended_does_nothing(begun, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config("worker", 1)["TF_CONFIG"])
    begun.write(begun.read() | {"state": "succeeded", "exit_code": 0})
    assert stepwise_run.launch(str(begun.file(PIPELINE_JSON)), "Trainer", Console()) is None
    begun.write(begun.read() | {"state": "failed", "exit_code": 4})
    with pytest.raises(InfrastructureError, match="has ended with exit code 4"):
        stepwise_run.launch(str(begun.file(PIPELINE_JSON)), "Trainer", Console())


def test_node_with_a_wrong_tf_config_ends_with_2_and_says_why(begun, monkeypatch, capsys):
    monkeypatch.setenv("TF_CONFIG", "{")
    assert main.main(["node", "--node", "Trainer", "--pipeline", str(begun.file(PIPELINE_JSON))]) == 2
    assert "TF_CONFIG cannot be read: '{'" in capsys.readouterr().err
