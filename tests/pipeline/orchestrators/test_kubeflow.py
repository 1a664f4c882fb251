"""Kubeflow Pipelines: the compiled file, and runs and schedule on a server that speaks the documented REST calls."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp import components
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.pipeline.cli import main
from hivemill.pipeline.config.loader import load
from hivemill.pipeline.orchestrators.kubeflow import nodes, spec
from hivemill.pipeline.orchestrators.kubeflow.service import Service
from tests.pipeline.orchestrators import kubeflow_server
from tests.pipeline.shop import CONFIG

NODES = ["HiveLogExampleGen", "Trainer", "Pusher"]
CLUSTER = {
    "metadata": {"backend": "mysql", "host": "mariadb", "user": "hivemill"},
    "kubeflow": {
        "image": "registry.example/hivemill:1",
        "secrets": [{"variable": "SLACK_URL", "secret": "alerts", "key": "slack"}],
        "environment": {"TZ": "UTC"},
        "steps": {
            "default": {"cpu": "2", "memory": "4Gi", "timeout_seconds": 3600},
            "Trainer": {
                "memory": "16Gi",
                "accelerator": "nvidia.com/gpu",
                "accelerators": 1,
                "tolerated_taint": "nvidia.com/gpu",
                "node_selector": {"pool": "gpu"},
                "timeout_seconds": 7200,
            },
        },
    },
}


@pytest.fixture(scope="module")
def config_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "hivemill.yaml"
    path.write_text(yaml.safe_dump(CONFIG | CLUSTER, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def package(config_file) -> Path:
    path = config_file.with_name("shop.yaml")
    spec.write(load(config_file, ["training.epochs=7"]), NODES, path)
    return path


@pytest.fixture(scope="module")
def documents(package) -> tuple[dict, dict]:
    """The pipeline spec and the platform spec."""
    first, second = yaml.safe_load_all(package.read_text())
    return first, second


def test_file_loads_in_kfp_and_is_the_same_after_a_round_trip(package, tmp_path):
    loaded = components.load_component_from_file(str(package))
    assert set(loaded.component_spec.inputs) == {"date", "overrides"}
    again = tmp_path / "again.yaml"
    components.load_component_from_file(str(package))
    from kfp import compiler

    compiler.Compiler().compile(loaded, str(again))
    first, second = (list(yaml.safe_load_all(path.read_text())) for path in (package, again))
    assert first == second


def test_file_is_a_pipeline_spec_and_a_platform_spec_by_their_protos(documents):
    pipeline = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
    assert pipeline.schema_version == "2.1.0"
    platform = json_format.ParseDict(documents[1], pipeline_spec_pb2.PlatformSpec())
    executors = platform.platforms["kubernetes"].deployment_spec.executors
    assert set(executors) == set(documents[0]["deploymentSpec"]["executors"])
    for one in executors.values():
        json_format.ParseDict(json_format.MessageToDict(one), kubernetes_executor_config_pb2.KubernetesExecutorConfig())


def test_steps_are_in_the_order_of_the_local_runner_between_begin_and_end(documents):
    tasks = documents[0]["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    chain = ["begin", *(name.lower() for name in NODES), "end-2"]
    assert set(tasks) == set(chain)
    for before, after in itertools.pairwise(chain):
        assert before in tasks[after]["dependentTasks"]
    assert documents[0]["root"]["dag"]["tasks"]["end"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


def test_every_step_has_volume_secrets_retries_no_cache_and_its_resources(documents):
    pipeline, platform = documents
    executors = pipeline["deploymentSpec"]["executors"]
    kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, executor in executors.items():
        container, extra = executor["container"], kubernetes[name]
        assert container["image"] == "registry.example/hivemill:1" and container["command"] == ["hivemill"]
        assert container["env"] == [{"name": "TZ", "value": "UTC"}]
        assert extra["pvcMount"][0]["mountPath"] == "/hivemill" and extra["pvcMount"][0]["constant"] == "hivemill"
        variables = {one["secretName"]: one["keyToEnv"] for one in extra["secretAsEnv"]}
        assert variables["hivemill-metadata"] == [{"envVar": "HIVEMILL_METADATA_PASSWORD", "secretKey": "password"}]
        assert variables["alerts"] == [{"envVar": "SLACK_URL", "secretKey": "slack"}]
    trainer = executors["exec-trainer"]["container"]["resources"]
    assert (trainer["resourceCpuLimit"], trainer["resourceMemoryLimit"]) == ("2", "16Gi")
    assert (trainer["accelerator"]["resourceType"], trainer["accelerator"]["resourceCount"]) == ("nvidia.com/gpu", "1")
    assert "accelerator" not in executors["exec-pusher"]["container"]["resources"]
    assert kubernetes["exec-trainer"]["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert kubernetes["exec-trainer"]["nodeSelector"]["labels"] == {"pool": "gpu"}
    deadlines = {name: one["activeDeadlineSeconds"] for name, one in kubernetes.items()}
    assert (deadlines["exec-trainer"], deadlines["exec-begin"]) == ("7200", "3600")
    tasks = {**pipeline["root"]["dag"]["tasks"], **pipeline["components"]["comp-exit-handler-1"]["dag"]["tasks"]}
    for name, task in tasks.items():
        if name != "exit-handler-1":
            assert task["cachingOptions"] == {} and task["retryPolicy"]["maxRetryCount"] == 2
    # Argo counts from the first attempt: three of an hour (two hours for the Trainer), and pauses of 60 and 120 s.
    windows = {name: one.get("retryPolicy", {}).get("backoffMaxDuration") for name, one in tasks.items()}
    assert (windows["begin"], windows["trainer"]) == (f"{3 * 3600 + 180}s", f"{3 * 7200 + 180}s")
    user = {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True}
    assert all(extra["securityContext"] == user for extra in kubernetes.values())


@pytest.mark.parametrize(
    ("section", "rule"),
    [
        ("{steps: {default: {memory: 1.5Gi}}}", "steps.default.memory"),
        ("{steps: {default: {cpu: 2 cores}}}", "steps.default.cpu"),
        ("{volume_claim: my.claim}", "volume_claim"),
        ("{mount_path: /tmp}", "must be a folder of its own"),
        ("{mount_path: //}", "must be a folder of its own"),
        ("{steps: {default: {node_selector: {pool: a b}}}}", "node_selector"),
    ],
)
def test_what_a_cluster_refuses_is_refused_before(config_file, section, rule):
    with pytest.raises(ConfigError, match=rule):
        load(config_file, [f"kubeflow={section}"])


def test_config_inside_has_the_overrides_and_lies_on_the_volume(config_file):
    inside = spec.config_inside(load(config_file, ["training.epochs=7"], {"HIVEMILL__TRAINING__BATCH_SIZE": "64"}))
    assert (inside.config.training.epochs, inside.config.training.batch_size) == (7, 64)
    assert (inside.config.root, inside.config.source.table) == ("/hivemill/root", "/hivemill/log/clicks")
    assert spec.config_inside(inside).config == inside.config
    assert list(inside.config.features) == list(CONFIG["features"])  # their order is the model's


def test_no_password_is_in_the_file(package, monkeypatch):
    monkeypatch.setenv("HIVEMILL_METADATA_PASSWORD", "very secret")
    assert "very secret" not in package.read_text()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("kubeflow.image=null", "kubeflow.image is needed"),
        ("metadata={}", "metadata.backend must be mysql"),
        ("root=/elsewhere", "root: containers see the volume at /hivemill only; received /elsewhere"),
        ("source.table=/data/log", "source.table: containers see the volume"),
        ("root=/hivemillion", "root: containers see the volume"),
        ("source.table='log/{{workflow.name}}'", "Kubeflow would replace"),
        ("kubeflow.steps={Trianer: {cpu: '8'}}", "there is no step 'Trianer'.*Trainer"),
    ],
)
def test_config_that_fits_no_cluster_is_refused(config_file, tmp_path, override, words):
    with pytest.raises(ConfigError, match=words):
        spec.write(load(config_file, [override]), NODES, tmp_path / "x.yaml")
    assert not (tmp_path / "x.yaml").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("kubeflow.steps={Trainer: {accelerators: 1}}", "go together"),
        ("kubeflow.steps={Trainer: {memory: lots}}", "memory"),
        ("kubeflow.endpoint=localhost", "endpoint"),
        ("kubeflow.mount_path=data", "mount_path"),
        ("kubeflow.environment={HIVEMILL_METADATA_PASSWORD: x}", "comes from metadata_secret"),
    ],
)
def test_options_that_cannot_work(config_file, override, words):
    with pytest.raises(ConfigError, match=words):
        load(config_file, [override])


@pytest.fixture
def server():
    made = kubeflow_server.KubeflowServer()
    yield made
    made.close()


def service(config_file: Path, server: kubeflow_server.KubeflowServer, *overrides: str) -> Service:
    return Service(load(config_file, [f"kubeflow.endpoint={server.endpoint}", *overrides]).config)


def test_submit_starts_a_run_and_wait_follows_it(config_file, server, package):
    mine = service(config_file, server, "kubeflow.service_account=runner")
    run_id = mine.submit(package, "2026-11-15")
    (run,) = server.runs
    assert run["run_id"] == run_id and run["display_name"] == "shop 2026-11-15"
    assert run["runtime_config"]["parameters"] == {"date": "2026-11-15"}
    assert run["service_account"] == "runner"
    assert [one["display_name"] for one in server.experiments] == ["hivemill"]
    assert set(run["pipeline_spec"]) == {"pipeline_spec", "platform_spec"}
    said: list[str] = []
    mine.wait(run_id, said.append, poll_seconds=0)
    assert [line.rsplit(" ", 1)[1] for line in said] == ["PENDING", "RUNNING", "SUCCEEDED"]
    mine.submit(package, "2026-11-22")
    assert len(server.experiments) == 1


def test_run_that_fails_and_a_server_that_is_away_for_a_moment(config_file, server, package):
    mine = service(config_file, server)
    run_id = mine.submit(package, "2026-11-15")
    server.states, server.down_for = ["RUNNING", "FAILED"], 2
    said: list[str] = []
    with pytest.raises(InfrastructureError, match=rf"run {run_id} ended as FAILED"):
        mine.wait(run_id, said.append, poll_seconds=0)
    assert sum("(503): upstream is down; asked again" in line for line in said) == 2


def test_schedule_is_created_kept_and_replaced(config_file, server, package):
    mine = service(config_file, server)
    first = mine.schedule(package, "0 0 6 * * 1", {"date": "yesterday"})
    (made,) = server.recurring
    assert first == {"recurring_run_id": made["recurring_run_id"], "state": "created", "removed": []}
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 6 * * 1"}} and made["mode"] == "ENABLE"
    assert (made["no_catchup"], int(made["max_concurrency"])) == (True, 1)
    assert made["runtime_config"]["parameters"] == {"date": "yesterday"}

    assert mine.schedule(package, "0 0 6 * * 1", {"date": "yesterday"})["state"] == "unchanged"
    assert server.recurring == [made]

    replaced = mine.schedule(package, "0 0 7 * * 1", {"date": "yesterday"})
    assert (replaced["state"], replaced["removed"]) == ("replaced", [made["recurring_run_id"]])
    (left,) = server.recurring
    assert left["trigger"]["cron_schedule"]["cron"] == "0 0 7 * * 1"
    calls = [call.split("/")[0] for call in server.calls if "recurringruns" in call]
    assert calls.index("DELETE ") > [i for i, call in enumerate(calls) if call == "POST "][-1]


def test_schedule_clears_what_was_left_double_on_any_page_and_leaves_others_alone(config_file, server, package):
    mine = service(config_file, server)
    mine.schedule(package, "0 0 6 * * 1", {})
    kept = server.recurring[0]
    for number in range(5):
        server.recurring.append({**kept, "recurring_run_id": f"double-{number}", "description": "old"})
    server.recurring.append({**kept, "recurring_run_id": "other", "display_name": "another"})
    assert len(mine.schedule(package, "0 0 6 * * 1", {})["removed"]) == 5
    assert [one["recurring_run_id"] for one in server.recurring] == [kept["recurring_run_id"], "other"]


def test_token_is_sent_and_a_wrong_one_is_told(config_file, package, monkeypatch):
    server = kubeflow_server.KubeflowServer(token="right")
    monkeypatch.setenv("KFP_TOKEN", "right")
    service(config_file, server, "kubeflow.token_variable=KFP_TOKEN").submit(package, "2026-11-15")
    monkeypatch.setenv("KFP_TOKEN", "wrong")
    with pytest.raises(InfrastructureError, match=r"refuses to connect \(401\): .*no user identity") as caught:
        service(config_file, server, "kubeflow.token_variable=KFP_TOKEN").submit(package, "2026-11-15")
    assert "wrong" not in str(caught.value) and "token_variable" in caught.value.hint
    monkeypatch.delenv("KFP_TOKEN")
    with pytest.raises(ConfigError, match="the environment has no KFP_TOKEN"):
        service(config_file, server, "kubeflow.token_variable=KFP_TOKEN")
    server.close()


def test_endpoint_that_is_not_there(config_file, server, package):
    mine = service(config_file, server)
    server.close()
    with pytest.raises(InfrastructureError, match="does not answer"):
        mine.submit(package, "2026-11-15")
    with pytest.raises(InfrastructureError, match=r"does not answer \(to connect\)"):
        service(config_file, server)
    with pytest.raises(ConfigError, match=r"kubeflow\.endpoint is needed"):
        Service(load(config_file).config)


def test_verbs_compile_submit_and_schedule(config_file, server, tmp_path, capsys, monkeypatch):
    """Through the command line; the DAG's own nodes are compiled in the slow tests."""
    monkeypatch.setattr(nodes, "node_ids", lambda config: NODES)
    config = ["--config", str(config_file), "--set", f"kubeflow.endpoint={server.endpoint}"]
    out = tmp_path / "out.yaml"
    assert main.main([*config, "compile", "--engine", "kubeflow", "-o", str(out)]) == 0
    assert len(list(yaml.safe_load_all(out.read_text()))) == 2
    assert main.main([*config, "compile", "--engine", "kubeflow", "-o", str(tmp_path / "out.json")]) == 2
    assert main.main([*config, "submit", "kubeflow", "--date", "2026-11-31"]) == 2
    assert not server.runs
    assert main.main([*config, "submit", "kubeflow", "--date", "2026-11-15"]) == 0
    assert server.runs[0]["runtime_config"]["parameters"] == {"date": "2026-11-15"}
    assert main.main([*config, "schedule", "kubeflow"]) == 0
    assert not server.recurring
    assert main.main([*config, "schedule", "kubeflow", "--install"]) == 0
    assert server.recurring[0]["trigger"]["cron_schedule"]["cron"] == "0 0 6 * * 1"
    assert "created" in capsys.readouterr().out
    zone = ["--set", "schedule.timezone=Europe/Berlin"]
    assert main.main([*config, *zone, "schedule", "kubeflow"]) == 2
    assert "controller's timezone" in capsys.readouterr().err
