"""Whatever a request holds, it ends in an answer or a ServingError, and takes no more memory than it may."""

import grpc
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.config import file_system_storage_path_source_pb2

from hivemill.serving.server.api import rest_json, tensors
from hivemill.serving.server.api.errors import ServingError, code_of
from hivemill.serving.server.loading.config_file import ModelTarget

POLICY = file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy
TYPES = {"a": tf.int64, "b": tf.float32, "c": tf.string, "d": tf.bool, "e": tf.uint8}
INFOS = {
    name: meta_graph_pb2.TensorInfo(name=f"{name}:0", dtype=dtype.as_datatype_enum) for name, dtype in TYPES.items()
}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.fixed_dictionaries({"b64": st.text("aZ9+/=%", max_size=6)}),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcdex"), inner, max_size=5),
    max_leaves=20,
)


@given(JSON, st.sampled_from([["a"], ["c"], ["b", "c"], list(TYPES)]), st.sampled_from(["instances", "inputs"]))
def test_any_json_becomes_tensors_of_the_signature_or_an_error(value, names, key):
    infos = {name: INFOS[name] for name in names}
    try:
        form, found = rest_json.predict_inputs({key: value}, infos, 10_000)
    except ServingError as error:
        assert error.code == grpc.StatusCode.INVALID_ARGUMENT and error.message
        return
    assert form == key and set(found) == set(names)
    for name, array in found.items():
        assert array.dtype == (object if TYPES[name] == tf.string else TYPES[name].as_numpy_dtype)


@given(JSON)
def test_any_json_becomes_examples_or_an_error(value):
    try:
        given_input = rest_json.examples({"examples": value}, 10_000)
    except ServingError as error:
        assert error.code == grpc.StatusCode.INVALID_ARGUMENT
        return
    assert len(given_input.example_list.examples) == len(value)


@given(st.binary(max_size=60))
def test_any_body_is_a_json_object_or_an_error(body):
    try:
        assert isinstance(rest_json.parse(body), dict)
    except ServingError as error:
        assert error.http_status == 400


@given(
    st.sampled_from(sorted(types_pb2.DataType.values())),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    st.lists(st.binary(max_size=5), max_size=3),
    st.lists(st.floats(width=32), max_size=3),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
    st.binary(max_size=40),
)
def test_any_tensor_is_an_array_within_the_limit_or_an_error(dtype, sizes, strings, floats, ints, content):
    proto = tensor_pb2.TensorProto(dtype=dtype, string_val=strings, float_val=floats, int_val=ints)
    proto.tensor_content = content
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    try:
        array = tensors.to_array("x", proto, max_bytes=10_000)
    except ServingError as error:
        assert error.code == grpc.StatusCode.INVALID_ARGUMENT
        return
    assert array.nbytes <= 20_000


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.int8, tf.int32, tf.int64, tf.uint8, tf.uint64, tf.bool])
def test_arrays_go_there_and_back(dtype):
    array = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype.as_numpy_dtype)
    proto = tensors.to_proto(array)
    assert not proto.tensor_content, "TensorFlow Serving answers in the fields by type"
    assert np.array_equal(tf.make_ndarray(proto), array) and tf.make_ndarray(proto).dtype == array.dtype
    assert np.array_equal(tensors.to_array("x", proto, 1000), array)
    half = tensors.to_proto(np.array([0.5], np.float16))
    assert tf.make_ndarray(half).tolist() == [0.5]
    texts = np.array([[b"a"], [b"\xff\x00"]], object)
    assert tensors.to_array("x", tensors.to_proto(texts), 1000).tolist() == texts.tolist()
    assert tensors.to_proto(np.zeros((0, 2), np.float32)).tensor_shape.dim[0].size == 0


def test_floats_are_written_short_and_bytes_by_name():
    outputs = {"p": np.array([0.2, np.nan, np.inf], np.float32)}
    assert (
        rest_json.written(rest_json.predict_result("instances", outputs)) == b'{"predictions": [0.2, NaN, Infinity]}\n'
    )
    named = rest_json.predict_result("inputs", {"x_bytes": np.array([b"a"], object), "y": np.array([b"\xff"], object)})
    assert named == {"outputs": {"x_bytes": [{"b64": "YQ=="}], "y": ["�"]}}
    with pytest.raises(ServingError, match="inconsistent batch size: 1 expecting: 2"):
        rest_json.predict_result("instances", {"a": np.zeros(2), "b": np.zeros(1)})
    with pytest.raises(ServingError, match="has no shape information"):
        rest_json.predict_result("instances", {"a": np.zeros(()), "b": np.zeros(1)})


def test_codes_of_tensorflow_are_those_of_grpc_and_long_messages_are_cut():
    assert code_of(tf.errors.INVALID_ARGUMENT) == grpc.StatusCode.INVALID_ARGUMENT
    assert code_of(tf.errors.NOT_FOUND) == grpc.StatusCode.NOT_FOUND
    assert code_of(99) == grpc.StatusCode.UNKNOWN
    assert len(ServingError(grpc.StatusCode.INTERNAL, "x" * 10_000).message) == 2_000


def test_folder_whose_number_no_version_can_have_is_none(tmp_path):
    """Under `latest` one of 20 digits would be the newest, and no answer could say its number."""
    for name in ("1", "12", "00000123", str(2**63 - 1), str(2**63), "9" * 60, "-5", "1_0"):
        (tmp_path / name).mkdir()
    target = ModelTarget("m", tmp_path, POLICY(all=POLICY.All()), {})
    assert target.wanted() == [2**63 - 1, 123, 12, 1]
    assert target.path_of(123) == str(tmp_path / "00000123")
