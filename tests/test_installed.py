"""Hivemill as it is installed from a wheel: one package, complete, beside others of common names."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import hivemill

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with what the wheel holds, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    names = [name for name in tracked.decode().split("\0") if name and not name.startswith("tests/")]
    for name in names:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        link = ROOT / name
        if link.is_symlink():
            target.symlink_to(os.readlink(link))
        elif link.exists():
            target.write_bytes(link.read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        source,
    ]
    subprocess.run([*command, "-w", folder, source], check=True, env={**os.environ, "PIP_NO_INDEX": "1"})
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_only_hivemill_is_put_on_the_path(installed):
    assert {one.name.partition("-")[0] for one in installed.iterdir()} == {"hivemill"}
    assert not any(one.is_symlink() for one in installed.rglob("*"))


def test_every_module_and_file_that_it_reads_is_there(installed):
    packages = ("common", "components", "data", "pipeline", "schema", "serving")
    kinds = {".py", ".yaml", ".hql", ".pbtxt", ".j2", ".css", ".json", ".typed"}
    wanted = {
        file.relative_to(ROOT).as_posix()
        for package in packages
        for file in (ROOT / package).rglob("*")
        if file.suffix in kinds and file.is_file()
    }
    found = {file.relative_to(installed / "hivemill").as_posix() for file in (installed / "hivemill").rglob("*")}
    assert wanted - found == set()
    assert "py.typed" in found


def test_it_starts_in_a_folder_with_packages_of_the_same_names(installed, tmp_path):
    for name in ("pipeline", "components", "data", "schema", "common", "serving"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('this is not Hivemill')")
    command = [sys.executable, "-m", "hivemill", "config", "show", "--config", "no.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (2, "")
    assert "no.yaml" in said.stderr and "Traceback" not in said.stderr
    code = "import hivemill; print(hivemill.__file__)"
    where = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert where.stdout.strip() == str(installed / "hivemill" / "__init__.py")


def test_public_names_are_those_of_the_docstring_and_load_on_first_use():
    for name in hivemill.__all__:
        assert getattr(hivemill, name) is not None, name
    assert set(hivemill._PUBLIC) | {"__version__"} == set(hivemill.__all__)
    with pytest.raises(AttributeError, match="module 'hivemill' has no attribute 'nothing'"):
        hivemill.nothing  # noqa: B018


def test_importing_it_loads_nothing_else():
    code = "import sys; before = set(sys.modules); import hivemill; print(sorted(set(sys.modules) - before))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "hivemill.common" not in said.stdout and "pyarrow" not in said.stdout
