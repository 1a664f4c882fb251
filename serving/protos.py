"""TensorFlow Serving's own messages and stubs (package tensorflow-serving-api), without loading TensorFlow for them.

Its generated modules import single message files out of the `tensorflow` package, and with them all of TensorFlow: 20 s
on a slow machine, where a rollback has one second. The message files need nothing but protobuf, so `tensorflow` is put
up as a bare folder while they load. A process that has TensorFlow already simply uses it, and one that loads it later
gets the real one: both register the same descriptors.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import threading
import types
from typing import Any

from hivemill.common.errors import InfrastructureError

_LOADING = threading.Lock()


def load(name: str) -> Any:
    """The module tensorflow_serving.`name`, e.g. `apis.model_service_pb2_grpc`. Raises InfrastructureError."""
    full = f"tensorflow_serving.{name}"
    with _LOADING:
        if full in sys.modules:
            return sys.modules[full]
        if "tensorflow" in sys.modules:
            return _import(full)
        return _without_tensorflow(full)


def _without_tensorflow(full: str) -> Any:
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.submodule_search_locations is None:
        return _import(full)
    bare = types.ModuleType("tensorflow")
    bare.__path__ = list(spec.submodule_search_locations)
    bare.__spec__ = importlib.machinery.ModuleSpec("tensorflow", None, is_package=True)
    sys.modules["tensorflow"] = bare
    try:
        return _import(full)
    finally:
        for module in [one for one in sys.modules if one == "tensorflow" or one.startswith("tensorflow.")]:
            del sys.modules[module]


def _import(full: str) -> Any:
    try:
        return importlib.import_module(full)
    except ImportError as error:
        raise InfrastructureError(
            f"{full} cannot be imported: {error}",
            hint="Install what requirements/requirements.lock says (tensorflow-serving-api comes with TFX).",
        ) from error
