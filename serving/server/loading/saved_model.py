"""One SavedModel in a TensorFlow session, as TensorFlow Serving runs it: its signatures, and running them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.client import session as session_lib
from tensorflow.python.framework import dtypes, errors_impl, ops
from tensorflow.python.saved_model import loader, tag_constants

from hivemill.serving.server.api.errors import ServingError, code_of, failed_precondition, invalid

DEFAULT_SIGNATURE = "serving_default"
_INTERNAL_SIGNATURE = "__saved_model_init_op"
Tensors = dict[str, np.ndarray]


class SavedModel:
    """Loads at construction, which may take seconds; whatever is wrong with the files is a ServingError."""

    def __init__(self, path: str):
        if not os.path.isfile(os.path.join(path, "saved_model.pb")):
            raise ServingError(
                code_of(5), f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}"
            )
        graph = ops.Graph()
        self._session = session_lib.Session(graph=graph)
        self._graph = graph
        self._callables: dict[str, Callable[..., list[Any]]] = {}
        self._lock = threading.Lock()
        try:
            with graph.as_default():
                meta_graph = loader.load(self._session, [tag_constants.SERVING], path)
        except Exception as error:
            self._session.close()
            raise _translated(error) from error
        self.signatures: dict[str, meta_graph_pb2.SignatureDef] = {
            name: signature for name, signature in meta_graph.signature_def.items() if name != _INTERNAL_SIGNATURE
        }

    def run(self, name: str, feeds: Mapping[str, np.ndarray]) -> Tensors:
        """The `dense_outputs` of the signature, for feeds that `check_feeds` has passed. Raises ServingError."""
        signature = self.signatures[name]
        try:
            values = self._callable(name)(*(feeds[alias] for alias in sorted(signature.inputs)))
        except Exception as error:
            raise _translated(error) from error
        return dict(zip(dense_outputs(signature), values, strict=True))

    def close(self) -> None:
        self._callables.clear()
        self._session.close()

    def _callable(self, name: str) -> Callable[..., list[Any]]:
        with self._lock:
            if name not in self._callables:
                signature = self.signatures[name]
                feeds = [self._tensor(name, alias, signature.inputs[alias]) for alias in sorted(signature.inputs)]
                fetches = [self._tensor(name, alias, signature.outputs[alias]) for alias in dense_outputs(signature)]
                self._callables[name] = self._session.make_callable(fetches, feed_list=feeds)
            return self._callables[name]

    def _tensor(self, signature: str, alias: str, info: meta_graph_pb2.TensorInfo) -> Any:
        if info.WhichOneof("encoding") != "name":
            raise failed_precondition(
                f'signature "{signature}": `{alias}` is not a dense tensor; TensorFlow Serving\'s APIs cannot carry it'
            )
        return self._graph.get_tensor_by_name(info.name)


def dense_outputs(signature: meta_graph_pb2.SignatureDef) -> list[str]:
    """The outputs that TensorFlow Serving's APIs can carry: no SparseTensor, no RaggedTensor."""
    return [alias for alias in sorted(signature.outputs) if signature.outputs[alias].WhichOneof("encoding") == "name"]


def check_feeds(signature: meta_graph_pb2.SignatureDef, feeds: Mapping[str, np.ndarray]) -> None:
    """Raises ServingError (INVALID_ARGUMENT) where an input has another type or shape than the signature says."""
    for alias, info in signature.inputs.items():
        given = feeds[alias]
        wanted, got = dtypes.as_dtype(info.dtype), dtypes.as_dtype(given.dtype)
        if info.dtype != types_pb2.DT_INVALID and wanted != got:
            raise invalid(f"Expects arg[{alias}] to be {wanted.name} but {got.name} is provided")
        sizes = [dim.size for dim in info.tensor_shape.dim]
        if info.tensor_shape.unknown_rank or not info.HasField("tensor_shape"):
            continue
        fits = len(sizes) == given.ndim and all(w in (-1, g) for w, g in zip(sizes, given.shape, strict=True))
        if not fits:
            raise invalid(f"input {alias} must have the shape {sizes} (-1: any size); received {list(given.shape)}")


def _translated(error: Exception) -> ServingError:
    if isinstance(error, ServingError):
        return error
    if isinstance(error, errors_impl.OpError):
        # Without the Python stack of the graph, which `str(error)` has and `message` has in part.
        return ServingError(code_of(error.error_code), error.message.split("\n\nOriginal stack trace", 1)[0].strip())
    if isinstance(error, UnicodeDecodeError):
        # The message quotes bytes of the request that are no text, and TensorFlow's Python cannot make a string of it.
        return invalid(bytes(error.object).decode("utf-8", "replace"))
    return invalid(f"{type(error).__name__}: {error}")
