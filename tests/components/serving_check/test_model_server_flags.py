"""Every command line of tensorflow_model_server here is one that it understands: the serving check's, which a stand-in
executable judges as it is started, and those of the manifests, the docs and the store's config files."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hivemill.common.errors import InfrastructureError
from hivemill.components.serving_check.server_process import find_server, running_server
from hivemill.serving.store.server_config import STATIC_FILES
from tests.support.tensorflow_serving_flags import FLAGS, mistakes

ROOT = Path(__file__).parents[3]
SERVING = ROOT / "deploy" / "serving"
STAND_IN = f"""#!{sys.executable}
import sys
if sys.argv[1:] == ["--version"]:
    print("TensorFlow ModelServer: 2.20.0\\nTensorFlow Library: 2.20.0")
    sys.exit()
sys.path.insert(0, {str(ROOT)!r})
from tests.support.tensorflow_serving_flags import mistakes
found = list(mistakes(sys.argv[1:]))
print("; ".join(found) or "understood: " + " ".join(sys.argv[1:]))
sys.exit(2 if found else 0)
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch) -> Path:
    program = tmp_path / "tensorflow_model_server"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return program


def _started_with(program: Path, folder: Path) -> list[str]:
    """The arguments that the stand-in has understood; it ends at once."""
    kind = find_server(None)
    assert (kind.binary, kind.version) == (str(program), "TensorFlow ModelServer: 2.20.0")
    with running_server(kind, folder) as server, pytest.raises(InfrastructureError, match="exit code 0") as caught:
        server.check_alive(60)
    _, understood, words = caught.value.hint.partition("understood: ")
    assert understood, caught.value.hint
    return shlex.split(words)


def test_the_serving_check_starts_it_with_flags_that_it_has(stand_in, tmp_path):
    flags = dict(word.removeprefix("--").split("=", 1) for word in _started_with(stand_in, tmp_path))
    assert flags["port"] == flags["rest_api_port"] == "0", "no port of the machine is taken"
    assert flags["grpc_socket_path"].endswith("/grpc.sock") and len(flags["grpc_socket_path"]) < 100
    assert flags["model_config_file"].endswith("/models.config")
    # By default it tries five times with a minute between before it says that a model cannot be loaded.
    assert flags["max_num_load_retries"] == "0"


def test_the_stand_in_refuses_what_the_server_would_pass_over(stand_in):
    done = subprocess.run([stand_in, "--model_base_path=/m", "--no_such_flag"], capture_output=True, text=True)
    assert done.returncode == 2 and "unknown argument: --no_such_flag" in done.stdout


def _commands() -> dict[str, list[str]]:
    """The arguments of each command line, by where it stands."""
    (compose,) = yaml.safe_load_all((SERVING / "compose.yaml").read_text("utf-8"))
    (kserve,) = yaml.safe_load_all((SERVING / "kserve" / "inference-service.yaml").read_text("utf-8"))
    found = {
        "compose.yaml": compose["services"]["tensorflow-serving"]["command"],
        "kserve": kserve["spec"]["predictor"]["containers"][0]["args"],
    }
    for document in yaml.safe_load_all((SERVING / "kubernetes" / "tensorflow-serving.yaml").read_text("utf-8")):
        if document["kind"] == "Deployment":
            found["kubernetes"] = document["spec"]["template"]["spec"]["containers"][0]["args"]
    for page in sorted((ROOT / "docs").glob("*.md")):
        for number, words in enumerate(_in_text(page.read_text("utf-8"))):
            found[f"docs/{page.name} {number}"] = words
    return found


def _in_text(text: str) -> list[list[str]]:
    """Commands at the beginning of a line of a page, continued by backslashes."""
    lines = re.findall(r"^tensorflow_model_server (--(?:[^\n\\]|\\\n)*)", text, re.MULTILINE)
    return [shlex.split(line.replace("\\\n", " ")) for line in lines]


COMMANDS = _commands()


def test_all_command_lines_are_found():
    assert {"compose.yaml", "kserve", "kubernetes", "docs/rollout.md 0"} <= set(COMMANDS)


@pytest.mark.parametrize("place", COMMANDS)
def test_command_line_is_understood(place):
    assert list(mistakes(COMMANDS[place])) == []


def test_flags_named_in_the_stores_files_and_in_the_docs_exist():
    pages = [(ROOT / "docs" / name).read_text("utf-8") for name in ("rollout.md", "serving.md")]
    named = {flag for text in (*STATIC_FILES.values(), *pages) for flag in re.findall(r"--([a-z]+(?:_[a-z]+)+)", text)}
    assert {"model_config_file", "enable_batching", "monitoring_config_file"} <= named <= set(FLAGS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "8500", "--model_base_path=/m"], "unknown argument: 8500"),
        (["-port=8500", "--model_base_path=/m"], "unknown argument: -port=8500"),
        (["--model_base_path=/m", "--rest_port=8501"], "unknown argument: --rest_port=8501"),
        (["--model_base_path=/m", "--port=http"], "--port=http: no int"),
        (["--model_base_path=/m", "--enable_batching=yes"], "--enable_batching=yes: no bool"),
        (["--model_base_path=/m", "--model_name"], "--model_name: no str"),
        (["--model_base_path=/m", "--model_base_path=/n"], "--model_base_path is given twice"),
        (["--model_base_path=/m", "--port=0"], "neither a port nor a socket"),
        (["--model_base_path=/m", "--rest_api_port=8500"], "REST is left out"),
        (["--port=1"], "neither --model_base_path nor --model_config_file"),
        (["--model_base_path=/m", "--batching_parameters_file=b"], "without --enable_batching"),
        (["--model_base_path=/m", "--monitoring_config_file=b"], "without --rest_api_port"),
    ],
)
def test_mistakes_are_found(words, message):
    assert any(message in found for found in mistakes(words))


def test_what_is_right_is_not_a_mistake():
    assert list(mistakes(["--version"])) == []
    assert list(mistakes(["--model_base_path=/m", "--enable_batching", "--batching_parameters_file=b"])) == []
