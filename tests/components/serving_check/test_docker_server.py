"""tensorflow_model_server by `serving_check.docker_image`, with a stand-in for docker's command line.

The stand-in takes the options of `docker run` that exist and no others, judges the server's own flags, and then is the
dev server; what a real engine does with these words is for a machine with one.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from hivemill.common.errors import InfrastructureError
from hivemill.components.serving_check.options import ServingCheckOptions
from hivemill.components.serving_check.server_process import find_server, running_server

ROOT = Path(__file__).parents[3]
IMAGE = "tensorflow/serving:2.20.0"
DOCKER = f"""#!{sys.executable}
import json, os, pathlib, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.support.tensorflow_serving_flags import mistakes
state = pathlib.Path(__file__).parent
with open(state / "calls.jsonl", "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
verb, *words = sys.argv[1:]
if verb == "inspect":
    assert words[0] == "--format={{{{.State.Pid}}}}"
    print((state / words[1]).read_text())
    sys.exit()
if verb == "rm":
    assert words[0] == "--force"
    sys.exit()
options = {{}}
while words[0].startswith("--"):
    name, _, value = words.pop(0).partition("=")
    options.setdefault(name, []).append(value)
image, *arguments = words
if image != {IMAGE!r}:
    sys.exit(f"Unable to find image '{{image}}' locally")
assert options.pop("--entrypoint") == ["tensorflow_model_server"]
if arguments == ["--version"]:
    sys.exit(print("TensorFlow ModelServer: 2.20.0\\nTensorFlow Library: 2.20.0"))
found = list(mistakes(arguments))
(name,) = options.pop("--name")
(state / name).write_text(str(os.getpid()))
flags = dict(word.removeprefix("--").split("=", 1) for word in arguments)
written, read = (volume.split(":") for volume in options.pop("--volume"))
used = [os.path.dirname(flags[name]) for name in ("grpc_socket_path", "model_config_file")]
assert [*written, *written] == [*used, *used]
assert read[0] == read[1] and read[2:] == ["ro"] and os.path.isdir(read[0])
assert options.pop("--user") == [f"{{os.getuid()}}:{{os.getgid()}}"]
known = {{"--rm", "--init", "--pull", "--network", "--cap-drop", "--security-opt", "--read-only", "--env"}}
if found or set(options) - known:
    sys.exit(f"{{found}} {{options}}")
if "--fail" in pathlib.Path(read[0]).name:
    sys.exit("no space for the model")
command = [sys.executable, "-m", "hivemill.serving.server", "--model-config", flags["model_config_file"]]
os.execv(sys.executable, [*command, "--socket", flags["grpc_socket_path"]])
"""


@pytest.fixture
def docker(tmp_path, monkeypatch) -> Path:
    """The stand-in on PATH; what it was asked is in calls.jsonl beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder / "docker"


def calls(docker: Path) -> list[list[str]]:
    return [json.loads(line) for line in (docker.parent / "calls.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_check_in_a_container_is_whole_and_leaves_none_behind(docker, tmp_path):
    from hivemill.components.serving_check.executor import check
    from tests.serving.server.click_model import rows, save

    model = save(tmp_path / "model" / "Format-Serving")
    document = check(model, ServingCheckOptions(docker_image=IMAGE, latency_seconds=0.05), lambda: rows(5))
    assert document["state"] == "passed"
    assert document["server"] == {
        "kind": "tensorflow_model_server",
        "version": "TensorFlow ModelServer: 2.20.0",
        "path": f"{docker} run {IMAGE}",
    }
    assert document["memory_bytes"] > 50 * 2**20
    asked = calls(docker)
    assert [one[0] for one in asked] == ["run", "run", "inspect", "rm"]
    (name,) = (word.removeprefix("--name=") for word in asked[1] if word.startswith("--name="))
    assert asked[2][-1] == asked[3][-1] == name and re.fullmatch(r"hivemill-check-[0-9a-f]{12}", name)
    assert {"--pull=never", "--network=none", "--read-only", "--cap-drop=ALL", "--rm", "--init"} <= set(asked[1])


def test_a_container_that_ends_is_red_and_removed(docker, tmp_path):
    (tmp_path / "--fail").mkdir()
    kind = find_server(None, IMAGE)
    with running_server(kind, tmp_path / "--fail") as server, pytest.raises(InfrastructureError) as caught:
        server.check_alive(60)
    assert "ended by itself (exit code 1)" in caught.value.message and caught.value.hint == "no space for the model"
    assert calls(docker)[-1][:2] == ["rm", "--force"]


def test_a_container_that_cannot_be_seen_has_no_memory_of_zero(docker, tmp_path):
    (tmp_path / "--fail").mkdir()
    with running_server(find_server(None, IMAGE), tmp_path / "--fail") as server:
        with pytest.raises(InfrastructureError, match="ended by itself"):
            server.check_alive(60)
        with pytest.raises(InfrastructureError, match="cannot be seen from here"):
            server.memory_bytes()


def test_an_image_that_is_not_here_is_named_with_what_to_do(docker):
    with pytest.raises(
        InfrastructureError, match="tensorflow/serving:9 does not start: Unable to find image"
    ) as caught:
        find_server(None, "tensorflow/serving:9")
    assert "docker pull tensorflow/serving:9" in caught.value.hint and caught.value.exit_code == 6


def test_no_docker_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InfrastructureError, match="there is no docker on PATH"):
        find_server(None, IMAGE)


def test_a_program_and_an_image_are_one_too_many():
    with pytest.raises(ValueError, match="two servers"):
        ServingCheckOptions(model_server="/usr/bin/tensorflow_model_server", docker_image=IMAGE)
