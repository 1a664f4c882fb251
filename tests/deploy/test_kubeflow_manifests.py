"""The manifests of deploy/kubeflow: valid for Kubernetes, and what the config's defaults name."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from hivemill.pipeline.metadata.options import MetadataOptions
from hivemill.pipeline.orchestrators.kubeflow.options import KubeflowOptions

FOLDER = Path(__file__).parents[2] / "deploy" / "kubeflow"
DOCUMENTS = [one for file in sorted(FOLDER.glob("*.yaml")) for one in yaml.safe_load_all(file.read_text())]


def named(kind: str) -> dict:
    (found,) = (one for one in DOCUMENTS if one["kind"] == kind)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: f"{one['kind']} {one['metadata']['name']}")
def test_manifest_is_valid_for_kubernetes(document):
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_names_are_those_of_the_options():
    options = KubeflowOptions()
    assert named("PersistentVolumeClaim")["metadata"]["name"] == options.volume_claim
    assert named("PersistentVolumeClaim")["spec"]["accessModes"] == ["ReadWriteMany"]
    container = named("StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    variables = {one["name"]: one for one in container["env"]}
    assert variables["MARIADB_DATABASE"]["value"] == MetadataOptions().database
    secret = variables["MARIADB_PASSWORD"]["valueFrom"]["secretKeyRef"]
    assert (secret["name"], secret["key"]) == (options.metadata_secret, "password")


def test_no_secret_is_written_down():
    assert "Secret" not in {one["kind"] for one in DOCUMENTS}


def test_submitter_may_do_what_the_client_does_and_no_more():
    rules = {resource: set(rule["verbs"]) for rule in named("Role")["rules"] for resource in rule["resources"]}
    assert rules["runs"] == rules["experiments"] == {"create", "get", "list"}
    assert rules["jobs"] == {"create", "get", "list", "delete"}
