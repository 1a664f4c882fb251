"""Hivemill: from a partitioned Hive click log to a served DeepFM click model, every week.

The packages `common`, `components`, `data`, `pipeline`, `schema` and `serving` are links to the folders of the same
names at the top of the repository (docs/decisions/0090-hivemill-namespace.md).

The names below are public. They load on first use, so that `import hivemill` costs nothing:

    load_config(path)          hivemill.yaml, checked                      -> LoadedConfig
    make_plan(loaded, date)    what a run of that date would read and do   -> RunPlan
    open_store(path)           the model store: versions and labels        -> ModelStore
    PredictionClient           asks TensorFlow Serving, each user in one variant
    HivemillError              base of every error that a user can meet; `exit_code` and `hint` say the rest
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; at run time __getattr__ loads these
    from hivemill.common.errors import (
        ConfigError,
        DataNotReadyError,
        DataVerdictError,
        HivemillError,
        InfrastructureError,
        LockHeldError,
        ModelNotBlessedError,
        RolloutAbortedError,
    )
    from hivemill.components.artifacts import DataVerdict, ModelVerdict, WindowManifest
    from hivemill.pipeline.config.loader import LoadedConfig
    from hivemill.pipeline.config.loader import load as load_config
    from hivemill.pipeline.config.schema import PipelineConfig
    from hivemill.pipeline.runs.plan import RunPlan, make_plan
    from hivemill.serving.client import PredictionClient
    from hivemill.serving.store.bucket import open_store
    from hivemill.serving.store.model_store import ModelStore

_ERRORS = "hivemill.common.errors"
_ARTIFACTS = "hivemill.components.artifacts"  # Vertex AI imports artifact types by a name with one dot
_PUBLIC = {
    "ConfigError": (_ERRORS, "ConfigError"),
    "DataNotReadyError": (_ERRORS, "DataNotReadyError"),
    "DataVerdictError": (_ERRORS, "DataVerdictError"),
    "HivemillError": (_ERRORS, "HivemillError"),
    "InfrastructureError": (_ERRORS, "InfrastructureError"),
    "LockHeldError": (_ERRORS, "LockHeldError"),
    "ModelNotBlessedError": (_ERRORS, "ModelNotBlessedError"),
    "RolloutAbortedError": (_ERRORS, "RolloutAbortedError"),
    "DataVerdict": (_ARTIFACTS, "DataVerdict"),
    "ModelVerdict": (_ARTIFACTS, "ModelVerdict"),
    "WindowManifest": (_ARTIFACTS, "WindowManifest"),
    "LoadedConfig": ("hivemill.pipeline.config.loader", "LoadedConfig"),
    "PipelineConfig": ("hivemill.pipeline.config.schema", "PipelineConfig"),
    "load_config": ("hivemill.pipeline.config.loader", "load"),
    "RunPlan": ("hivemill.pipeline.runs.plan", "RunPlan"),
    "make_plan": ("hivemill.pipeline.runs.plan", "make_plan"),
    "PredictionClient": ("hivemill.serving.client", "PredictionClient"),
    "open_store": ("hivemill.serving.store.bucket", "open_store"),
    "ModelStore": ("hivemill.serving.store.model_store", "ModelStore"),
}
__all__ = [
    "ConfigError",
    "DataNotReadyError",
    "DataVerdict",
    "DataVerdictError",
    "HivemillError",
    "InfrastructureError",
    "LoadedConfig",
    "LockHeldError",
    "ModelNotBlessedError",
    "ModelStore",
    "ModelVerdict",
    "PipelineConfig",
    "PredictionClient",
    "RolloutAbortedError",
    "RunPlan",
    "WindowManifest",
    "__version__",
    "load_config",
    "make_plan",
    "open_store",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("hivemill")
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value
