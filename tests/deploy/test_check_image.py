"""The Dockerfile as deploy/check_image.py reads it; the slow test builds it in a Debian 13 root and tries the image."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "deploy" / "check_image.py"


@pytest.fixture(scope="module")
def check_image():
    spec = importlib.util.spec_from_file_location("check_image", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(SCRIPT.parent))  # as Python does for a script
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(SCRIPT.parent))
    del sys.modules[spec.name]


def instructions(check_image, name: str) -> list[str]:
    stages = check_image.parse_dockerfile((REPOSITORY / "Dockerfile").read_text())
    return [one.text for one in stages[-1].instructions if one.name == name]


def test_continued_lines_comments_stages_and_arguments(check_image):
    text = "ARG A=debian:x\n# c\nFROM ${A} AS one\nRUN a \\\n && b\n\nFROM one\nCOPY --from=one /x /y\n"
    first, last = check_image.parse_dockerfile(text)
    assert (first.name, first.base, last.name, last.base) == ("one", "debian:x", "stage-1", "one")
    assert first.instructions == (check_image.Instruction(4, "RUN", "a   && b"),)
    assert last.instructions[0].text == "--from=one /x /y"


def test_another_base_takes_the_place_of_the_dockerfiles_own(check_image):
    text = (REPOSITORY / "Dockerfile").read_text()
    of_file = {stage.base for stage in check_image.parse_dockerfile(text)}
    stages = check_image.parse_dockerfile(text, {check_image.BASE_ARGUMENT: "ubuntu:24.04"})
    assert {stage.base for stage in stages} == of_file - {"debian:trixie-slim"} | {"ubuntu:24.04"}
    assert "debian:trixie-slim" in of_file


def test_a_base_is_made_of_its_suite_and_signed_by_its_keyring(check_image, tmp_path):
    debian = check_image.known_bases()["debian:trixie-slim"]
    assert debian.command(tmp_path)[-3:] == ["trixie", str(tmp_path), debian.mirror]
    command = check_image.known_bases("http://m/ubuntu", "/k.gpg")["ubuntu:24.04"].command(tmp_path)
    assert command[-4:-1] == ["noble", str(tmp_path), "http://m/ubuntu"] and command[-1].endswith("/gutsy")
    assert {"--keyring=/k.gpg", "--components=main,universe"} <= set(command)


def test_an_unknown_base_and_a_missing_keyring_are_named(check_image, tmp_path):
    (tmp_path / "Dockerfile").write_text("ARG DEBIAN=debian:trixie-slim\nFROM ${DEBIAN}\nRUN true\n")
    (tmp_path / ".dockerignore").write_text("*\n")
    bases = check_image.known_bases(keyring=str(tmp_path / "absent.gpg"))
    for base, message in (("alpine:3", r"FROM alpine:3: this check knows debian.*ubuntu"), ("ubuntu:24.04", "absent")):
        with pytest.raises(check_image.CheckFailed, match=message):
            check_image.ImageCheck(tmp_path, tmp_path / "work", bases, base).build()
    assert not list((tmp_path / "work").glob("ubuntu*"))


@pytest.mark.parametrize("text", ["RUN x", "FROM a\nADD http x", "FROM a\nONBUILD RUN x"])
def test_what_the_check_cannot_carry_out_is_refused_with_its_line(check_image, text):
    with pytest.raises(check_image.CheckFailed, match=rf"line {text.count(chr(10)) + 1}: .* (RUN|ADD|ONBUILD)"):
        check_image.parse_dockerfile(text)


def test_the_image_is_not_root_and_runs_hivemill(check_image):
    assert instructions(check_image, "USER") == ["10001:10001"]
    assert [json.loads(one) for one in instructions(check_image, "ENTRYPOINT")] == [["hivemill"]]
    environment = dict(word.split("=", 1) for word in shlex.split(" ".join(instructions(check_image, "ENV"))))
    assert environment["PATH"].startswith("/opt/hivemill/bin:"), "Beam's worker pool starts `python` from PATH"


def test_the_compiler_stays_in_the_build_stages(check_image):
    assert not [one for one in instructions(check_image, "RUN") if "g++" in one or "-dev" in one]


def test_every_package_of_the_project_is_copied_and_not_ignored(check_image):
    stages = check_image.parse_dockerfile((REPOSITORY / "Dockerfile").read_text())
    copied = {
        source for stage in stages for one in stage.instructions if one.name == "COPY" and "--from" not in one.text
        for source in check_image.copy_words(one)[1]
    }  # fmt: skip
    packages = {one.parent.name for one in REPOSITORY.glob("*/__init__.py")} - {"benchmarks", "tests"}
    assert packages <= copied
    assert {source.split("/")[0] for source in copied} <= check_image.copied_by(REPOSITORY / ".dockerignore")
    assert [source for source in sorted(copied) if not (REPOSITORY / source).exists()] == []


def test_copy_of_what_is_ignored_or_absent_fails_before_any_cost(check_image, tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM debian:trixie-slim\nCOPY secret secret\nCOPY kept kept\n")
    (tmp_path / ".dockerignore").write_text("*\n!kept\n")
    (tmp_path / "secret").write_text("x")
    check = check_image.ImageCheck(tmp_path, tmp_path / "work", check_image.known_bases("http://mirror.invalid/debian"))
    secret, kept = check.stages[0].instructions
    with pytest.raises(check_image.CheckFailed, match=r"line 2: secret is not in \.dockerignore"):
        check._content(secret)
    with pytest.raises(check_image.CheckFailed, match="line 3: COPY kept: no such file"):
        check._content(kept)


def test_a_stage_is_built_anew_when_what_it_copies_changes(check_image, tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM debian:trixie-slim\nCOPY kept kept\n")
    (tmp_path / ".dockerignore").write_text("*\n!kept\n")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a.py").write_text("1")
    check = check_image.ImageCheck(tmp_path, tmp_path / "work", check_image.known_bases("http://mirror.invalid/debian"))
    (one,) = check.stages[0].instructions
    before = check._content(one)
    (tmp_path / "kept" / "__pycache__").mkdir()
    (tmp_path / "kept" / "__pycache__" / "a.pyc").write_text("1")
    assert check._content(one) == before
    (tmp_path / "kept" / "a.py").write_text("2")
    assert check._content(one) != before


def test_it_says_what_the_machine_lacks(check_image, monkeypatch, capsys):
    monkeypatch.setattr(check_image.shutil, "which", lambda tool: None if tool == "debootstrap" else "/bin/x")
    monkeypatch.setattr(check_image.os, "geteuid", lambda: 1000)
    assert check_image.main([]) == 2
    assert "lacks debootstrap, root" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_image_builds_and_runs_the_demo_without_network(check_image, tmp_path):
    """HIVEMILL_IMAGE_WORK keeps the roots between runs; without it they are made in a temporary folder and removed."""
    if lacking := check_image.missing_tools():
        pytest.skip(f"the image check needs {', '.join(lacking)}")
    work = os.environ.get("HIVEMILL_IMAGE_WORK")
    command = [sys.executable, str(SCRIPT), "--demo", *(["--work", work] if work else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["demo"] and 1e9 < facts["bytes"] < 4e9
