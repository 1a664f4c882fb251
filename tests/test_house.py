"""The walls of the house: imports go one way, and the light parts stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "common": {"common"},
    "schema": {"schema", "common"},
    "data": {"data", "common", "schema"},
    "serving": {"serving", "common"},
    "components": {"components", "common", "serving"},
    "pipeline": {"pipeline", "components", "serving", "data", "schema", "common"},
}
WITHOUT_TFX = ("common", "schema", "data", "serving")


def _imports(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package):
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in _files(package)
        for name in _imports(file)
        if name.split(".")[0] in ALLOWED and name.split(".")[0] not in ALLOWED[package]
    ]
    assert not wrong


def test_of_serving_the_components_use_the_model_store_only():
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in _files("components")
        for name in _imports(file)
        if name.startswith("serving") and not name.startswith("hivemill.serving.store.model_store")
    ]
    assert not wrong


@pytest.mark.parametrize("package", WITHOUT_TFX)
def test_no_tfx_below_the_components(package):
    heavy = {"tfx", "tensorflow", "tensorflow_transform", "tensorflow_model_analysis", "apache_beam"}
    heavy_for_servers = heavy - {"tensorflow"}  # serving.server runs SavedModels
    wrong = [
        f"{f.relative_to(ROOT)}: {n}"
        for f in _files(package)
        for n in _imports(f)
        if n.split(".")[0] in (heavy_for_servers if ROOT / "serving/server" in f.parents else heavy)
    ]
    assert not wrong


def test_nobody_imports_tfx_v1_which_loads_the_google_cloud_clients():
    wrong = [
        f"{file.relative_to(ROOT)}: {name}"
        for package in ALLOWED
        for file in _files(package)
        for name in _imports(file)
        if name == "tfx.v1" or name.startswith("tfx.v1.") or name.startswith("tfx.extensions")
    ]
    assert not wrong


@pytest.mark.parametrize(
    "module", ["hivemill.pipeline.runs.plan", "hivemill.pipeline.report.page", "hivemill.pipeline.runs.records", "hivemill.serving.store.model_store", "data"]
)
def test_light_modules_load_no_tensorflow_and_no_beam(module):
    code = f"import sys, {module}; print([m for m in ('tensorflow', 'tfx', 'apache_beam') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_environment_for_keras_is_chosen_in_one_place_only():
    mentions = [
        str(file.relative_to(ROOT))
        for package in ALLOWED
        for file in _files(package)
        if "TF_USE_LEGACY_KERAS" in file.read_text(encoding="utf-8")
    ]
    assert mentions == ["common/runtime.py"]
