"""Executors that know folders, with artifacts in an object store: inputs are fetched to a scratch folder, outputs put.

`stage(component)` gives a component an executor whose `Do` is the component's own, between a fetch and a put. ML
Metadata has the URLs; an artifact is put as a whole before TFX publishes it, so whoever finds it there finds its files.
The scratch folder goes with the node.
"""

from __future__ import annotations

import contextlib
import importlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.components.base import base_node, executor_spec
from tfx.proto.orchestration import execution_result_pb2
from tfx.types import Artifact

import hivemill.components.tfx_io.filesystem  # noqa: F401 (registers it: TFX's launcher makes and removes URIs)
from hivemill.common.errors import ConfigError
from hivemill.common.storage import object_store, urls

_SCRATCH_PREFIX = "hivemill-"
# Execution properties of our components that name a file or folder to be read.
_READ_PLACES = ("baseline_path",)
_STAGED: dict[str, type] = {}
_PLACES: dict[str, str] = {}  # scratch folder -> URL, of the node that runs now


def stage(component: base_node.BaseNode) -> None:
    """Replaces the component's executor by one that can have its artifacts in an object store.

    Raises ConfigError for a node whose executor is no Python class (a Resolver, a container).
    """
    spec = component.executor_spec
    if not isinstance(spec, executor_spec.ExecutorClassSpec):
        raise ConfigError(
            f"node {component.id}: its executor is {type(spec).__name__}, which knows no object store",
            hint="Set `root` to a folder, or leave the node out.",
        )
    changed = spec.copy()
    changed.executor_class = staged(f"{spec.executor_class.__module__}.{spec.executor_class.__qualname__}")
    changed._class_path = None
    component.executor_spec = changed


def true_place(path: str) -> str:
    """The URL behind a path in the scratch folder, which is another one at each try; any other path as it is."""
    for folder, url in _PLACES.items():
        if path == folder or path.startswith(f"{folder}/"):
            return url + path[len(folder) :]
    return path


def staged(class_path: str) -> type:
    """The staged subclass of the executor class at `class_path`. TFX finds it again by its own path."""
    if class_path not in _STAGED:
        module, _, name = class_path.rpartition(".")
        executor = getattr(importlib.import_module(module), name)
        _STAGED[class_path] = type(
            class_path.replace(".", "__"), (_Staged, executor), {"__module__": __name__, "__doc__": executor.__doc__}
        )
    return _STAGED[class_path]


def __getattr__(name: str) -> type:
    """TFX asks this module for `tfx__components__statistics_gen__executor__Executor`."""
    if "__" not in name or name.startswith("__"):
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return staged(name.replace("__", "."))


class _Staged:
    """Mixin before an executor class."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> Any:
        with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX) as scratch, _places_forgotten():
            self._work_in(Path(scratch))
            inputs = _artifacts_at_urls(input_dict, Path(scratch) / "inputs")
            outputs = _artifacts_at_urls(output_dict, Path(scratch) / "outputs")
            for url, folder in {url: folder for _, url, folder in inputs}.items():
                object_store.fetch(url, folder)
            properties = _with_places_fetched(exec_properties, Path(scratch) / "places")
            with _moved(inputs), _moved(outputs):
                result = super().Do(input_dict, output_dict, properties)
            for artifact, url, folder in outputs:
                object_store.put(folder, url)
                _name_true_places(artifact.mlmd_artifact)
            for one in (one for many in _told(result) for one in many.artifacts):
                _name_true_places(one)
        return result

    def _work_in(self, scratch: Path) -> None:
        """Temporary files of the executor (Transform's) are of this machine."""
        context = getattr(self, "_context", None)
        if context is not None and urls.is_url(context._tmp_dir or ""):
            context._tmp_dir = str(scratch / "temporary")


_Place = tuple[Artifact, str, Path]


def _artifacts_at_urls(artifacts: dict[str, list[Artifact]], scratch: Path) -> list[_Place]:
    """Each artifact with a URL, that URL, and the folder that stands for it: the same folder for the same URL."""
    found: list[_Place] = []
    folders: dict[str, Path] = {}
    for artifact in (one for many in artifacts.values() for one in many):
        if urls.is_url(artifact.uri):
            folder = folders.setdefault(artifact.uri, scratch / str(len(folders)))
            folder.mkdir(parents=True, exist_ok=True)
            _PLACES[str(folder)] = artifact.uri
            found.append((artifact, artifact.uri, folder))
    return found


@contextlib.contextmanager
def _moved(places: list[_Place]) -> Iterator[None]:
    """The artifacts say their folder, then their URL again, whatever happens."""
    for artifact, _, folder in places:
        artifact.uri = str(folder)
    try:
        yield
    finally:
        for artifact, url, _ in places:
            artifact.uri = url


@contextlib.contextmanager
def _places_forgotten() -> Iterator[None]:
    try:
        yield
    finally:
        _PLACES.clear()


def _with_places_fetched(exec_properties: dict[str, Any], scratch: Path) -> dict[str, Any]:
    changed = dict(exec_properties)
    for key in _READ_PLACES:
        url = exec_properties.get(key)
        if isinstance(url, str) and urls.is_url(url):
            local = scratch / key / url.rpartition("/")[2]
            if object_store.is_file(url):
                object_store.fetch(url.rpartition("/")[0], local.parent, [local.name])
            else:
                object_store.fetch(url, local)
            _PLACES[str(local)] = url
            changed[key] = str(local)
    return changed


def _told(result: execution_result_pb2.ExecutorOutput | None) -> Iterable[Any]:
    """The outputs that an executor gives back, for TFX to publish instead of `output_dict`."""
    return result.output_artifacts.values() if result is not None else ()


def _name_true_places(artifact: metadata_store_pb2.Artifact) -> None:
    """The artifact, and a property of it that names a place (the model behind a blessing), say URLs."""
    artifact.uri = true_place(artifact.uri)
    for value in artifact.custom_properties.values():
        if value.HasField("string_value"):
            value.string_value = true_place(value.string_value)
