"""The cases of TensorFlow Serving's own test of its JSON (util/json_tensor_test.cc), with its words."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from hivemill.serving.server.api import rest_json
from hivemill.serving.server.api.errors import ServingError

INT, TEXT, FLOAT = ({"default": t} for t in (tf.int32, tf.string, tf.float32))
BOTH = {"int_tensor": tf.int32, "str_tensor": tf.string}


def inputs(body: bytes, types: dict) -> dict[str, np.ndarray]:
    infos = {name: meta_graph_pb2.TensorInfo(dtype=dtype.as_datatype_enum) for name, dtype in types.items()}
    document = rest_json.parse(body)
    rest_json.signature_name(document)
    return rest_json.predict_inputs(document, infos, 1_000_000)[1]


REFUSED = [
    (b"", INT, "document is empty"),
    (b'{"signature_name": 5, "instances": [[1,2]]}', INT, "must be a string value"),
    (b'{"signature_name": ' + b"[" * 500 + b"1" + b"]" * 500 + b"}", INT, "key must be a string value"),
    (b'{"instances": [[1,2]], "inputs": [[1,2]]}', INT, "Not formatted correctly"),
    (b'{"instances": [[1,2],[3,4],[5,6,7]]}', INT, "Expecting tensor size: 2 but got: 3"),
    (b'{"instances": [[1,2],[3,4],[[5,6]]]}', INT, r"Expecting shape .2. but got: .1,2."),
    (b'{"instances": [1, [1]]}', INT, r"Expecting shape .. but got: .1."),
    (b'{"instances": [[1,2],["a", "b"]]}', INT, "not of expected type"),
    (b'{"instances": [1.0]}', INT, "not of expected type"),
    (b'{"instances": [2147483648]}', INT, "not of expected type"),
    (b'{"instances": [{"int_tensor": [[1,2],[3,4],[5,6]], "str_tensor": ["a"]},'
     b'{"int_tensor": [[[7,8],[9,0],[1,2]]], "str_tensor": ["b"]}]}', BOTH, "Expecting shape"),
    (b'{"instances": [{"int_tensor": [1], "str_tensor": ["a"]}, {"int_tensor": [1, 2], "str_tensor": ["b"]}]}', BOTH,
     "Expecting tensor size"),
    (b'{"instances": [{"int_tensor": 1, "str_tensor": "a"}, [1, 20, 30]]}', BOTH, "Expecting object but got list"),
    (b'{"instances": [["baz", "bar"], {"default": ["baz", "bat"]}]}', TEXT, "Expecting value/list but got object"),
    (b'{"instances": [{"int_tensor": 1}]}', BOTH, "keys must be equal to: int_tensor,str_tensor"),
    (b'{"instances": [1]}', {"default": tf.float16}, "Conversion of JSON Value: 1 to type: half|float16"),
    (b'{"inputs": {"x": 1}}', BOTH, "Missing named input: int_tensor in 'inputs' object"),
    (b'{"inputs": [1]}', BOTH, "expecting an object as multiple input tensors required"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "types", "words"), REFUSED, ids=[one[2][:24] for one in REFUSED])
def test_refused_in_their_words(body, types, words):
    with pytest.raises(ServingError, match=words):
        inputs(body, types)


TAKEN = [
    (b'{"instances": [[1,2],[3,4],[5,6]]}', INT, [[1, 2], [3, 4], [5, 6]]),
    (b'{"instances": [1, 2.0, 3, 1e2]}', FLOAT, [1.0, 2.0, 3.0, 100.0]),
    (b'{"instances": [1435774380, 16777217]}', FLOAT, [1435774336.0, 16777216.0]),
    (b'{"instances": [1e39, -1e300, 1e-300]}', FLOAT, [np.inf, -np.inf, 0.0]),
    (b'{"inputs": {"b64": "aGVsbG8="}}', TEXT, b"hello"),
    (b'{"instances": [{"b64": "aGVs\\nbG8"}, "x"]}', TEXT, [b"hello", b"x"]),
    (b'{"instances": [{"default": [[{"b64": "YQ=="}]]}]}', TEXT, [[[b"a"]]]),
    (b'{"inputs": {"default": [[1, 2]], "more": 1}}', INT, [[1, 2]]),
    (b'{"instances": [[], []]}', INT, [[], []]),
    (b'{"instances": ["\xff"]}', TEXT, [b"\xff"]),
    (b'{"x": "' + b"[" * 5000 + b'", "inputs": 7} and more', INT, 7),
]


@pytest.mark.parametrize(("body", "types", "expected"), TAKEN, ids=[one[0][:24].decode("latin-1") for one in TAKEN])
def test_taken(body, types, expected):
    assert inputs(body, types)["default"].tolist() == expected


def test_answers_are_numbers_with_a_point_or_an_exponent():
    text = rest_json.written(
        rest_json.predict_result(
            "instances", {"p": np.array([0.2, 1, 9e6, 3e-5, np.nan, -np.inf, 1.0000001], np.float32)}
        )
    )
    assert text == b'{"predictions": [0.2, 1.0, 9000000.0, 3e-05, NaN, -Infinity, 1.0000001]}\n'
    assert rest_json.predict_result("inputs", {"n": np.zeros((0, 2), np.int64)}) == {"outputs": []}
    for outputs, words in (({}, "empty tensor map"), ({"c": np.zeros(2, np.complex64)}, "tensor type: complex64")):
        with pytest.raises(ServingError, match=words):
            rest_json.predict_result("instances", outputs)


BAD_EXAMPLES = [
    ("x", "list/array"),
    ([1], "Example must be JSON object but got JSON Number"),
    ([{"names": None}], "names has element with unexpected JSON type: Null"),
    ([{"names": [1, "x"]}], "feature: names expecting type: int64"),
    ([{"names": {"a": 1}}], "names has element with unexpected JSON type: Object"),
    ([{"names": [[1]]}], "names has element with unexpected JSON type: Array"),
    ([{"names": [18446744073709551603]}], "Only int64_t is supported"),
]


@pytest.mark.parametrize(("examples", "words"), BAD_EXAMPLES)
def test_examples_are_refused_in_their_words(examples, words):
    with pytest.raises(ServingError, match=words):
        rest_json.examples(rest_json.parse(json.dumps({"examples": examples}).encode()), 100_000)


def test_examples_are_taken():
    body = b'{"examples": [{"a": true, "b": [1e39], "c": {"b64": "YQ"}}], "context": {"d": 1}}'
    made = rest_json.examples(rest_json.parse(body), 100_000).example_list_with_context
    features = made.examples[0].features.feature
    assert features["a"].int64_list.value == [1] and features["c"].bytes_list.value == [b"a"]
    assert features["b"].float_list.value == [np.inf]
    assert made.context.features.feature["d"].int64_list.value == [1]
