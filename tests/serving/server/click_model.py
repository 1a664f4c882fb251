"""A click model of a few numbers with the signatures that Hivemill exports, and two that classify and regress."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

COLUMNS = {"hour": tf.int64, "item": tf.string, "price": tf.float32}
_SPEC = {name: tf.io.VarLenFeature(dtype) for name, dtype in COLUMNS.items()}


class ClickModel(tf.Module):
    """click_probability = sigmoid(bias + price + 0.01 hour + hash(item) / 10 + tags / 5); `skew` breaks `predict`."""

    def __init__(self, bias: float = 0.0, skew: float = 0.0):
        super().__init__()
        self.bias, self.skew = tf.Variable(bias), skew

    def _probability(self, hour, item, price, tags):
        bucket = tf.strings.to_hash_bucket_fast(item, 7)
        logit = self.bias + price + 0.01 * tf.cast(hour, tf.float32) + tf.cast(bucket, tf.float32) / 10 + tags / 5
        return tf.sigmoid(logit)[:, tf.newaxis]

    def _of_examples(self, examples):
        parsed = tf.io.parse_example(examples, {**_SPEC, "tags": tf.io.RaggedFeature(tf.string)})
        missing = {"hour": tf.int64.min, "item": "\\N", "price": float("nan")}
        dense = {n: tf.sparse.to_dense(parsed[n], missing[n])[:, :1] for n in COLUMNS}
        rows = tf.size(examples)
        dense = {
            n: tf.concat([v, tf.fill([rows, 1], tf.constant(missing[n], v.dtype))], 1)[:, 0] for n, v in dense.items()
        }
        return {**self._cleaned(**dense), "tags": tf.cast(parsed["tags"].row_lengths(), tf.float32)}

    def _cleaned(self, hour, item, price):
        return {
            "hour": tf.where(hour == tf.int64.min, tf.constant(0, tf.int64), hour),
            "item": item,
            "price": tf.where(tf.math.is_nan(price), 0.0, price),
        }

    def signatures(self):
        examples = tf.TensorSpec([None], tf.string, name="examples")
        inputs = tf.TensorSpec([None], tf.string, name="inputs")

        @tf.function
        def serve(examples):
            return {"click_probability": self._probability(**self._of_examples(examples))}

        @tf.function
        def transform(examples):
            columns = self._of_examples(examples)
            return {"numbers": tf.stack([columns["price"], columns["tags"]], 1), "item_bytes": columns["item"]}

        @tf.function
        def predict(hour, item, price, tags, tags_row_lengths):
            lengths = tf.RaggedTensor.from_row_lengths(tags, tags_row_lengths).row_lengths()
            columns = self._cleaned(hour, item, price)
            probability = self._probability(**columns, tags=tf.cast(lengths, tf.float32))
            return {"click_probability": probability + self.skew}

        @tf.function
        def classify(inputs):
            probability = self._probability(**self._of_examples(inputs))
            classes = tf.tile(tf.constant([["no click", "click"]]), [tf.size(inputs), 1])
            return {"classes": classes, "scores": tf.concat([1 - probability, probability], 1)}

        @tf.function
        def regress(inputs):
            return {"outputs": self._probability(**self._of_examples(inputs))}

        specs = {name: tf.TensorSpec([None], dtype, name=name) for name, dtype in COLUMNS.items()}
        specs["tags"] = tf.TensorSpec([None], tf.string, name="tags")
        specs["tags_row_lengths"] = tf.TensorSpec([None], tf.int64, name="tags_row_lengths")
        return {
            "serving_default": serve.get_concrete_function(examples),
            "transformed_features": transform.get_concrete_function(examples),
            "predict": predict.get_concrete_function(**specs),
            "classify": classify.get_concrete_function(inputs),
            "regress": regress.get_concrete_function(inputs),
        }


def save(folder: Path, bias: float = 0.0, skew: float = 0.0) -> Path:
    model = ClickModel(bias, skew)
    tf.saved_model.save(model, str(folder), signatures=model.signatures())
    return folder


def example(**columns) -> bytes:
    """A tf.Example of ints, floats, texts and lists of texts; None is a column that is not there."""
    made = tf.train.Example()
    for name, value in columns.items():
        values = value if isinstance(value, list) else [value]
        feature = made.features.feature[name]
        if value is None:
            continue
        if values and isinstance(values[0], int):
            feature.int64_list.value.extend(values)
        elif values and isinstance(values[0], float):
            feature.float_list.value.extend(values)
        else:
            feature.bytes_list.value.extend(one.encode() for one in values)
    return made.SerializeToString()


def rows(count: int, seed: int = 1) -> list[bytes]:
    """Rows with all columns; some have no item, no price or no tags."""
    rng = np.random.default_rng(seed)
    return [
        example(
            hour=int(rng.integers(24)),
            item=None if rng.random() < 0.1 else f"item {rng.integers(50)}",
            price=None if rng.random() < 0.1 else float(np.float32(rng.normal())),
            tags=[f"tag {n}" for n in range(rng.integers(4))],
            click=int(rng.integers(2)),
        )
        for _ in range(count)
    ]
