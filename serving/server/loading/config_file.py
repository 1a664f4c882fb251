"""models.config: tensorflow.serving.ModelServerConfig as text, and which of its models and versions are wanted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import file_system_storage_path_source_pb2, model_server_config_pb2

from hivemill.serving.server.api.errors import failed_precondition, invalid

PLATFORM = "tensorflow"
_MAX_VERSION = 2**63 - 1
_Policy = file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy


@dataclasses.dataclass(frozen=True)
class ModelTarget:
    """What the config wants of one model: where its versions lie, which of them to serve, and the labels."""

    name: str
    base_path: Path
    policy: _Policy
    labels: dict[str, int]

    def wanted(self) -> list[int]:
        """The versions on the disk that the policy names, the newest first. An absent folder has none."""
        try:
            found = sorted((int(one.name) for one in self.base_path.iterdir() if _is_version(one)), reverse=True)
        except OSError:
            return []
        choice = self.policy.WhichOneof("policy_choice")
        if choice == "all":
            return found
        if choice == "specific":
            return [version for version in found if version in set(self.policy.specific.versions)]
        return found[: max(1, self.policy.latest.num_versions)]

    def path_of(self, version: int) -> str:
        return str(self.base_path / str(version))


def parse(text: str) -> model_server_config_pb2.ModelServerConfig:
    """Raises ServingError (INVALID_ARGUMENT) with the line that is wrong."""
    try:
        return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except text_format.ParseError as error:
        raise invalid(f"not a ModelServerConfig: {error}") from error


def targets(config: model_server_config_pb2.ModelServerConfig) -> dict[str, ModelTarget]:
    """The models of a config by name. Raises ServingError, in TensorFlow Serving's words where it has some."""
    if config.WhichOneof("config") == "custom_model_config":
        raise invalid("custom_model_config is not supported, only model_config_list")
    found: dict[str, ModelTarget] = {}
    for model in config.model_config_list.config:
        if not model.name or not model.base_path:
            raise invalid(f"every model needs a name and a base_path; received {text_format.MessageToString(model)!r}")
        if model.name in found:
            raise invalid(f"Illegal to list model {model.name} multiple times in config list")
        if (model.model_platform or PLATFORM) != PLATFORM:
            raise failed_precondition(f"model {model.name}: platform {model.model_platform!r} is not served")
        if any(version < 0 for version in model.model_version_policy.specific.versions):
            raise invalid(f"model {model.name}: versions must not be negative")
        found[model.name] = ModelTarget(
            model.name, Path(model.base_path), model.model_version_policy, dict(model.version_labels)
        )
    return found


def check_below(wanted: Iterable[ModelTarget], roots: Iterable[Path]) -> None:
    """Raises ServingError where a base_path that came with a request lies below none of `roots`, links resolved."""
    roots = [root.resolve() for root in roots]
    for target in wanted:
        place = target.base_path.resolve()
        if not target.base_path.is_absolute() or not any(place == root or root in place.parents for root in roots):
            raise invalid(f"model {target.name}: base_path must lie below the store that this server was started with")


def roots_of(file: Path, wanted: Iterable[ModelTarget]) -> list[Path]:
    """Where models may lie: the folder of models.config, and what that file, which no request wrote, names."""
    return [file.absolute().parent, *(target.base_path for target in wanted)]


def read(file: Path) -> tuple[str, dict[str, ModelTarget]]:
    """(text, models). Raises OSError, ServingError."""
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise invalid(f"not UTF-8 text: {error}") from error
    return text, targets(parse(text))


def _is_version(entry: Path) -> bool:
    """A number as the protocol can carry it, written as the path of its version is."""
    name = entry.name
    is_number = name.isascii() and name.isdecimal() and len(name) <= len(str(_MAX_VERSION))
    return is_number and str(int(name)) == name and int(name) <= _MAX_VERSION and entry.is_dir()
