"""Rows of the log as requests: serialised tf.Examples, and named columns for the `predict` signature.

A protocol buffer's map is a repeated field on the wire, and messages that follow one another merge. So a request is put
together from its pieces, in any order of the columns, as another language's client might send it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from hivemill.components.serving_check.server_process import MODEL
from hivemill.components.trainer.signatures import EXAMPLES_KEY, MISSING_INTEGER, MISSING_STRING, ROW_LENGTHS_SUFFIX

Columns = dict[str, np.ndarray]
Order = Callable[[Sequence[str]], list[str]]
_LISTS = {tf.string: "bytes_list", tf.float32: "float_list", tf.int64: "int64_list"}


def takes_examples(inputs: Mapping[str, Any]) -> bool:
    return list(inputs) == [EXAMPLES_KEY]


def examples_request(signature: str, rows: Sequence[bytes], outputs: Sequence[str] = ()) -> bytes:
    """A serialised PredictRequest for these outputs, all of them when left out."""
    wanted = predict_pb2.PredictRequest(output_filter=outputs).SerializeToString()
    return request(signature, {EXAMPLES_KEY: np.array(rows, object)}) + wanted


def request(signature: str, columns: Columns, order: Order = sorted) -> bytes:
    """A serialised PredictRequest with the columns on the wire in the order that `order(names)` gives."""
    head = predict_pb2.PredictRequest()
    head.model_spec.name, head.model_spec.signature_name = MODEL, signature
    pieces = [head.SerializeToString()]
    for name in order(list(columns)):
        piece = predict_pb2.PredictRequest()
        piece.inputs[name].CopyFrom(tf.make_tensor_proto(columns[name]))
        pieces.append(piece.SerializeToString())
    return b"".join(pieces)


def reordered(row: bytes, order: Order) -> bytes:
    """The same tf.Example with its features on the wire in another order."""
    features = tf.train.Example.FromString(row).features.feature
    pieces = []
    for name in order(sorted(features)):
        piece = tf.train.Example()
        piece.features.feature[name].CopyFrom(features[name])
        pieces.append(piece.SerializeToString())
    return b"".join(pieces)


class ColumnRows:
    """The rows as named columns, as far as `predict` can say them."""

    def __init__(self, rows: Sequence[bytes], dtypes: Mapping[str, tf.DType]):
        """`dtypes` are those of the signature's inputs by name.

        A row with a value that means "missing" to `predict` (NaN, `\\N`, the smallest int64) is left out: no request
        can say that value.
        """
        self._dtypes = dtypes
        self._multivalent = {name for name in dtypes if name + ROW_LENGTHS_SUFFIX in dtypes}
        lengths = {name + ROW_LENGTHS_SUFFIX for name in self._multivalent}
        self._names = [name for name in dtypes if name not in lengths]
        parsed = [self._values(row) for row in rows]
        self.kept = [number for number, values in enumerate(parsed) if values is not None]
        self._rows = [parsed[number] for number in self.kept]

    def columns(self, start: int, stop: int) -> Columns:
        """Of the kept rows `start` to `stop`, as `predict` takes them."""
        made: Columns = {}
        for name in self._names:
            lists = [row[name] for row in self._rows[start:stop]]
            dtype = self._dtypes[name]
            if name in self._multivalent:
                made[name + ROW_LENGTHS_SUFFIX] = np.array([len(values) for values in lists], np.int64)
            else:
                lists = [values[:1] or [_missing(dtype)] for values in lists]
            made[name] = np.array([value for values in lists for value in values], dtype.as_numpy_dtype)
        return made

    def _values(self, row: bytes) -> dict[str, list[Any]] | None:
        features = tf.train.Example.FromString(row).features.feature
        found = {}
        for name in self._names:
            kind = _LISTS[self._dtypes[name]]
            values = list(getattr(features[name], kind).value) if name in features else []
            if name not in self._multivalent and values and _means_missing(values[0]):
                return None
            found[name] = values
        return found


def _missing(dtype: tf.DType) -> Any:
    if dtype == tf.string:
        return MISSING_STRING.encode()
    return math.nan if dtype.is_floating else MISSING_INTEGER


def _means_missing(value: Any) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    return value in (MISSING_STRING.encode(), MISSING_INTEGER)
