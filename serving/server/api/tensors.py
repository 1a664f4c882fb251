"""TensorProto to NumPy and back, with the limits that a request from outside needs."""

from __future__ import annotations

import math

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.python.framework import dtypes, tensor_util

from hivemill.serving.server.api.errors import ServingError, invalid

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


def to_array(name: str, proto: tensor_pb2.TensorProto, max_bytes: int) -> np.ndarray:
    """The tensor `name` of a request; strings are an object array of bytes. Raises ServingError.

    A TensorProto may give one value for any shape, so a few bytes can stand for any amount of memory: the size is
    checked before it is taken.
    """
    if proto.tensor_shape.unknown_rank or any(dim.size < 0 for dim in proto.tensor_shape.dim):
        raise invalid(f"tensor parsing error: {name}: its shape must be known")
    try:
        dtype = dtypes.as_dtype(proto.dtype)
        item_bytes = 8 if dtype == dtypes.string else dtype.size
        if math.prod(dim.size for dim in proto.tensor_shape.dim) * item_bytes > max_bytes:
            raise invalid(f"tensor parsing error: {name}: larger than {max_bytes} bytes")
        return tensor_util.MakeNdarray(proto)
    except ServingError:
        raise
    except Exception as error:  # a message from outside fails in many ways: types, sizes, encodings
        raise invalid(f"tensor parsing error: {name}: {error}") from error


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """With the values in the fields by type (`float_val`), as TensorFlow Serving answers unless told otherwise."""
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
