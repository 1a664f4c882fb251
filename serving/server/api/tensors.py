"""TensorProto to NumPy and back, with the limits that a request from outside needs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.python.framework import dtypes, tensor_util

from hivemill.serving.server.api.errors import invalid

_VALUE_FIELDS = {
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_INT16: "int_val",
    types_pb2.DT_INT8: "int_val",
    types_pb2.DT_UINT8: "int_val",
    types_pb2.DT_UINT16: "int_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_UINT32: "uint32_val",
    types_pb2.DT_UINT64: "uint64_val",
    types_pb2.DT_BOOL: "bool_val",
    types_pb2.DT_STRING: "string_val",
}


STRING_BYTES = 64  # that a string takes besides its text: an object, a pointer, TensorFlow's own record


def check_size(protos: Mapping[str, tensor_pb2.TensorProto], max_bytes: int) -> int:
    """The bytes that the tensors of a request stand for in memory. Raises ServingError above `max_bytes`.

    A TensorProto may give one value for any shape, so a few bytes can stand for any amount of memory: the size is
    checked before it is taken.
    """
    total = 0
    for name, proto in protos.items():
        total += _size(name, proto)
        if total > max_bytes:
            raise invalid(f"tensor parsing error: {name}: the tensors of the request are larger than {max_bytes} bytes")
    return total


def _size(name: str, proto: tensor_pb2.TensorProto) -> int:
    if proto.tensor_shape.unknown_rank or any(dim.size < 0 for dim in proto.tensor_shape.dim):
        raise invalid(f"tensor parsing error: {name}: its shape must be known")
    count = math.prod(dim.size for dim in proto.tensor_shape.dim)
    try:
        dtype = dtypes.as_dtype(proto.dtype)
        item_bytes = STRING_BYTES if dtype == dtypes.string else dtype.size
    except Exception as error:  # a type that has no size, or is unknown
        raise invalid(f"tensor parsing error: {name}: {error}") from error
    texts = proto.string_val
    repeated = max(0, count - len(texts)) * len(texts[-1]) if texts else 0
    return count * item_bytes + sum(map(len, texts)) + repeated


def to_array(name: str, proto: tensor_pb2.TensorProto, max_bytes: int) -> np.ndarray:
    """The tensor `name` of a request; strings are an object array of bytes. Raises ServingError."""
    check_size({name: proto}, max_bytes)
    try:
        return tensor_util.MakeNdarray(proto)
    except Exception as error:  # a message from outside fails in many ways: types, sizes, encodings
        raise invalid(f"tensor parsing error: {name}: {error}") from error


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """With the values in the fields by type (`float_val`), as TensorFlow Serving answers by default."""
    array = np.asarray(array)
    proto = tensor_pb2.TensorProto(dtype=dtypes.as_dtype(array.dtype).as_datatype_enum)
    field = _VALUE_FIELDS.get(proto.dtype)
    if field is None:
        return tensor_util.make_tensor_proto(array)
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, field).extend(array.ravel().tolist())
    return proto
