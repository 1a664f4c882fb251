"""The one place that prepares a process for TensorFlow. Call it before any import of TensorFlow or TFX."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import sys
import types
from collections.abc import Iterator


def prepare_tensorflow() -> None:
    """Chooses tf-keras (docs/dependencies.md says why), makes data-validation importable.

    tensorflow-data-validation 1.16.1 imports `tfx_bsl.arrow.sql_util`, which tfx-bsl 1.21 no longer has; SQL slices
    are not used here, so an empty module stands in. That holds for this process; a Beam worker process of its own that
    loads data-validation on such a system needs the same call first.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    install_sql_util_shim()


def install_sql_util_shim() -> None:
    name = "tfx_bsl.arrow.sql_util"
    if name not in sys.modules:
        sys.modules[name] = types.ModuleType(name)


def keep_tensorflow_out() -> None:
    """For a process that runs a node without TensorFlow (HiveLogExampleGen): it starts in 5 s instead of 25 and holds
    0.25 GiB instead of 0.85.

    TFX imports TensorFlow for its file systems only, and goes on without it; remote ones (gs://) then do not open.
    Call it before any TFX import. Whoever imports TensorFlow afterwards gets an ImportError.
    """
    install_sql_util_shim()
    sys.modules["tensorflow"] = None  # type: ignore[assignment]


def remove_generated_files() -> None:
    """Removes what AutoGraph left in the temporary folder: a source and its bytecode for each function that TensorFlow
    traced, some fifty a run. AutoGraph does so itself at Python's exit, which a process that ends by os._exit never
    comes to, and forgets the bytecode."""
    for name, module in list(sys.modules.items()):  # a copy: threads that are still there may import
        if name.startswith("__autograph_generated_file"):
            for place in (getattr(module, "__file__", None), getattr(module, "__cached__", None)):
                with contextlib.suppress(OSError):
                    if place is not None:
                        os.unlink(place)


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Imports without the garbage collector, which walks all of TensorFlow's objects again and again as they are made.

    Measured: 25 s of CPU for TensorFlow and TFX instead of 29 s. What was loaded is exempt from later collections.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def tensorflow_core_only() -> None:
    """For a process that runs SavedModels or speaks TensorFlow's protocol buffers, and needs no more of it.

    `import tensorflow` loads 4,000 modules (5 s of CPU, most of them the public API's names); the session and the
    SavedModel loader behind it need 750 (2 s), the protocol buffers of tensorflow-serving-api 250 (0.2 s). An empty
    package stands where `tensorflow` would, its subpackages are the real ones. Does nothing where TensorFlow is loaded.
    Call it before any import of TensorFlow; whoever asks for `tensorflow.something` afterwards is told why not.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    if "tensorflow" in sys.modules:
        return
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("tensorflow is not installed")
    package = types.ModuleType("tensorflow", "TensorFlow without its public API: tensorflow_core_only().")
    package.__path__ = list(spec.submodule_search_locations)
    package.__getattr__ = _no_public_api  # type: ignore[method-assign]
    sys.modules["tensorflow"] = package


def _no_public_api(name: str) -> object:
    raise AttributeError(
        f"tensorflow.{name}: this process has TensorFlow's core only (hivemill.common.runtime.tensorflow_core_only)"
    )
