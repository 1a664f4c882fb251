"""The manifests of deploy/serving: Kubernetes' own fit their schemas (package kubernetes-validate), and the paths in
them are those that the pipeline writes to. Compose and KServe have their schemas in test_serving_schemas.py."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from hivemill.pipeline.config import loader as config_module
from hivemill.pipeline.scheduling import kubernetes
from hivemill.pipeline.scheduling.rendered import Started
from hivemill.serving.store.server_config import METRICS_PATH, MODELS_FILE, MONITORING_FILE
from tests.support.small_config import small_config

SERVING = Path(__file__).parents[2] / "deploy" / "serving"
SCHEDULE = "schedule: {kubernetes: {image: hivemill, volume_claim: mill, namespace: clicks}}\n"
CONFIG = small_config(SCHEDULE, table="log/clicks", root="hivemill")


def _documents(name: str) -> list[dict]:
    return list(yaml.safe_load_all((SERVING / name).read_text(encoding="utf-8")))


KUBERNETES = {document["kind"]: document for document in _documents("kubernetes/tensorflow-serving.yaml")}
(COMPOSE,) = _documents("compose.yaml")
(KSERVE,) = _documents("kserve/inference-service.yaml")
POD = KUBERNETES["Deployment"]["spec"]["template"]["spec"]
(SERVER,) = POD["containers"]
COMPOSED = COMPOSE["services"]["tensorflow-serving"]


def _flags(words: list[str]) -> dict[str, str]:
    return dict(word.removeprefix("--").split("=", 1) for word in words)


@pytest.mark.parametrize("kind", KUBERNETES)
def test_manifest_fits_the_schema_of_kubernetes(kind):
    kubernetes_validate.validate(KUBERNETES[kind], kubernetes_validate.latest_version(), strict=True)


def test_selectors_find_the_pods():
    labels = KUBERNETES["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        KUBERNETES["Deployment"]["spec"]["selector"]["matchLabels"],
        KUBERNETES["Service"]["spec"]["selector"],
        KUBERNETES["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        KUBERNETES["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector == labels for selector in selectors)
    target = KUBERNETES["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", KUBERNETES["Deployment"]["metadata"]["name"])
    assert "replicas" not in KUBERNETES["Deployment"]["spec"]


def test_server_reads_the_store_where_the_cron_job_writes_it(tmp_path):
    """models.config names versions by the path that the pipeline wrote them to, so both must mount the volume alike."""
    (tmp_path / "hivemill.yaml").write_text(CONFIG)
    started = Started(config_module.load(tmp_path / "hivemill.yaml"), (), "hivemill")
    job = list(yaml.safe_load_all(kubernetes.render(started).files[kubernetes.MANIFEST]))[1]
    run = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (root,) = (one["value"] for one in run["containers"][0]["env"] if one["name"] == "HIVEMILL__ROOT")
    flags = _flags(SERVER["args"])
    assert flags["model_config_file"] == f"{root}/models/{MODELS_FILE}"
    assert flags["monitoring_config_file"] == f"{root}/models/{MONITORING_FILE}"
    mounts = [
        {"claim": volume["persistentVolumeClaim"]["claimName"], "at": mount["mountPath"]}
        for pod in (run, POD)
        for volume in pod["volumes"]
        for mount in pod["containers"][0]["volumeMounts"]
        if "persistentVolumeClaim" in volume and mount["name"] == volume["name"]
    ]
    assert mounts[0] == mounts[1]
    assert job["metadata"]["namespace"] == KUBERNETES["Deployment"]["metadata"]["namespace"]


def test_compose_mounts_the_store_at_its_own_path_and_read_only():
    (volume,) = COMPOSED["volumes"]
    assert volume["source"] == volume["target"] == "${HIVEMILL_STORE}" and volume["read_only"]
    assert _flags(COMPOSED["command"])["monitoring_config_file"] == f"${{HIVEMILL_STORE}}/{MONITORING_FILE}"
    assert all(port.startswith("${HIVEMILL_SERVING_HOST:-127.0.0.1}:") for port in COMPOSED["ports"])


def test_both_servers_poll_and_take_labels_of_versions_that_still_load():
    for words in (SERVER["args"], COMPOSED["command"]):
        flags = _flags(words)
        assert int(flags["model_config_file_poll_wait_seconds"]) <= 10
        assert flags["allow_version_labels_for_unavailable_models"] == "true"
    assert SERVER["image"] in COMPOSED["image"]


def test_probes_ask_the_ports_that_are_there():
    ports = {port["name"]: port["containerPort"] for port in SERVER["ports"]}
    flags = _flags(SERVER["args"])
    assert (ports["grpc"], ports["http"]) == (int(flags["port"]), int(flags["rest_api_port"]))
    assert SERVER["livenessProbe"]["grpc"]["port"] == ports["grpc"]
    assert flags["enable_grpc_healthcheck_service"] == "true"
    for probe in ("startupProbe", "readinessProbe"):
        assert SERVER[probe]["httpGet"] == {"path": "/v1/models/shop/labels/stable", "port": "http"}
    annotations = KUBERNETES["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == METRICS_PATH


def test_autoscaler_has_the_requests_that_it_measures_by():
    assert SERVER["resources"]["requests"]["cpu"]
    spec = KUBERNETES["HorizontalPodAutoscaler"]["spec"]
    assert 1 < spec["minReplicas"] < spec["maxReplicas"]


def test_pod_has_time_to_be_forgotten_and_to_finish():
    pause = int(SERVER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pause < POD["terminationGracePeriodSeconds"]


def test_kserve_revision_serves_one_version_of_the_store():
    (container,) = KSERVE["spec"]["predictor"]["containers"]
    (mount,) = container["volumeMounts"]
    (variable,) = container["env"]
    assert mount["mountPath"] == f"/models/shop/{variable['value']}"
    assert mount["subPath"] == f"hivemill/models/shop/{variable['value']}"
    assert _flags(container["args"])["model_base_path"] == "/models/shop"
    assert 0 < KSERVE["spec"]["predictor"]["canaryTrafficPercent"] < 100
