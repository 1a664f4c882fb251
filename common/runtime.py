"""The one place that prepares a process for TensorFlow. Call it before any import of TensorFlow or TFX."""

from __future__ import annotations

import contextlib
import gc
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
