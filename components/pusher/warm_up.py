"""Warm-up requests from real rows: TensorFlow Serving runs them before a version says AVAILABLE.

They lie in the version's `assets.extra/tf_serving_warmup_requests`, a TFRecord of PredictionLog, at most 1,000 of them
(saved_model_warmup_util.h). The first request of each signature and size otherwise pays for what a server makes lazily.
A request that fails keeps a server from loading the version: the serving check, before the push, sends the same kind.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from hivemill.common.errors import InfrastructureError
from hivemill.components.serving_check.requests import ColumnRows, takes_examples
from hivemill.components.trainer.signatures import EXAMPLES_KEY

WARM_UP_FILE = "assets.extra/tf_serving_warmup_requests"
_SIZES = (1, 8)  # rows of the first requests; the last one has all that are left


def warm_up_requests(
    saved_model: Path, model: str, examples: Sequence[bytes], signatures: Sequence[str]
) -> bytes | None:
    """The file's content, or None where there are no examples or none of the signatures.

    Args:
        saved_model: its signatures say what `predict` takes (components.trainer.signatures).
        model: the name that the server serves it by.
        examples: serialised tf.Example.
        signatures: those to warm up.
    """
    known = _inputs_of_signatures(saved_model)
    logs = [
        _log(model, name, columns)
        for name in signatures
        if name in known
        for columns in _requests(known[name], examples)
    ]
    return _tfrecord(logs) if logs else None


def _requests(inputs: Mapping[str, tf.DType], examples: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    if takes_examples(inputs):
        yield from ({EXAMPLES_KEY: list(examples[start:stop])} for start, stop in _ranges(len(examples)))
        return
    rows = ColumnRows(examples, inputs)
    yield from (rows.columns(start, stop) for start, stop in _ranges(len(rows.kept)))


def _ranges(num_rows: int) -> Iterator[tuple[int, int]]:
    start = 0
    for size in (*_SIZES, num_rows):
        stop = min(start + size, num_rows)
        if stop > start:
            yield start, stop
        start = stop


def _log(model: str, signature: str, columns: Mapping[str, Any]) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, values in columns.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return log


def _inputs_of_signatures(saved_model: Path) -> dict[str, dict[str, tf.DType]]:
    file = saved_model / "saved_model.pb"
    try:
        graphs = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    except DecodeError as error:
        raise InfrastructureError(f"{file}: is no SavedModel: {error}", hint="Run the Trainer again.") from error
    return {name: _dtypes(definition) for graph in graphs for name, definition in graph.signature_def.items()}


def _dtypes(definition: meta_graph_pb2.SignatureDef) -> dict[str, tf.DType]:
    return {name: tf.as_dtype(info.dtype) for name, info in definition.inputs.items()}


def _tfrecord(logs: Sequence[prediction_log_pb2.PredictionLog]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requests"
        with tf.io.TFRecordWriter(str(file)) as writer:
            for log in logs:
                writer.write(log.SerializeToString())
        return file.read_bytes()
