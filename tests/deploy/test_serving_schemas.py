"""The Compose file and the InferenceService of deploy/serving against what Compose and KServe say of their formats.

Both come in packages of PyPI, which `make schemas-env` installs in `.venvs/schemas`; HIVEMILL_SCHEMAS names another
environment. Without it these tests are skipped; with HIVEMILL_REQUIRE_SCHEMAS=1, as in CI, they fail.
"""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.deploy import kserve_types

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SERVING = ROOT / "deploy" / "serving"


def _folder(package: str) -> Path:
    """The site-packages folder with the package."""
    environment = Path(os.environ.get("HIVEMILL_SCHEMAS") or ROOT / ".venvs" / "schemas")
    found = next(environment.glob(f"lib/python3*/site-packages/{package}"), None)
    if found is None:
        words = f"no {package} in {environment}; `make schemas-env` installs it"
        pytest.fail(words) if os.environ.get("HIVEMILL_REQUIRE_SCHEMAS") == "1" else pytest.skip(words)
    return found.parent


def _document(name: str) -> dict:
    return yaml.safe_load((SERVING / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def compose_schema() -> jsonschema.protocols.Validator:
    vendored = _folder("check_jsonschema") / "check_jsonschema" / "builtin_schemas" / "vendor"
    schema = json.loads((vendored / "compose-spec.json").read_text(encoding="utf-8"))
    return jsonschema.validators.validator_for(schema)(schema)


@pytest.fixture(scope="module")
def kserve():
    """KServe's types; other tests get their modules back as they were."""
    folder = _folder("kserve")
    models = kserve_types.load(folder)
    yield models
    for name in [name for name in sys.modules if name.split(".")[0] == "kserve"]:
        del sys.modules[name]


def test_compose_file_fits_its_schema(compose_schema):
    compose_schema.validate(_document("compose.yaml"))


def _misspelt(service: dict) -> None:
    service["comand"] = service.pop("command")


def _of_another_type(service: dict) -> None:
    service["read_only"] = ["yes"]


def _unknown_below(service: dict) -> None:
    service["healthcheck"]["retry"] = 3


@pytest.mark.parametrize("spoil", [_misspelt, _of_another_type, _unknown_below])
def test_compose_schema_finds_mistakes(compose_schema, spoil: Callable[[dict], None]):
    document = _document("compose.yaml")
    spoil(document["services"]["tensorflow-serving"])
    assert list(compose_schema.iter_errors(document))


def _mistakes(models, document: dict) -> list[str]:
    assert (document["apiVersion"], document["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    return list(kserve_types.mistakes(models, "V1beta1InferenceService", document))


def test_inference_service_fits_kserves_types(kserve):
    assert _mistakes(kserve, _document("kserve/inference-service.yaml")) == []


@pytest.mark.parametrize(
    ("place", "key", "value", "message"),
    [
        ((), "canaryTraficPercent", 10, ".spec.predictor: V1beta1PredictorSpec has no field canaryTraficPercent"),
        ((), "canaryTrafficPercent", "10", ".spec.predictor.canaryTrafficPercent: '10' is no int"),
        ((), "minReplicas", True, "True is no int"),
        (("containers", 0), "arguments", [], ".spec.predictor.containers[0]: V1Container has no field arguments"),
        (("containers", 0), "args", "--port=1", "is no list"),
        (("containers", 0), "name", None, "Invalid value for `name`, must not be `None`"),
        (("containers", 0, "resources"), "limits", {"cpu": ["1"]}, ".limits[cpu]: ['1'] is no "),
        (("volumes", 0, "persistentVolumeClaim"), "claim", "mill", "has no field claim"),
    ],
)
def test_kserves_types_find_mistakes(kserve, place, key, value, message):
    document = copy.deepcopy(_document("kserve/inference-service.yaml"))
    below = document["spec"]["predictor"]
    for step in place:
        below = below[step]
    below[key] = value
    if value is None:
        del below[key]
    found = _mistakes(kserve, document)
    assert len(found) == 1 and message in found[0], found
