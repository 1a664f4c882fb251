"""A curl line that asks a served model for one prediction, made of its own signature."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from tensorflow.python.framework import dtypes
from tensorflow_serving.apis import model_pb2

from hivemill.serving.server.api.errors import ServingError
from hivemill.serving.server.api.operations import Operations
from hivemill.serving.server.loading.batching import ROW_LENGTHS_SUFFIX

_COLUMNS_SIGNATURE = "predict"


def curl_line(operations: Operations, model: str, base_url: str, options: str = "") -> str:
    """By the signature `predict`, one row of zeros and empty texts; else by `serving_default`, an empty tf.Example.

    Raises ServingError where the model is not available.
    """
    spec = model_pb2.ModelSpec(name=model, signature_name=_COLUMNS_SIGNATURE)
    try:
        columns = {name: _value(name, operations.inputs_of(spec)) for name in sorted(operations.inputs_of(spec))}
        body: dict[str, Any] = {"signature_name": _COLUMNS_SIGNATURE, "inputs": columns}
    except ServingError:
        spec.signature_name = ""
        operations.inputs_of(spec)
        body = {"instances": [{"b64": ""}]}
    return f"curl -s {options}{base_url}/v1/models/{model}:predict -d {shlex.quote(json.dumps(body))}"


def _value(name: str, inputs: Mapping[str, Any]) -> list[Any]:
    """One row of the input `name`; a multivalent column has no values, and the row length 0."""
    if f"{name}{ROW_LENGTHS_SUFFIX}" in inputs:
        return []
    dtype = dtypes.as_dtype(inputs[name].dtype)
    value = "" if dtype == dtypes.string else False if dtype == dtypes.bool else 0.0 if dtype.is_floating else 0
    nested: Any = value
    for dim in reversed(inputs[name].tensor_shape.dim[1:]):
        nested = [nested] * max(1, dim.size)
    return [nested]
