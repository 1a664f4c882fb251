"""ServingCheck through its TFX executor: real servers on small models, good ones and broken ones."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils, standard_artifacts

from hivemill.common.errors import InfrastructureError
from hivemill.components.serving_check import judge, replay, requests
from hivemill.components.serving_check.executor import ServingCheckExecutor, check
from hivemill.components.serving_check.options import ServingCheckOptions
from hivemill.components.serving_check.server_process import find_server, running_server
from tests.serving.server.click_model import example, rows, save

ROWS = rows(70)
QUICK = {"latency_seconds": 0.05}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return save(tmp_path_factory.mktemp("good") / "Format-Serving")


@pytest.fixture
def execute(tmp_path):
    """Runs the executor; returns (infra blessing, serving_check.json)."""

    def run(saved_model: Path, blessed: int = 1, **options):
        model, examples, blessing = (
            standard_artifacts.Model(), standard_artifacts.Examples(), standard_artifacts.ModelBlessing()
        )  # fmt: skip
        model.uri, examples.uri = str(saved_model.parent), str(tmp_path / "examples")
        examples.split_names = artifact_utils.encode_split_names(["train", "eval"])
        folder = tmp_path / "examples" / "Split-eval"
        folder.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / "data.gz"), "GZIP") as writer:
            for row in ROWS:
                writer.write(row)
        blessing.set_int_custom_property("blessed", blessed)
        output = standard_artifacts.InfraBlessing()
        output.uri = str(tmp_path / "output")
        Path(output.uri).mkdir()
        ServingCheckExecutor(base_executor.BaseExecutor.Context(tmp_dir=str(tmp_path), unique_id="1")).Do(
            {"model": [model], "examples": [examples], "blessing": [blessing]},
            {"infra_blessing": [output]},
            {"options": ServingCheckOptions(**QUICK, **options).model_dump_json(), "label_column": "click"},
        )
        return output, json.loads((tmp_path / "output" / judge.FILE_NAME).read_text())

    return run


def test_a_good_model_passes_and_all_is_measured(execute, good):
    output, document = execute(good)
    assert output.get_int_custom_property("blessed") == 1
    assert (Path(output.uri) / "INFRA_BLESSED").exists()
    assert (document["state"], document["reason"], document["server"]["kind"]) == ("passed", None, "dev server")
    assert document["rows"] == len(ROWS)
    seen = {(one["signature"], one["what"]) for one in document["differences"] if one["rows"]}
    assert {signature for signature, _ in seen} == {"serving_default", "transformed_features", "predict"}
    assert ("serving_default", "features in another order") in seen
    assert ("predict", "columns in another order") in seen
    assert all(one["difference"] <= 1e-5 for one in document["differences"])
    assert [one["rows"] for one in document["latency"]] == [1, 64]
    assert all(0 < one["p50_ms"] <= one["p99_ms"] for one in document["latency"])
    assert document["memory_bytes"] > 50 * 2**20 and 0 < document["load_seconds"] < 120
    assert len(document["bounds"]) == 7 and all(bound["passed"] for bound in document["bounds"])


def test_a_signature_that_says_something_else_is_red_and_named(execute, tmp_path):
    broken = save(tmp_path / "model" / "Format-Serving", skew=0.25)
    with pytest.raises(InfrastructureError) as caught:
        execute(broken, max_memory_mib=1, max_p99_ms_1_row=1e-3)
    message = caught.value.message
    assert "signature `predict`, named columns): 0.25 > 1e-05" in message
    assert "peak memory: " in message and "> 1 MiB" in message
    assert "p99 latency of 1 row: " in message
    assert caught.value.exit_code == 6
    document = caught.value.details
    assert document["state"] == "failed"
    assert {b["name"] for b in document["bounds"] if not b["passed"]} == {
        "max_difference", "max_memory_mib", "max_p99_ms_1_row"
    }  # fmt: skip
    json.dumps(document, allow_nan=False)
    assert not list((tmp_path / "output").iterdir())


def test_a_model_that_is_not_blessed_is_not_checked(execute, tmp_path):
    output, document = execute(tmp_path / "nothing here" / "Format-Serving", blessed=0)
    assert output.get_int_custom_property("blessed") == 0
    assert document["state"] == "skipped" and "not blessed" in document["reason"]


def test_a_corrupt_savedmodel_is_red(execute, good, tmp_path):
    broken = tmp_path / "model" / "Format-Serving"
    shutil.copytree(good, broken)
    (broken / "saved_model.pb").write_bytes(b"\xffnonsense")
    with pytest.raises(InfrastructureError, match=r"cannot be loaded|cannot load the model") as caught:
        execute(broken)
    assert caught.value.details["state"] == "failed"


def fake_server(folder: Path, body: str) -> str:
    """A program that stands where tensorflow_model_server would, with its options."""
    program = folder / "tensorflow_model_server"
    version = "if '--version' in sys.argv: print('TensorFlow ModelServer: 2.fake'); sys.exit()"
    program.write_text(f"#!{sys.executable}\nimport sys, os, time\n{version}\n{body}\n")
    program.chmod(0o755)
    return str(program)


AS_DEV_SERVER = """
options = dict(word.split("=", 1) for word in sys.argv[1:])
assert options["--port"] == options["--rest_api_port"] == "0"
command = [sys.executable, "-m", "hivemill.serving.server", "--model-config", options["--model_config_file"]]
os.execv(sys.executable, [*command, "--socket", options["--grpc_socket_path"]])
"""


@pytest.mark.slow
def test_the_real_server_is_taken_where_there_is_one_and_named(good, tmp_path, monkeypatch):
    binary = fake_server(tmp_path, AS_DEV_SERVER)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    document = check(good, ServingCheckOptions(**QUICK), lambda: ROWS[:3])
    assert document["server"] == {
        "kind": "tensorflow_model_server", "version": "TensorFlow ModelServer: 2.fake", "path": binary
    }  # fmt: skip
    assert document["state"] == "passed"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("print('no space for the model'); sys.exit(3)", r"ended by itself \(exit code 3\)"),
        ("os.kill(os.getpid(), 9)", r"ended by itself \(signal SIGKILL\)"),
    ],
)
def test_a_server_that_dies_is_red_and_its_log_is_shown(good, tmp_path, body, words):
    binary = fake_server(tmp_path, body)
    with pytest.raises(InfrastructureError, match=words) as caught:
        check(good, ServingCheckOptions(model_server=binary, **QUICK), lambda: ROWS[:3])
    assert caught.value.details["server"]["kind"] == "tensorflow_model_server"
    assert "print" not in body or "no space for the model" in caught.value.hint


@pytest.mark.slow
def test_a_server_that_dies_while_it_is_asked_is_red(good, monkeypatch):
    real = replay.Replay.latency

    def killed_first(self, *arguments):
        self._server._process.kill()
        return real(self, *arguments)

    monkeypatch.setattr(replay.Replay, "latency", killed_first)
    with pytest.raises(InfrastructureError, match="signal SIGKILL"):
        check(good, ServingCheckOptions(**QUICK), lambda: ROWS[:3])


@pytest.mark.slow
def test_a_model_that_only_the_server_cannot_load_is_red(good, tmp_path):
    """As with an op that this Python process has registered and the server does not know."""
    extra = tmp_path / "model" / "assets.extra"
    shutil.copytree(good, tmp_path / "model")
    extra.mkdir()
    (extra / "tf_serving_warmup_requests").write_bytes(b"torn" * 20)
    with pytest.raises(InfrastructureError, match=r"cannot load the model: .*warm-up"):
        check(tmp_path / "model", ServingCheckOptions(**QUICK), lambda: ROWS[:3])


def test_a_path_that_is_no_program_is_named(good):
    with pytest.raises(InfrastructureError, match="/none is no program"):
        check(good, ServingCheckOptions(model_server="/none"), lambda: ROWS[:3])


def test_the_server_ends_with_the_check_and_leaves_nothing(good):
    with running_server(find_server(None), good) as server:
        folder, process = server.socket.parent, server._process
        assert folder.is_dir() and process.poll() is None
    assert not folder.exists() and process.poll() is not None


@pytest.mark.slow
def test_the_dev_server_ends_when_its_parent_is_gone(good):
    with running_server(find_server(None), good) as server:
        server._process.stdin.close()
        assert server._process.wait(60) == 0
        server._process.stdin = None


def test_a_bound_that_is_null_judges_nothing():
    measured = {
        "server": None, "rows": 1, "load_seconds": 5.0, "memory_bytes": 2**30,
        "differences": [{"signature": "predict", "what": "w", "rows": 1, "difference": float("inf")}],
        "latency": [{"rows": 1, "calls": 9, "p50_ms": 1.0, "p99_ms": 2.0}],
    }  # fmt: skip
    names = [name for name in ServingCheckOptions.model_fields if name.startswith("max_")]
    nothing = judge.judged(ServingCheckOptions(**dict.fromkeys(names)), measured)
    assert (nothing["state"], nothing["bounds"]) == ("passed", [])
    document = judge.judged(ServingCheckOptions(), measured)
    assert document["state"] == "failed" and "inf > 1e-05" in document["reason"]
    json.dumps(document, allow_nan=False)


def test_differences_count_shapes_strings_and_numbers_that_are_none():
    one = {"p": np.array([[0.5], [np.nan]], np.float32), "s": np.array([b"a", b"b"], object)}
    same = {key: value.copy() for key, value in one.items()}
    assert replay._difference(one, same) == 0
    assert replay._difference(one, {**same, "p": one["p"] + np.float32(0.25)}) == 0.25
    for other in (
        one["p"][:1],
        one["p"].astype(np.float64),
        np.zeros((2, 1), np.float32),
        one["p"] * np.float32(np.inf),
    ):
        assert replay._difference(one, {**same, "p": other}) == float("inf")
    assert replay._difference(one, {**same, "s": np.array([b"a", b"c"], object)}) == float("inf")
    assert replay._difference(one, {"p": one["p"]}) == float("inf")


def test_orders_on_the_wire_differ_and_mean_the_same():
    columns = {name: np.array([1.0], np.float32) for name in "abcdefg"}
    plain, shuffled = (requests.request("predict", columns, order) for order in (sorted, replay._shuffled))
    assert plain != shuffled and len(plain) == len(shuffled)
    parse = requests.predict_pb2.PredictRequest.FromString
    assert parse(plain) == parse(shuffled)
    row = ROWS[0]
    assert replay._reversed_features(row) != requests.reordered(row, sorted)
    assert tf.train.Example.FromString(replay._reversed_features(row)) == tf.train.Example.FromString(row)


def test_rows_that_predict_cannot_say_are_left_out():
    dtypes = {"price": tf.float32, "item": tf.string, "hour": tf.int64}
    odd = [example(price=float("nan"), item="a", hour=1), example(item="\\N"), example(hour=-(2**63))]
    table = requests.ColumnRows([*odd, example(item="b")], dtypes)
    assert table.kept == [3]
    columns = table.columns(0, 1)
    assert columns["item"].tolist() == [b"b"] and columns["hour"].tolist() == [-(2**63)]
    assert np.isnan(columns["price"]).all()
