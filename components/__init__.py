"""The nodes of the DAG. Their artifact types are importable from here, lazily: `components.WindowManifest` has the one
dot that a name may have on Vertex AI (pipeline/orchestrators/vertex/artifact_titles.py)."""

from __future__ import annotations

_ARTIFACTS = ("DataVerdict", "ModelVerdict", "WindowManifest")


def __getattr__(name: str) -> type:
    if name in _ARTIFACTS:
        from hivemill.components import artifacts

        return getattr(artifacts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
