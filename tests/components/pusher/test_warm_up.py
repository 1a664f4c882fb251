"""Warm-up requests: of real rows, for each signature, and answered by the model that they were made for."""

import math

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from hivemill.common.errors import InfrastructureError
from hivemill.components.pusher.warm_up import WARM_UP_FILE, warm_up_requests
from hivemill.components.trainer.signatures import MISSING_INTEGER, MISSING_STRING
from hivemill.serving.store.server_config import STATIC_FILES


class Model(tf.Module):
    """The shapes of the project's signatures: serialised examples, and raw columns with one multivalent."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def examples(self, examples):
        return {"rows": tf.size(examples)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, name="price"),
            tf.TensorSpec([None], tf.int64, name="hour"),
            tf.TensorSpec([None], tf.string, name="device"),
            tf.TensorSpec([None], tf.string, name="tags"),
            tf.TensorSpec([None], tf.int64, name="tags_row_lengths"),
        ]
    )
    def columns(self, price, hour, device, tags, tags_row_lengths):
        tf.debugging.assert_equal(tf.reduce_sum(tags_row_lengths), tf.size(tags, tf.int64))
        return {"rows": tf.size(price), "hour": hour, "device": device}


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model = Model()
    signatures = {"serving_default": model.examples, "predict": model.columns, "other": model.examples}
    tf.saved_model.save(model, str(folder), signatures=signatures)
    return folder


def row(number):
    """Every third row lacks its single values."""
    features = tf.train.Features()
    if number % 3:
        features.feature["price"].float_list.value.append(number / 2)
        features.feature["hour"].int64_list.value.append(number)
        features.feature["device"].bytes_list.value.append(b"phone")
    features.feature["tags"].bytes_list.value.extend([b"a"] * (number % 4))
    features.feature["click"].int64_list.value.append(0)
    return tf.train.Example(features=features).SerializeToString()


def requests(content, tmp_path):
    file = tmp_path / "requests"
    file.write_bytes(content)
    records = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]


def test_each_signature_is_asked_for_one_row_for_few_and_for_the_rest(saved_model, tmp_path):
    rows = [row(number) for number in range(20)]
    made = requests(warm_up_requests(saved_model, "shop", rows, ("serving_default", "predict")), tmp_path)
    assert [(each.model_spec.name, each.model_spec.signature_name) for each in made] == [
        *[("shop", "serving_default")] * 3,
        *[("shop", "predict")] * 3,
    ]
    assert [list(tf.make_ndarray(each.inputs["examples"])) for each in made[:3]] == [rows[:1], rows[1:9], rows[9:]]
    loaded = tf.saved_model.load(str(saved_model))
    for each in made:  # exactly what a server does with them
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in each.inputs.items()}
        answer = loaded.signatures[each.model_spec.signature_name](**inputs)
        assert int(answer["rows"]) in (1, 8, 11)


def test_what_is_missing_is_said_as_predict_says_it(saved_model, tmp_path):
    content = warm_up_requests(saved_model, "shop", [row(0), row(1)], ("predict",))
    first, second = requests(content, tmp_path)
    values = {name: tf.make_ndarray(tensor).tolist() for name, tensor in first.inputs.items()}
    assert math.isnan(values.pop("price")[0])
    assert values == {
        "hour": [MISSING_INTEGER],
        "device": [MISSING_STRING.encode()],
        "tags": [],
        "tags_row_lengths": [0],
    }
    assert first.inputs["tags"].dtype == tf.string.as_datatype_enum
    assert tf.make_ndarray(second.inputs["price"]).tolist() == [0.5]


def test_nothing_to_ask(saved_model):
    assert warm_up_requests(saved_model, "shop", [], ("serving_default",)) is None
    assert warm_up_requests(saved_model, "shop", [row(1)], ("unknown",)) is None


def test_what_is_no_saved_model(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff")
    with pytest.raises(InfrastructureError, match=r"saved_model\.pb: is no SavedModel"):
        warm_up_requests(tmp_path, "shop", [row(1)], ("predict",))


def test_the_place_is_tensorflow_servings():
    assert WARM_UP_FILE == "assets.extra/tf_serving_warmup_requests"
    assert "serving_default" in STATIC_FILES["batching.config"]
