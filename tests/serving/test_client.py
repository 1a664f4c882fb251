"""The client against a real gRPC server that answers as it is told: labels, deadlines, fallback, exposures."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import datetime
import decimal
import json
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pandas as pd
import pytest

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.serving import protos
from hivemill.serving.client import AsyncPredictionClient, PredictionClient, PredictionError, split_of_store
from hivemill.serving.examples import ColumnTypes, serialised_example
from hivemill.serving.experiment.assignment import Split
from hivemill.serving.experiment.exposures.log import read_log

VERSIONS = {"stable": 11, "canary": 12}
SPLIT = Split("s", 5000)
CANARY_USER = next(user for user in range(100) if SPLIT.variant(user) == "canary")
STABLE_USER = next(user for user in range(100) if SPLIT.variant(user) == "stable")
ROW = {"hour": 9, "item": "a"}


class Servicer:
    """`do[label]` is what to do with a request for that label: a status to fail with, or seconds to wait."""

    def __init__(self):
        self.do, self.seen, self.as_content = {}, [], False

    def Predict(self, request, context):
        label = request.model_spec.version_label
        self.seen.append((label, context.time_remaining(), request))
        todo = self.do.get(label)
        if isinstance(todo, tuple):
            context.abort(*todo)
        if todo is not None:
            time.sleep(todo)
        response = protos.load("apis.predict_pb2").PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = VERSIONS[label]
        rows = len(request.inputs["examples"].string_val)
        tensor = response.outputs["click_probability"]
        tensor.dtype = 1
        tensor.tensor_shape.dim.add(size=rows)
        tensor.tensor_shape.dim.add(size=1)
        values = (np.arange(rows, dtype="<f4") + VERSIONS[label]) / 100
        if self.as_content:
            tensor.tensor_content = values.tobytes()
        else:
            tensor.float_val.extend(values)
        return response


@pytest.fixture
def server():
    stubs = protos.load("apis.prediction_service_pb2_grpc")
    servicer = type("Bound", (Servicer, stubs.PredictionServiceServicer), {})()
    made = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    stubs.add_PredictionServiceServicer_to_server(servicer, made)
    servicer.address = f"127.0.0.1:{made.add_insecure_port('127.0.0.1:0')}"
    made.start()
    yield servicer
    made.stop(None).wait()


@pytest.fixture
def client(server):
    with PredictionClient(server.address, "shop", SPLIT, timeout_seconds=5) as made:
        yield made


@pytest.mark.parametrize("as_content", [False, True])
def test_users_get_the_label_of_their_variant(server, client, as_content):
    server.as_content = as_content
    for user, label in ((CANARY_USER, "canary"), (STABLE_USER, "stable"), (None, "stable"), ("", "stable")):
        answer = client.predict([ROW, ROW, ROW], user)
        assert (answer.variant, answer.model_version, answer.fell_back) == (label, VERSIONS[label], False)
        assert answer.click_probabilities == pytest.approx([(VERSIONS[label] + row) / 100 for row in range(3)])
    request = server.seen[0][2]
    assert (request.model_spec.name, request.model_spec.signature_name) == ("shop", "serving_default")
    assert [label for label, *_ in server.seen] == ["canary", "stable", "stable", "stable"]


def test_rows_become_examples():
    made = protos.load("apis.input_pb2").ExampleList().examples.add()
    row = {"i": 2, "t": "ü", "b": b"\xff", "f": 1.5, "n": None, "l": ["a", "b"], "e": [], "y": True, "m": [1, 2.5],
           "g": np.int64(7)}  # fmt: skip
    made.ParseFromString(serialised_example(row))
    feature = made.features.feature
    assert feature["i"].int64_list.value == [2] and feature["t"].bytes_list.value == ["ü".encode()]
    assert feature["b"].bytes_list.value == [b"\xff"] and feature["f"].float_list.value == [1.5]
    assert "n" not in feature and feature["l"].bytes_list.value == [b"a", b"b"] and feature["y"].int64_list.value == [1]
    assert "e" not in feature  # a list of no type: as bytes, a column of whole numbers would be refused
    assert feature["m"].float_list.value == [1.0, 2.5] and feature["g"].int64_list.value == [7]


@pytest.mark.parametrize("value", [2**63, object(), ["a", 1], {"a": object()}])
def test_values_that_no_example_holds_are_named(value):
    with pytest.raises(ConfigError, match=r"column 'x(_values)?' must be"):
        serialised_example({"x": value})


FALLS_BACK = [
    ("UNAVAILABLE", "queue full"),
    ("INTERNAL", "nan"),
    ("NOT_FOUND", "no version 12"),
    ("FAILED_PRECONDITION", "not yet"),
    ("INVALID_ARGUMENT", "Unrecognized servable version label: canary"),
]
STAYS = [("INVALID_ARGUMENT", "hour is missing"), ("RESOURCE_EXHAUSTED", "too much"), ("PERMISSION_DENIED", "no"),
         ("UNIMPLEMENTED", "?")]  # fmt: skip


@pytest.mark.parametrize(("code", "details"), FALLS_BACK)
def test_stable_answers_where_canary_fails(server, client, code, details):
    server.do["canary"] = (grpc.StatusCode[code], details)
    answer = client.predict([ROW], CANARY_USER)
    assert (answer.variant, answer.model_version, answer.fell_back) == ("canary", 11, True)
    assert answer.error.startswith(f"{code}: ") and details in answer.error
    assert [label for label, *_ in server.seen] == ["canary", "stable"]


@pytest.mark.parametrize(("code", "details"), STAYS)
def test_faults_of_the_request_and_overload_are_not_asked_twice(server, client, code, details):
    server.do["canary"] = (grpc.StatusCode[code], details)
    with pytest.raises(PredictionError, match=f"canary of shop gave no prediction: {code}: ") as caught:
        client.predict([ROW], CANARY_USER)
    assert caught.value.code == code and len(server.seen) == 1
    assert pickle.loads(pickle.dumps(caught.value)).code == code


def test_a_slow_canary_leaves_time_for_stable(server):
    server.do["canary"] = 5.0
    with PredictionClient(server.address, "shop", SPLIT, timeout_seconds=2.0) as client:
        client.predict([ROW], STABLE_USER)  # the connection is there
        began = time.monotonic()
        answer = client.predict([ROW], CANARY_USER)
    assert answer.model_version == 11 and answer.error.startswith("DEADLINE_EXCEEDED")
    assert 0.9 <= time.monotonic() - began < 2.2 and 0.9 <= answer.latency_seconds < 2.2
    remaining = {label: seconds for label, seconds, _ in server.seen[1:]}
    assert 0.5 < remaining["canary"] <= 1.05 and 0 < remaining["stable"] <= 1.1


def test_the_deadline_holds_where_both_are_slow_and_where_nobody_listens(server, client):
    server.do = {"canary": 2.0, "stable": 2.0}
    began = time.monotonic()
    with pytest.raises(PredictionError) as caught:
        client.predict([ROW], CANARY_USER, timeout_seconds=0.4)
    assert caught.value.code == "DEADLINE_EXCEEDED" and "stable of shop" in caught.value.message
    assert time.monotonic() - began < 1.5
    with (
        PredictionClient("127.0.0.1:1", "shop", SPLIT, timeout_seconds=0.5) as nobody,
        pytest.raises(PredictionError, match=r"UNAVAILABLE|DEADLINE_EXCEEDED"),
    ):
        nobody.predict([ROW], STABLE_USER)


def test_stable_has_no_fallback(server, client):
    server.do["stable"] = (grpc.StatusCode.UNAVAILABLE, "down")
    with pytest.raises(PredictionError, match="stable of shop"):
        client.predict([ROW], STABLE_USER)
    assert len(server.seen) == 1


def test_exposures_are_rows_of_the_log(server, client, tmp_path):
    """What the client returns, with clicks filled in, is read by the report; a failed canary counts as canary's."""
    rows = []
    for user in range(200):
        server.do["canary"] = (grpc.StatusCode.UNAVAILABLE, "down") if user % 2 else None
        rows += client.predict([ROW, ROW], user, request_id=f"r{user}").exposures(shown=[1])
    rows += client.predict([ROW], None).exposures()
    frame = pd.DataFrame(rows).assign(click=0)
    frame.to_parquet(tmp_path / "log.parquet")
    log = read_log(tmp_path / "log.parquet")
    assert log.counts.rows_without_user == 1 and len(log.frame) == 200
    canary = log.frame[log.frame["variant"] == "canary"]
    failed = canary["user_id"].astype(int) % 2 == 1
    assert (canary["error"] == failed).all() and failed.any() and not failed.all()
    assert set(canary["model_version"][failed]) == {"11"} and set(canary["model_version"][~failed]) == {"12"}
    assert (log.frame["propensity"] == 0.5).all() and rows[0]["request_id"] == "r0/1"
    expected = [SPLIT.variant(int(user)) for user in log.frame["user_id"]]
    assert log.frame["variant"].tolist() == expected


def test_threads_share_a_client(server, client):
    users, before = list(range(200)), threading.active_count()  # servers of other tests have threads too
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda user: client.predict([ROW], user), users))
    assert [answer.variant for answer in answers] == [SPLIT.variant(user) for user in users]
    assert threading.active_count() - before < 20


def test_the_split_follows_the_store(server, tmp_path):
    """A rollout's next step reaches the client with the next request."""
    folder = tmp_path / "shop"
    folder.mkdir()

    def write(rollout):
        document = {"version": 1, "labels": {"stable": 11, "canary": 12}, "rollout": rollout}
        (folder / "labels.json").write_text(json.dumps(document))

    with PredictionClient(server.address, "shop", lambda: split_of_store(folder, "s"), timeout_seconds=5) as client:
        assert client.predict([ROW], CANARY_USER).propensity == 1.0  # no store yet
        write({"state": "running", "percent": 50, "canary": 12, "stable": 11})
        answer = client.predict([ROW], CANARY_USER)
        assert (answer.variant, answer.propensity) == ("canary", 0.5)
        write({"state": "aborted", "percent": 0, "canary": 12, "stable": 11})
        assert client.predict([ROW], CANARY_USER).variant == "stable"
    (folder / "labels.json").write_text("{")
    with pytest.raises(InfrastructureError, match=r"labels\.json"):
        split_of_store(folder, "s")


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), None])
def test_bad_timeouts_are_refused(timeout):
    with pytest.raises(ConfigError, match="timeout must be"):
        PredictionClient("localhost:1", "shop", SPLIT, timeout_seconds=timeout)


def test_no_rows_are_no_request(client):
    with pytest.raises(ConfigError, match="at least one row"):
        client.predict([], 1)


def test_it_loads_no_tensorflow():
    code = (
        "import sys; from hivemill.serving.client import PredictionClient, serialised_example\n"
        "from hivemill.serving.experiment.assignment import Split\n"
        "PredictionClient('localhost:1', 'm', Split('s', 1)); serialised_example({'a': 1})\n"
        "print([m for m in ('tensorflow', 'pandas', 'scipy', 'tfx') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


TYPES = {"price": 1, "hour": 9, "day": 7, "seen": 9, "scores_keys": 7, "scores_values": 1, "geo_city": 7, "tags": 7,
         "tags_row_lengths": 9}  # fmt: skip


def features(row, types):
    made = protos.load("apis.input_pb2").ExampleList().examples.add()
    made.ParseFromString(serialised_example(row, types))
    found = made.features.feature
    return {name: list(getattr(one, one.WhichOneof("kind")).value) for name, one in found.items()}, found


def test_values_take_the_types_that_the_model_reads(caplog):
    types = ColumnTypes(1, TYPES)
    row = {
        "price": 10, "hour": np.float64(9.0), "day": datetime.date(2026, 11, 15), "tags": [], "unknown": 1,
        "seen": datetime.datetime(2026, 11, 15, 1, 0, 0, 5), "scores": {"a": 1, "b": np.float32(2.5), "c": None},
        "geo": {"city": "Wien", "zip": 1010},
    }  # fmt: skip
    values, found = features(row, types)
    assert values == {
        "price": [10.0], "hour": [9], "day": [b"2026-11-15"], "seen": [1794704400000005], "tags": [],
        "scores_keys": [b"a", b"b"], "scores_values": [1.0, 2.5], "geo_city": [b"Wien"],
    }  # fmt: skip
    assert found["price"].WhichOneof("kind") == "float_list" and found["tags"].WhichOneof("kind") == "bytes_list"
    features(row, types)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "'geo_zip', 'unknown'" in message, "said once"
    for bad in ({"hour": 9.5}, {"price": "10"}, {"tags": [1]}):
        with pytest.raises(ConfigError, match="must be"):
            serialised_example(bad, types)


def test_values_without_known_types_say_what_they_are():
    values, _ = features(
        {"a": np.datetime64("2026-11-15"), "b": np.datetime64("2026-11-15T01:00:00"), "c": decimal.Decimal("1.5"),
         "d": np.bool_(True), "m": {"k": 2}, "z": np.array([1.5, 2.5], np.float32)}, None
    )  # fmt: skip
    assert values == {
        "a": [b"2026-11-15"], "b": [1794704400000000], "c": [1.5], "d": [1], "m_keys": [b"k"], "m_values": [2],
        "z": [1.5, 2.5],
    }  # fmt: skip


def with_types(server, version):
    def metadata(request, context):
        server.asked = getattr(server, "asked", 0) + 1
        response = protos.load("apis.get_model_metadata_pb2").GetModelMetadataResponse()
        response.model_spec.version.value = version
        signatures = protos.load("apis.get_model_metadata_pb2").SignatureDefMap()
        signatures.signature_def["predict"].inputs["price"].dtype = 1
        response.metadata["signature_def"].Pack(signatures)
        return response

    return metadata


def test_the_client_asks_for_types_once_and_keeps_one_connection(server):
    peers = set()
    predict = server.Predict
    server.GetModelMetadata = with_types(server, VERSIONS["stable"])
    server.Predict = lambda request, context: (peers.add(context.peer()), predict(request, context))[1]
    with serving_of(server) as address, PredictionClient(address, "shop", SPLIT, timeout_seconds=5) as client:
        for _ in range(20):
            client.predict([{"price": 10}], STABLE_USER)
    assert server.asked == 1 and len(peers) == 1
    example = protos.load("apis.input_pb2").ExampleList().examples.add()
    example.ParseFromString(server.seen[-1][2].inputs["examples"].string_val[0])
    assert example.features.feature["price"].float_list.value == [10.0]


@contextlib.contextmanager
def serving_of(servicer):
    made = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    protos.load("apis.prediction_service_pb2_grpc").add_PredictionServiceServicer_to_server(servicer, made)
    port = made.add_insecure_port("127.0.0.1:0")
    made.start()
    yield f"127.0.0.1:{port}"
    made.stop(None).wait()


def test_the_async_client_does_what_the_other_does(server):
    server.do["canary"] = (grpc.StatusCode.UNAVAILABLE, "queue full")

    async def ask():
        async with AsyncPredictionClient(server.address, "shop", SPLIT, timeout_seconds=5) as client:
            answers = await asyncio.gather(*(client.predict([ROW, ROW], CANARY_USER) for _ in range(10)))
            server.do["stable"] = (grpc.StatusCode.INVALID_ARGUMENT, "hour is missing")
            with pytest.raises(PredictionError, match="hour is missing"):
                await client.predict([ROW], STABLE_USER)
            return answers

    for answer in asyncio.run(ask()):
        assert answer.fell_back and answer.variant == "canary" and answer.model_version == VERSIONS["stable"]
        assert answer.click_probabilities == pytest.approx([0.11, 0.12])
