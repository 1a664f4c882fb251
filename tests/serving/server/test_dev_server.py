"""The dev server through real gRPC and HTTP clients."""

import itertools
import json
import re
import shlex
import shutil
import socket
import subprocess
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

from hivemill.common.errors import ConfigError, InfrastructureError
from hivemill.serving.server.app import DevServer
from hivemill.serving.server.options import ServerOptions
from tests.serving.server.click_model import example, rows, save
from tests.serving.server.server_kit import STATE, Store, running

ROWS = rows(6)


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture(scope="module")
def shared(tmp_path_factory, saved_model):
    """A server that tests below only ask: versions 1 (stable) and 2 (canary)."""
    store = Store(tmp_path_factory.mktemp("store"), saved_model)
    store.add(1), store.add(2)
    store.write([1, 2], stable=1, canary=2)
    with running(store) as client:
        client.wait_for(lambda: client.states() == {1: STATE.AVAILABLE, 2: STATE.AVAILABLE})
        yield client


@pytest.fixture
def store(tmp_path, saved_model):
    return Store(tmp_path, saved_model)


@pytest.fixture(scope="module")
def expected(saved_model):
    """The model's own predictions for ROWS, by TensorFlow in this process."""
    model = tf.saved_model.load(str(saved_model))
    return model.signatures["serving_default"](examples=tf.constant(ROWS))["click_probability"].numpy()


def columns(serialised=ROWS) -> dict[str, np.ndarray]:
    features = [tf.train.Example.FromString(row).features.feature for row in serialised]
    tags = [list(f["tags"].bytes_list.value) for f in features]
    return {
        "hour": np.array([f["hour"].int64_list.value[0] for f in features]),
        "item": np.array([(list(f["item"].bytes_list.value) or [b"\\N"])[0] for f in features]),
        "price": np.array([(list(f["price"].float_list.value) or [np.nan])[0] for f in features], np.float32),
        "tags": np.array(list(itertools.chain(*tags)), object),
        "tags_row_lengths": np.array([len(one) for one in tags]),
    }


def fails(code: grpc.StatusCode, words: str, call, *arguments, **keywords) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **keywords)
    assert caught.value.code() == code, caught.value.details()
    assert re.search(words, caught.value.details()), caught.value.details()


def test_predict_by_each_signature_is_what_the_model_says(shared, expected):
    for inputs, signature in (({"examples": ROWS}, ""), (columns(), "predict")):
        response = shared.predict(inputs, signature)
        assert np.allclose(tf.make_ndarray(response.outputs["click_probability"]), expected, atol=1e-6)
        assert response.model_spec.version.value == 2  # the newest
        assert response.model_spec.signature_name == (signature or "serving_default")
        assert len(response.outputs["click_probability"].float_val) == len(ROWS)
    response = shared.predict({"examples": ROWS}, "transformed_features")
    assert set(response.outputs) == {"numbers", "item_bytes"}


@pytest.mark.parametrize(
    ("choice", "version"), [({"label": "stable"}, 1), ({"label": "canary"}, 2), ({"version": 1}, 1)]
)
def test_versions_and_labels_are_what_the_config_says(shared, choice, version):
    assert shared.predict({"examples": ROWS}, **choice).model_spec.version.value == version


def test_classify_regress_and_multi_inference(shared, expected):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "shop", "classify"
    request.input.example_list.examples.extend(tf.train.Example.FromString(row) for row in ROWS)
    classes = shared.prediction.Classify(request).result.classifications
    assert [c.label for c in classes[0].classes] == ["no click", "click"]
    assert np.allclose([c.classes[1].score for c in classes], expected[:, 0], atol=1e-6)
    asked = regression_pb2.RegressionRequest(input=request.input)
    asked.model_spec.name, asked.model_spec.signature_name = "shop", "regress"
    values = shared.prediction.Regress(asked).result.regressions
    assert np.allclose([v.value for v in values], expected[:, 0], atol=1e-6)
    both = inference_pb2.MultiInferenceRequest(input=request.input)
    for signature in ("classify", "regress"):
        both.tasks.add(model_spec=request.model_spec, method_name=f"tensorflow/serving/{signature}")
        both.tasks[-1].model_spec.signature_name = signature
    results = shared.prediction.MultiInference(both).results
    assert list(results[0].classification_result.classifications) == list(classes)
    assert list(results[1].regression_result.regressions) == list(values)
    both.tasks[1].model_spec.signature_name = "classify"
    fails(grpc.StatusCode.INVALID_ARGUMENT, "Duplicate evaluation", shared.prediction.MultiInference, both)


def test_context_of_an_example_list_stands_in_each_example(shared):
    request = regression_pb2.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "shop", "regress"
    whole = tf.train.Example.FromString(example(hour=3, item="item 7", price=0.5))
    request.input.example_list.examples.append(whole)
    alone = shared.prediction.Regress(request).result.regressions[0].value
    parts = request.input.example_list_with_context
    parts.context.MergeFromString(example(hour=3, item="item 7"))
    parts.examples.add().MergeFromString(example(price=0.5))
    assert shared.prediction.Regress(request).result.regressions[0].value == alone


def test_metadata_has_the_signatures(shared):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "shop"
    response = shared.prediction.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) == {
        "serving_default", "predict", "transformed_features", "classify", "regress"
    }  # fmt: skip
    request.metadata_field[0] = "weights"
    fails(grpc.StatusCode.INVALID_ARGUMENT, "weights is not supported", shared.prediction.GetModelMetadata, request)


CODE = grpc.StatusCode
BAD_REQUESTS = [
    (CODE.INVALID_ARGUMENT, "Unrecognized servable version label: blue", {"label": "blue"}, {"examples": ROWS}),
    (CODE.NOT_FOUND, r"Servable not found for request: Specific\(shop, 7\)", {"version": 7}, {"examples": ROWS}),
    (CODE.FAILED_PRECONDITION, 'key "x" not found', {"signature": "x"}, {"examples": ROWS}),
    (CODE.INVALID_ARGUMENT, "Sent extra: {y}. Missing but required: {examples}", {}, {"y": ROWS}),
    (CODE.INVALID_ARGUMENT, "Expects arg.examples. to be string but float", {}, {"examples": [1.0]}),
    (CODE.INVALID_ARGUMENT, r"must have the shape \[-1\].*received \[1, 2\]", {}, {"examples": [["a", "b"]]}),
    (CODE.INVALID_ARGUMENT, "Could not parse example", {}, {"examples": [b"\xff\xff no example"]}),
]


@pytest.mark.parametrize(("code", "words", "spec", "inputs"), BAD_REQUESTS, ids=[one[1][:20] for one in BAD_REQUESTS])
def test_a_bad_request_is_refused_in_tensorflow_servings_words(shared, code, words, spec, inputs):
    fails(code, words, shared.predict, inputs, **spec)


def test_requests_that_name_no_model_or_odd_outputs_are_refused(shared):
    ask = shared.prediction.Predict
    fails(CODE.INVALID_ARGUMENT, "Missing ModelSpec", ask, predict_pb2.PredictRequest())
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "../../etc"
    fails(CODE.NOT_FOUND, "Servable not found for request: Latest", ask, request)
    request.model_spec.name = "shop"
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto(ROWS))
    request.output_filter.append("clicks")
    fails(CODE.INVALID_ARGUMENT, "output tensor alias not found in signature: clicks", ask, request)


def test_a_tensor_of_a_few_bytes_that_stands_for_gigabytes_is_refused(shared):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "shop"
    tensor = request.inputs["examples"]
    tensor.dtype = tf.string.as_datatype_enum
    tensor.string_val.append(b"")
    tensor.tensor_shape.dim.add(size=2**40)
    fails(CODE.INVALID_ARGUMENT, "larger than", shared.prediction.Predict, request)
    tensor.tensor_shape.dim[0].size = -1
    fails(CODE.INVALID_ARGUMENT, "shape must be known", shared.prediction.Predict, request)


def test_too_large_requests_are_refused_on_both_protocols(store):
    store.add(1)
    store.write([1])
    with running(store, max_message_bytes=20_000) as client:
        fails(CODE.RESOURCE_EXHAUSTED, "larger than max", client.predict, {"examples": [b"x" * 30_000]})
        assert client.rest("/v1/models/shop:predict", raw=b" " * 30_000)[0] == 413
        assert client.rest("/v1/models/shop:predict", {"instances": [{"b64": ""}]})[0] == 200


def test_rest_rows_and_columns(shared, expected):
    import base64

    coded = [{"b64": base64.b64encode(row).decode()} for row in ROWS]
    status, answer = shared.rest("/v1/models/shop:predict", {"instances": coded})
    assert status == 200 and np.allclose(answer["predictions"], expected, atol=1e-6)
    named = [{"examples": one} for one in coded]
    assert shared.rest("/v1/models/shop/labels/stable:predict", {"instances": named})[1] == answer
    status, outputs = shared.rest("/v1/models/shop/versions/1:predict", {"inputs": coded})
    assert outputs == {"outputs": answer["predictions"]}
    assert not np.isnan(columns()["price"]).any()
    lists = {name: value.tolist() for name, value in columns().items()}
    lists["item"] = [one.decode() for one in columns()["item"]]
    lists["tags"] = [one.decode() for one in columns()["tags"]]
    status, answer = shared.rest("/v1/models/shop:predict", {"signature_name": "predict", "inputs": lists})
    assert status == 200 and np.allclose(answer["outputs"], expected, atol=1e-6)
    several = {"signature_name": "transformed_features", "instances": coded[:1]}
    (row,) = shared.rest("/v1/models/shop:predict", several)[1]["predictions"]
    assert set(row) == {"numbers", "item_bytes"} and set(row["item_bytes"]) == {"b64"}


def test_rest_examples_for_classify_and_regress(shared):
    body = {"signature_name": "regress", "examples": [{"hour": 3, "item": "item 7", "price": 0.5}, {"price": [1.0]}]}
    status, answer = shared.rest("/v1/models/shop:regress", body)
    assert status == 200 and len(answer["results"]) == 2
    body["signature_name"] = "classify"
    labels = shared.rest("/v1/models/shop:classify", body)[1]["results"]
    assert [name for name, _ in labels[0]] == ["no click", "click"]
    assert labels[0][1][1] == pytest.approx(answer["results"][0])


_NAMED = b'{"signature_name": "predict", '
_PRICE = b'"inputs": {"hour": [1], "item": ["a"], "price": [%s], "tags": [], "tags_row_lengths": [0]}}'
BAD_REST = [
    ("/v1/models/shop:predict", b"", 400, "JSON Parse error: The document is empty"),
    ("/v1/models/shop:predict", b"[1]", 400, "Is not object"),
    ("/v1/models/shop:predict", b"{}", 400, "Missing 'inputs' or 'instances' key"),
    ("/v1/models/shop:predict", b'{"instances": [], "inputs": 1}', 400, "only one of"),
    ("/v1/models/shop:predict", b'{"instances": []}', 400, "No values in 'instances' array"),
    ("/v1/models/shop:predict", b'{"instances": [1.5]}', 400, "not of expected type: string"),
    ("/v1/models/shop:predict", b'{"instances": [{"b64": "%%%"}]}', 400, "Unable to base64 decode"),
    ("/v1/models/shop:predict", b'{"signature_name": 1, "instances": ["a"]}', 400, "must be a string value"),
    ("/v1/models/shop:predict", b'{"signature_name": "x", "instances": ["a"]}', 400, "not found in signature def"),
    ("/v1/models/shop:predict", _NAMED + b'"instances": ["a"]}', 400, "expecting list of objects"),
    (
        "/v1/models/shop:predict",
        _NAMED + b'"instances": [{"a": 1}]}',
        400,
        "key: a of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have named input: a",
    ),
    (
        "/v1/models/shop:predict",
        _NAMED + b'"inputs": {"hour": 1}}',
        400,
        "Missing named input: item",
    ),
    ("/v1/models/shop:predict", b'{"instances": ' + b"[" * 90_000 + b"]" * 90_000 + b"}", 400, "JSON Parse error|deep"),
    (
        "/v1/models/shop:predict",
        b'{"inputs": [["a"], ["b", "c"]]}',
        400,
        "unexpected size: 2 at level: 1 ",
    ),
    ("/v1/models/shop:predict", b'{"inputs": ["a", ["b"]]}', 400, "unexpected level"),
    ("/v1/models/shop:predict", b'{"instances": [' + b'"\xff"]}', 400, "Could not parse example"),
    ("/v1/models/none:predict", b'{"instances": ["a"]}', 404, "Servable not found for request: Latest.none"),
    ("/v1/models/shop/labels/blue:predict", b'{"instances": ["a"]}', 400, "Unrecognized servable version label: blue"),
    ("/v1/models/shop/versions/99999999999999999999:predict", b"{}", 400, "Failed to convert version"),
    ("/v1/models/shop/versions/" + "9" * 5000 + ":predict", b"{}", 400, "Failed to convert version: 9"),
    ("/v1/models/shop:explain", b"{}", 400, "Malformed request: POST"),
    (
        "/v1/models/shop:predict",
        _NAMED + b'"inputs": {"hour": [1.5]}}',
        400,
        "Missing named input|not of expected type",
    ),
    ("/v1/models/shop:predict", _NAMED + _PRICE % b"1e400", 400, "Number too big to be stored in double"),
    ("/v1/models/shop:predict", b'{"instances": ["\\ud800"]}', 400, "The surrogate pair in string is invalid"),
    (
        "/v1/models/shop:predict",
        _NAMED + _PRICE % b"true",
        400,
        "JSON Value: true Type: True is not of expected type",
    ),
    ("/v1/models/..%2f..%2fetc%2fpasswd:predict", b'{"instances": ["a"]}', 404, "Servable not found"),
    (
        "/v1/models/shop:regress",
        b'{"signature_name": "regress", "examples": [{"hour": [1, 2.5]}]}',
        400,
        "Unexpected element type in feature: hour",
    ),
    ("/v1/models/shop:regress", b'{"signature_name": "regress", "examples": []}', 400, "empty array"),
    ("/v1/models/shop:regress", b'{"examples": [{"hour": 1}]}', 400, "No regression inputs found in SignatureDef"),
    (
        "/v1/models/shop:classify",
        b'{"examples": [{"hour": 99999999999999999999}]}',
        400,
        "expecting type|No classification",
    ),
]


@pytest.mark.parametrize(("path", "body", "status", "words"), BAD_REST, ids=[f"{w[3][:24]}" for w in BAD_REST])
def test_bad_rest_requests(shared, path, body, status, words):
    got, answer = shared.rest(path, raw=body)
    assert got == status, answer
    assert re.search(words, answer["error"]), answer


def test_rest_status_metadata_and_unknown_places(shared):
    status, answer = shared.rest("/v1/models/shop")
    assert status == 200 and answer["model_version_status"][0] == {
        "version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}
    }  # fmt: skip
    assert len(shared.rest("/v1/models/shop/versions/1")[1]["model_version_status"]) == 1
    metadata = shared.rest("/v1/models/shop/labels/canary/metadata")[1]
    assert metadata["model_spec"]["version"] == "2"
    inputs = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]
    assert inputs["examples"]["dtype"] == "DT_STRING"
    assert shared.rest("/v1/models/none")[0] == 404
    assert shared.rest("/v1/models") == (200, {"models": ["shop"]})
    assert shared.rest("/v1/models/")[0] == shared.rest("/v1/models/shop/")[0] == 400
    assert shared.rest("/etc/passwd")[0] == 404


def test_metrics_are_by_version(shared):
    shared.predict({"examples": ROWS}, label="stable")
    page = shared.rest("/monitoring/prometheus/metrics")[1]
    sample = r':tensorflow:serving:request_count{model_name="shop",model_version="1",status="OK"} [1-9]'
    assert re.search(sample, page)
    assert 'hivemill_model_version_state{model_name="shop",model_version="2",state="AVAILABLE"} 1' in page
    assert 'hivemill_model_label_version{model_name="shop",label="canary"} 2' in page
    counts = [
        int(n) for n in re.findall(r'request_latency_bucket{[^}]*version="1",API="Predict"[^}]*gRPC[^}]*} (\d+)', page)
    ]
    assert counts == sorted(counts) and counts[-1] >= 1
    for line in page.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) .*|[a-z_:]+({([A-Za-z_]+="[^"]*",?)*})? [0-9.e+]+', line), line


def test_requests_that_wait_run_together_and_a_bad_one_fails_alone(store):
    store.add(1)
    store.write([1])
    with running(store, batch_timeout_seconds=0.3, max_batch_rows=100) as client:
        asked = [*({"examples": [row]} for row in ROWS), {"examples": [b"\xff\xff no example"]}]
        client.predict(asked[0])  # the session's first run is slow
        answers = [client.prediction.Predict.future(_request(one)) for one in asked]
        for one, answer in zip(ROWS, answers, strict=False):
            alone = client.predict({"examples": [one]})
            assert answer.result().outputs["click_probability"] == alone.outputs["click_probability"]
        with pytest.raises(grpc.RpcError) as caught:
            answers[-1].result()
        assert caught.value.code() == CODE.INVALID_ARGUMENT
        answers = [client.prediction.Predict.future(_request(one)) for one in asked[:-1]]
        assert all(answer.result() for answer in answers)
        page = client.rest("/monitoring/prometheus/metrics")[1]
    sizes = {float(b): int(n) for b, n in re.findall(r'batch_rows_bucket{[^}]*le="([0-9.]+)"} (\d+)', page)}
    assert sizes[64] > sizes[2], "no batch had more than two rows"


def _request(inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "shop"
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def test_label_moves_only_to_a_version_that_is_available(store):
    store.add(1)
    store.write([1], stable=1)
    with running(store) as client:
        ahead = store.text([1, 2], {"stable": 2})
        fails(CODE.FAILED_PRECONDITION, "version 2 .*not currently available for inference", client.reload, ahead)
        assert client.predict({"examples": ROWS}, label="stable").model_spec.version.value == 1
        store.write([1, 2], stable=2, canary=2)  # by file: it waits for the version
        time.sleep(0.3)
        assert client.predict({"examples": ROWS}, label="stable").model_spec.version.value == 1
        fails(CODE.FAILED_PRECONDITION, "not currently available", client.predict, {"examples": ROWS}, label="canary")
        store.add(2)
        client.wait_for(lambda: client.states().get(2) == STATE.AVAILABLE)
        for label in ("stable", "canary"):
            assert client.predict({"examples": ROWS}, label=label).model_spec.version.value == 2
        client.reload(store.text([1, 2], {"stable": 1}))  # a rollback holds when the call returns
        assert client.predict({"examples": ROWS}, label="stable").model_spec.version.value == 1


def test_a_version_that_cannot_be_loaded_leaves_the_old_one_and_says_why(store):
    store.add(1)
    broken = store.add(2)
    (broken / "saved_model.pb").write_bytes(b"no protocol buffer")
    store.write([1], stable=1)
    with running(store) as client:
        store.write([2], stable=2)
        client.wait_for(lambda: client.states().get(2) == STATE.END)
        (worst,) = (v for v in client.rest("/v1/models/shop")[1]["model_version_status"] if v["version"] == "2")
        assert worst["status"]["error_code"] != "OK" and worst["status"]["error_message"]
        assert client.predict({"examples": ROWS}, label="stable").model_spec.version.value == 1
        assert client.states()[1] == STATE.AVAILABLE


def test_a_version_that_was_mended_loads_when_the_config_changes(store):
    store.add(1)
    broken = store.add(2)
    pb = (broken / "saved_model.pb").read_bytes()
    (broken / "saved_model.pb").write_bytes(b"torn")
    store.write([1, 2], stable=1)
    with running(store) as client:
        client.wait_for_state(2, STATE.END)
        (broken / "saved_model.pb").write_bytes(pb)
        time.sleep(0.2)
        assert client.states()[2] == STATE.END  # it is not tried again at every poll
        client.reload(store.text([1, 2], {"stable": 1}))
        client.wait_for_state(2, STATE.AVAILABLE)


def test_variables_cut_short_and_a_folder_without_a_model_are_told(store):
    store.add(1)
    cut = store.add(2)
    data = next((cut / "variables").glob("*.data*"))
    data.write_bytes(data.read_bytes()[:-3])
    (store.folder / "shop" / "3").mkdir()
    store.write([1, 2, 3])
    with running(store) as client:
        client.wait_for(lambda: {2, 3} <= set(client.states()))
        client.wait_for(lambda: [client.states()[v] for v in (2, 3)] == [STATE.END] * 2)
        messages = {
            v["version"]: v["status"]["error_message"]
            for v in client.rest("/v1/models/shop")[1]["model_version_status"]
        }
    assert "SavedModel" in messages["3"] and messages["2"]


def test_a_config_that_cannot_be_used_changes_nothing(store):
    store.add(1)
    store.write([1], stable=1)
    with running(store) as client:
        store.config.write_text("model_config_list { config { nme: 1 } }")
        time.sleep(0.3)
        assert client.predict({"examples": ROWS}, label="stable").model_spec.version.value == 1
        store.add(2)
        store.write([1, 2], stable=2)
        client.wait_for(lambda: client.states().get(2) == STATE.AVAILABLE)


def test_base_path_of_a_request_must_lie_in_the_store(store, tmp_path_factory, saved_model):
    store.add(1)
    store.write([1], stable=1)
    outside = Store(tmp_path_factory.mktemp("outside"), saved_model)
    outside.add(5)
    (store.folder / "link").symlink_to(outside.folder)
    with running(store) as client:
        for place in (outside.folder / "shop", store.folder / "link" / "shop", store.folder / ".." / "x", "relative"):
            fails(CODE.INVALID_ARGUMENT, "below the store", client.reload, store.text([], {}, place))
        assert client.states() == {1: STATE.AVAILABLE}


def test_latest_follows_the_disk_and_frees_the_old_version(store):
    store.add(1)
    store.write([])
    with running(store) as client:
        store.add(7)
        client.wait_for(lambda: client.states() == {1: STATE.END, 7: STATE.AVAILABLE})
        assert client.predict({"examples": ROWS}).model_spec.version.value == 7


@pytest.mark.parametrize("requests", [1500, pytest.param(20_000, marks=pytest.mark.slow)])
def test_no_request_fails_while_versions_change(store, requests):
    """Clients ask by label, by newest and by REST while versions come, take the label, and go."""
    store.add(1)
    store.write([1], stable=1)
    failed, answered, left = [], {}, itertools.count()
    done = threading.Event()

    def ask(client, number):
        while next(left) < requests:
            choice = {"label": "stable"} if number % 2 else {}
            try:
                if number == 0:
                    code, answer = client.rest("/v1/models/shop/labels/stable:predict", {"instances": [{"b64": ""}]})
                    assert code == 200, answer
                else:
                    version = client.predict({"examples": ROWS[:1]}, **choice).model_spec.version.value
                    answered[version] = answered.get(version, 0) + 1
            except (grpc.RpcError, AssertionError) as error:
                failed.append(str(error))

    def change():
        version = 1
        while not done.is_set():
            store.add(version + 1)
            store.write([version, version + 1], stable=version)
            client.wait_for_state(version + 1, STATE.AVAILABLE)
            store.write([version, version + 1], stable=version + 1)
            time.sleep(0.1)
            store.write([version + 1], stable=version + 1)
            client.wait_for_state(version, STATE.END)
            version += 1

    with running(store, grace_seconds=20.0) as client:
        changing = threading.Thread(target=change)
        asking = [threading.Thread(target=ask, args=(client, number)) for number in range(6)]
        for thread in (changing, *asking):
            thread.start()
        for thread in asking:
            thread.join()
        done.set()
        changing.join()
    assert not failed, failed[:3]
    assert len(answered) >= 3, answered


def test_stop_lets_a_running_request_finish(store):
    store.add(1)
    store.write([1])
    with running(store, batch_timeout_seconds=1.0) as client:
        client.predict({"examples": ROWS})
        answer = client.prediction.Predict.future(_request({"examples": ROWS}), timeout=10)  # waits for its batch
        time.sleep(0.3)
        assert client.server.stop()
        assert answer.result().model_spec.version.value == 1


def test_deadline_passes_while_a_request_waits_for_its_batch(store):
    store.add(1)
    store.write([1])
    with running(store, batch_timeout_seconds=2.0) as client:
        client.predict({"examples": ROWS}, "", timeout=20)
        started = time.monotonic()
        fails(CODE.DEADLINE_EXCEEDED, "", client.predict, {"examples": ROWS}, timeout=0.3)
        assert time.monotonic() - started < 1.5


def test_warm_up_requests_are_played_and_bad_ones_keep_the_version_from_serving(store):
    from tensorflow_serving.apis import prediction_log_pb2

    good, bad = prediction_log_pb2.PredictionLog(), prediction_log_pb2.PredictionLog()
    good.predict_log.request.CopyFrom(_request({"examples": ROWS}))
    bad.predict_log.request.CopyFrom(_request({"examples": [1.0]}))
    for version, log in ((1, good.SerializeToString()), (2, bad.SerializeToString()), (3, b"no protocol buffer")):
        extra = store.add(version) / "assets.extra"
        extra.mkdir()
        with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
            writer.write(log)
    store.write([1, 2, 3])
    with running(store) as client:
        client.wait_for(lambda: [client.states().get(v) for v in (2, 3)] == [STATE.END] * 2)
        assert client.states()[1] == STATE.AVAILABLE
        message = client.rest("/v1/models/shop/versions/2")[1]["model_version_status"][0]["status"]["error_message"]
        assert "to be string but float" in message


def test_mistakes_at_the_start_are_told(store):
    with pytest.raises(ConfigError, match="there is no"):
        DevServer(ServerOptions(store.config))
    for text in ("model_config_list { config {", 'model_config_list { config { name: "a" } }', "\udcff"):
        store.config.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(ConfigError):
            DevServer(ServerOptions(store.config))
    store.add(1)
    store.write([1])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for ports in ({"port": port, "rest_port": 0}, {"port": 0, "rest_port": port}):
            server = DevServer(ServerOptions(store.config, **ports), log=lambda _: None)
            with pytest.raises(InfrastructureError, match="cannot listen"):
                server.start()


def test_errors_are_json_on_a_kept_connection(shared):
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", shared.server.rest_port, timeout=10)
    for _ in range(2):
        connection.request("POST", "/v1/models/shop:predict", b"{}")
        answer = connection.getresponse()
        assert answer.status == 400 and "error" in json.loads(answer.read())


@pytest.mark.parametrize("price", ["16777216", "1435774380", "1e39", "-1e300", "Inf", "-Infinity", "NaN", "0"])
def test_rest_takes_every_number_that_rapidjson_takes(shared, price):
    body = _NAMED + _PRICE % price.encode()
    status, answer = shared.rest("/v1/models/shop:predict", raw=b"\xef\xbb\xbf" + body + b" trailing")
    assert status == 200, answer


def test_rest_takes_the_first_of_equal_keys_and_base64_with_newlines(shared):
    body = (
        b'{"instances": [{"b64": "\\n"}, "", {"b64": "Cg==\\n"}], "instances": 7, "signature_name": "serving_default"}'
    )
    status, answer = shared.rest("/v1/models/shop:predict", raw=body)
    assert status == 400 and "Could not parse example" in answer["error"]  # of the third; the others are empty rows
    status, answer = shared.rest("/v1/models/shop:predict", raw=body.replace(b', {"b64": "Cg==\\n"}', b""))
    assert status == 200 and len(answer["predictions"]) == 2


def test_health_answers_for_the_server_and_its_services(store):
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    store.add(1)
    store.write([1])
    with running(store, max_concurrent=1, batch_timeout_seconds=1.0) as client:
        stub = health_pb2_grpc.HealthStub(client.channel)
        serving = health_pb2.HealthCheckResponse.SERVING
        for service in ("", "tensorflow.serving.PredictionService", "ModelService"):
            request = health_pb2.HealthCheckRequest(service=service)
            client.wait_for(lambda r=request: stub.Check(r, timeout=5).status == serving)
        client.predict({"examples": ROWS})
        first = client.prediction.Predict.future(_request({"examples": ROWS}), timeout=10)  # waits for its batch
        time.sleep(0.3)
        fails(CODE.RESOURCE_EXHAUSTED, "too many requests", client.predict, {"examples": ROWS})
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status == serving
        assert first.result()
        page = client.rest("/monitoring/prometheus/metrics")[1]
    failed = 'request_count{model_name="shop",model_version="",status="%s"} 1'
    assert failed % "RESOURCE_EXHAUSTED" not in page  # it was not read, so that its model is unknown
    assert 'request_count{model_name="",model_version="",status="RESOURCE_EXHAUSTED"} 1' in page


def test_failed_requests_are_counted_by_model_and_status(shared):
    fails(CODE.FAILED_PRECONDITION, "not found", shared.predict, {"examples": ROWS}, signature="x")
    assert shared.rest("/v1/models/shop:predict", raw=b"{")[0] == 400
    assert shared.rest("/v1/models/no-such-model:predict", raw=b'{"instances": [""]}')[0] == 404
    page = shared.rest("/monitoring/prometheus/metrics")[1]
    for model, status in (("shop", "FAILED_PRECONDITION"), ("shop", "INVALID_ARGUMENT"), ("", "NOT_FOUND")):
        assert f'request_count{{model_name="{model}",model_version="",status="{status}"}}' in page
    assert "no-such-model" not in page


def test_defaults_of_a_signature_stand_for_inputs_that_are_left_out(store, saved_model):
    from tensorflow.core.protobuf import saved_model_pb2

    folder = store.add(1)
    proto = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    defaults = proto.meta_graphs[0].signature_def["predict"].defaults
    defaults["price"].CopyFrom(tf.make_tensor_proto(np.full(len(ROWS), 0.25, np.float32)))
    (folder / "saved_model.pb").write_bytes(proto.SerializeToString())
    store.write([1])
    inputs = columns()
    with running(store) as client:
        whole = client.predict({**inputs, "price": np.full(len(ROWS), 0.25, np.float32)}, "predict")
        del inputs["price"]
        assert client.predict(inputs, "predict").outputs == whole.outputs
        del inputs["hour"]
        fails(CODE.INVALID_ARGUMENT, "Missing but required: {hour", client.predict, inputs, "predict")


def test_status_by_label_is_that_of_all_versions_and_leading_zeros_are_a_version(store):
    place = store.add(123)
    place.rename(place.parent / "00000123")
    store.write([123], stable=123)
    with running(store) as client:
        assert client.states() == {123: STATE.AVAILABLE}
        for label in ("stable", "none"):
            status, answer = client.rest(f"/v1/models/shop/labels/{label}")
            assert status == 200 and len(answer["model_version_status"]) == 1
        assert client.rest("/v1/models/shop/versions/00000123")[0] == 200
        assert client.predict({"examples": ROWS}, label="stable").model_spec.version.value == 123


def test_a_base_path_without_versions_is_logged_once(store):
    lines = []
    store.write([])
    server = DevServer(ServerOptions(store.config, port=0, rest_port=0, poll_seconds=0.05), log=lines.append)
    server.start()
    time.sleep(0.5)
    server.stop()
    assert [line for line in lines if "No versions of servable shop found under base path" in line] == lines[:1]


def test_sampled_requests_are_logged_with_their_answers(store):
    from tensorflow_serving.apis import prediction_log_pb2

    store.add(1)
    prefix = store.folder / "logs" / "shop"
    logging = (
        f'logging_config {{ sampling_config {{ sampling_rate: 1 }} log_collector_config {{ type: "tfrecord" '
        f'filename_prefix: "{prefix}" }} }}'
    )
    text = store.text([1], {"stable": 1})
    store.config.write_text(f"{text[: text.rindex('} }')]} {logging} }} }}")
    with running(store) as client:
        answer = client.predict({"examples": ROWS})
        assert client.rest("/v1/models/shop:predict", {"instances": [{"b64": ""}]})[0] == 200
        outside = store.config.read_text().replace(str(prefix), "/elsewhere/x")
        fails(CODE.INVALID_ARGUMENT, "filename_prefix must lie below", client.reload, outside)
    (file,) = prefix.parent.iterdir()
    assert file.suffix == ".tfrecord"
    logs = [prediction_log_pb2.PredictionLog.FromString(one.numpy()) for one in tf.data.TFRecordDataset(str(file))]
    assert logs[0].predict_log.response.outputs == answer.outputs
    assert list(logs[0].predict_log.request.inputs["examples"].string_val) == ROWS
    assert len(logs) == 2 and logs[1].log_metadata.model_spec.version.value == 1


def test_the_printed_curl_line_is_answered(store):
    """As `hivemill serve` logs it, by curl itself where there is one."""
    lines = []
    store.add(1)
    store.write([1])
    with running(store) as client:
        client.server._log = lines.append
        client.server.log_request()
        words = shlex.split(lines[0].removeprefix("ask it: "))
        assert words[:2] == ["curl", "-s"] and words[-2] == "-d"
        path = words[2].removeprefix(f"http://127.0.0.1:{client.server.rest_port}")
        status, answer = client.rest(path, raw=words[-1].encode())
        assert status == 200 and len(answer["outputs"]) == 1
        if shutil.which("curl"):
            done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20)
            assert json.loads(done.stdout) == answer


def test_other_methods_are_refused_as_there(shared):
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", shared.server.rest_port, timeout=10)

    def ask(method, path="/v1/models/shop:predict", **headers):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    for method in ("PUT", "DELETE", "PATCH"):
        status, body = ask(method)
        assert status == 400 and json.loads(body)["error"] == f"Malformed request: {method} /v1/models/shop:predict"
    assert ask("HEAD", "/v1/models/shop") == (400, b"")
    assert ask("OPTIONS", Origin="https://shop.example") == (200, b"")
    assert ask("OPTIONS")[0] == 400
    assert ask("GET")[0] == ask("POST", "/v1/models/shop")[0] == 400


@pytest.mark.slow
def test_idle_sockets_of_grpc_silence_neither_protocol(store):
    """3,000 of them did. The server takes 1,024, and drops within 10 s those that do not speak."""
    import resource

    store.add(1)
    store.write([1])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 8000:
        pytest.skip("the limit of open files is too low")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 8000), hard))
    with running(store) as client:
        client.states()
        idle = [socket.create_connection(("127.0.0.1", client.server.port), timeout=5) for _ in range(3000)]
        assert client.rest("/v1/models/shop")[0] == 200
        assert client.states() == {1: STATE.AVAILABLE}  # on a connection from before
        time.sleep(12)
        with grpc.insecure_channel(f"127.0.0.1:{client.server.port}") as new:
            grpc.channel_ready_future(new).result(15)
        for one in idle:
            one.close()
