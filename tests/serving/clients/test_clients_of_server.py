"""Every client against the dev server with two versions: Python, curl, grpcurl, Java; commands as in the docs."""

from __future__ import annotations

import base64
import json
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "serving-clients.md").read_text(encoding="utf-8")
INPUTS = {"hour": [9], "item": ["a"], "price": [1.5], "tags": ["x"], "tags_row_lengths": [1]}
ROW = {"hour": 9, "item": "a", "price": 1.5, "tags": ["x"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Version 1 is stable, version 2 with another bias canary; the store may be changed, the test that does is last."""
    from tests.serving.server.click_model import save
    from tests.serving.server.server_kit import STATE, Store, running

    folder = tmp_path_factory.mktemp("clients")
    store = Store(folder / "store", save(folder / "one"))
    store.folder.mkdir()
    store.add(1)
    store.add(2, save(folder / "two", bias=1.0))
    store.write([1, 2], stable=1, canary=2)
    with running(store) as client:
        client.store = store
        client.wait_for(lambda: client.states() == {1: STATE.AVAILABLE, 2: STATE.AVAILABLE})
        yield client


@pytest.fixture(scope="module")
def expected(server):
    """By version, from the server's own stubs."""
    return {
        label: server.predict(_tensors(), "predict", label).outputs["click_probability"].float_val[0]
        for label in ("stable", "canary")
    }


def _tensors():
    import numpy as np

    kinds = {"hour": np.int64, "price": np.float32, "tags_row_lengths": np.int64}
    return {name: np.array(values, kinds.get(name, object)) for name, values in INPUTS.items()}


def shell(command: str, *, cwd: Path) -> str:
    done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def command(title: str, number: int, server) -> str:
    """The n-th block of a section of the page, at this server's ports."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    block = re.findall(r"```\n(.*?)```", section, re.DOTALL)[number]
    block = block.replace("localhost:8501", f"127.0.0.1:{server.server.rest_port}")
    return block.replace("localhost:8500", f"127.0.0.1:{server.server.port}")


def test_python(server, expected):
    from hivemill.serving.client import PredictionClient
    from hivemill.serving.experiment.assignment import Split

    split = Split("s", 5000)
    with PredictionClient(f"127.0.0.1:{server.server.port}", "shop", split, timeout_seconds=20) as client:
        seen = {}
        for user in range(20):
            answer = client.predict([ROW, ROW], user)
            assert answer.variant == split.variant(user) and not answer.fell_back
            assert answer.model_version == {"stable": 1, "canary": 2}[answer.variant]
            assert answer.click_probabilities == pytest.approx([expected[answer.variant]] * 2, abs=1e-6)
            seen[answer.variant] = True
    assert len(seen) == 2


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl")
def test_curl(server, tmp_path):
    made = json.loads(shell(command("curl", 0, server), cwd=tmp_path))
    assert len(made["outputs"]) == 2 and all(0 < row[0] < 1 for row in made["outputs"])


@pytest.mark.skipif(not shutil.which("grpcurl"), reason="no grpcurl")
def test_grpcurl(server, expected, tmp_path):
    text = command("grpcurl", 0, server).replace("python -m", f"PYTHONPATH={ROOT} {sys.executable} -m")
    text = text.replace("-max-time 0.5", "-max-time 20")
    written, _, asked = text.partition("\n")
    shell(written, cwd=tmp_path)
    status, _, predicted = asked.partition("grpcurl -plaintext -protoset serving.protoset -max-time")
    assert '"AVAILABLE"' in shell(status, cwd=tmp_path)
    made = json.loads(shell("grpcurl -plaintext -protoset serving.protoset -max-time" + predicted, cwd=tmp_path))
    tensor = made["outputs"]["click_probability"]
    content = base64.b64decode(tensor.get("tensor_content", ""))
    values = struct.unpack(f"<{len(content) // 4}f", content) or tensor["float_val"]
    assert list(values) == [pytest.approx(expected["stable"], abs=1e-6)]
    assert made["model_spec"]["version"] == "1"


def test_the_protoset_has_every_file_once_after_what_it_needs():
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    from hivemill.serving.clients.protoset import protoset

    files = FileDescriptorSet.FromString(protoset()).file
    known = set()
    for one in files:
        assert set(one.dependency) <= known and one.name not in known
        known.add(one.name)
    services = {service.name for one in files for service in one.service}
    assert {"PredictionService", "ModelService"} <= services


@pytest.mark.skipif(not shutil.which("java"), reason="no java")
def test_java(server, expected, tmp_path):
    from hivemill.serving.experiment.assignment import Split

    split = Split.at_percent("s", 50)
    users = [*(str(number) for number in range(6)), "", "日本語"]
    shell(f"javac -Xlint:all -Werror -encoding UTF-8 -d . {ROOT}/serving/clients/Predict.java", cwd=tmp_path)
    base = ["java", "-Dfile.encoding=UTF-8", "-Dsun.jnu.encoding=UTF-8", "-cp", str(tmp_path), "Predict"]

    def ask(user, salt="s", inputs=INPUTS, url=f"http://127.0.0.1:{server.server.rest_port}"):
        words = [*base, url, "shop", salt, "50", user, json.dumps(inputs), "20000"]
        environment = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
        return subprocess.run(words, capture_output=True, text=True, check=False, env=environment)

    for user in users:
        done = ask(user)
        assert done.returncode == 0, done.stderr
        variant, _, answer = done.stdout.partition("\n")
        assert variant == split.variant(user)
        assert json.loads(answer)["outputs"] == [[pytest.approx(expected[variant], abs=1e-6)]]
    assert ask("1", inputs={"hour": [9]}).returncode == 1
    nobody = ask("1", url="http://127.0.0.1:1")
    assert nobody.returncode == 1 and "no version answered" in nobody.stderr


def test_users_of_a_canary_that_is_gone_get_stable(server, expected):
    """The last test: it takes the label away, as a rollback does, while clients still think that it is there."""
    from hivemill.serving.client import PredictionClient
    from hivemill.serving.experiment.assignment import Split

    everybody = Split("s", 10_000)
    with PredictionClient(f"127.0.0.1:{server.server.port}", "shop", everybody, timeout_seconds=20) as client:
        assert client.predict([ROW], "u").model_version == 2
        server.store.write([1], stable=1)
        server.wait_for(lambda: client.predict([ROW], "u").fell_back)
        answer = client.predict([ROW], "u")
    assert (answer.variant, answer.model_version) == ("canary", 1)
    assert "Unrecognized servable version label: canary" in answer.error
    assert answer.click_probabilities == pytest.approx([expected["stable"]], abs=1e-6)
