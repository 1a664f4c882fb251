"""The walls of the house: imports go one way and never in a circle, folders stay small, the light parts stay light."""

import ast
import re
import subprocess
import sys
from collections import Counter
from functools import cache
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
MAX_FILES = 13  # __init__.py counts
_MODULE_OPTION = re.compile(r"^hivemill(\.\w+)+$")


def _files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def _module(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(("hivemill", *(parts[:-1] if parts[-1] == "__init__" else parts)))


@cache
def _modules() -> dict[str, Path]:
    return {_module(file): file for package in ALLOWED for file in _files(package)}


@cache
def _imports(file: Path) -> frozenset[str]:
    """Names that the file imports, anywhere in it; a module that it starts as a process (`-m NAME`) counts too."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _MODULE_OPTION.match(node.value):
            names.add(node.value)
    return frozenset(names)


def _top(name: str) -> str | None:
    first, _, rest = name.partition(".")
    return rest.split(".")[0] if first == "hivemill" else None


@cache
def _graph() -> dict[str, set[str]]:
    known = _modules()

    def targets(name: str) -> set[str]:
        while name and name not in known:
            name = name.rpartition(".")[0]
        return {name} if name else set()

    return {module: set().union(*map(targets, _imports(file))) - {module} for module, file in known.items()}


def _circles() -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan, SIAM J. Comput. 1, 1972)."""
    graph, found, index, low, stack = _graph(), [], {}, {}, []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            circle = [stack.pop()]
            while circle[-1] != module:
                circle.append(stack.pop())
            if len(circle) > 1:
                found.append(sorted(circle))

    for module in graph:
        if module not in index:
            visit(module)
    return found


def test_the_public_folders_are_linked_into_the_namespace():
    links = {link.name: link.resolve() for link in (ROOT / "src" / "hivemill").iterdir() if link.is_symlink()}
    assert links == {package: ROOT / package for package in ALLOWED}


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package):
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in _files(package)
        for name in _imports(file)
        if _top(name) in ALLOWED and _top(name) not in ALLOWED[package]
    ]
    assert not wrong


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_name_the_namespace(package):
    """`import data` would find whatever package of that name is first on the path."""
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in _files(package)
        for name in _imports(file)
        if name.split(".")[0] in ALLOWED
    ]
    assert not wrong


def test_no_modules_import_each_other_in_a_circle():
    assert _circles() == []


def test_folders_are_small():
    sizes = Counter(str(file.parent.relative_to(ROOT)) for file in _modules().values())
    assert {folder: size for folder, size in sizes.items() if size > MAX_FILES} == {}


def test_the_components_use_of_serving_the_model_store_and_the_server_process_only():
    """The serving check starts `hivemill.serving.server` as a process of its own."""
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in _files("components")
        for name in _imports(file)
        if _top(name) == "serving"
        and not name.startswith("hivemill.serving.store.")
        and not (name == "hivemill.serving.server" and file.name == "server_process.py")
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
    "module",
    [
        "hivemill.pipeline.runs.plan",
        "hivemill.pipeline.report.page",
        "hivemill.pipeline.runs.records",
        "hivemill.serving.store.model_store",
        "hivemill.data",
    ],
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


def test_a_class_name_occurs_once_in_the_product():
    """A reader who searches for a class finds it. Names with an underscore are their module's own."""
    found: dict[str, list[str]] = {}
    for module, file in _modules().items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(module)
    assert {name: places for name, places in found.items() if len(places) > 1} == {}
