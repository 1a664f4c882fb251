"""models.config: tensorflow.serving.ModelServerConfig as text, and which of its models and versions are wanted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import (
    file_system_storage_path_source_pb2,
    logging_config_pb2,
    model_server_config_pb2,
)

from hivemill.serving.server.api.errors import failed_precondition, invalid

PLATFORM = "tensorflow"
LOG_COLLECTOR = "tfrecord"
_MAX_VERSION = 2**63 - 1
_Policy = file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy


@dataclasses.dataclass(frozen=True)
class ModelTarget:
    """What the config wants of one model: where its versions lie, which of them to serve, and the labels."""

    name: str
    base_path: Path
    policy: file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy
    labels: dict[str, int]
    logging: logging_config_pb2.LoggingConfig | None = None

    def wanted(self) -> list[int]:
        """The versions on the disk that the policy names, the newest first. An absent folder has none."""
        found = sorted(self._folders(), reverse=True)
        choice = self.policy.WhichOneof("policy_choice")
        if choice == "all":
            return found
        if choice == "specific":
            return [version for version in found if version in set(self.policy.specific.versions)]
        return found[: max(1, self.policy.latest.num_versions)]

    def path_of(self, version: int) -> str:
        """Of a folder that may have leading zeros, as TensorFlow Serving allows."""
        return str(self.base_path / self._folders().get(version, str(version)))

    def _folders(self) -> dict[int, str]:
        """The name of each version's folder; of several that mean one version, the last in the order of names."""
        try:
            return {int(one.name): one.name for one in sorted(self.base_path.iterdir()) if _is_version(one)}
        except OSError:
            return {}


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
            model.name, Path(model.base_path), model.model_version_policy, dict(model.version_labels), _logging(model)
        )
    return found


def _logging(model: model_server_config_pb2.ModelConfig) -> logging_config_pb2.LoggingConfig | None:
    """The logging_config of a model, None where nothing is logged. Raises ServingError for what is not supported."""
    config = model.logging_config
    if not model.HasField("logging_config") or not config.sampling_config.sampling_rate:
        return None
    collector = config.log_collector_config
    if collector.type not in ("", LOG_COLLECTOR) or not collector.filename_prefix:
        raise invalid(
            f"model {model.name}: logging_config.log_collector_config must have the type {LOG_COLLECTOR!r} and a "
            f"filename_prefix; received the type {collector.type!r} and {collector.filename_prefix!r}"
        )
    if not 0 <= config.sampling_config.sampling_rate <= 1:
        raise invalid(f"model {model.name}: sampling_rate must be 0 to 1")
    return config


def check_below(wanted: Iterable[ModelTarget], roots: Iterable[Path]) -> None:
    """Raises ServingError where a base_path that came with a request lies below none of `roots`, links resolved."""
    roots = [root.resolve() for root in roots]

    def is_below(path: Path) -> bool:
        place = path.resolve()
        return path.is_absolute() and any(place == root or root in place.parents for root in roots)

    for target in wanted:
        if not is_below(target.base_path):
            raise invalid(f"model {target.name}: base_path must lie below the store that this server was started with")
        if target.logging and not is_below(Path(target.logging.log_collector_config.filename_prefix)):
            raise invalid(f"model {target.name}: filename_prefix must lie below the store that this server serves")


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
    """A number as the protocol can carry it."""
    digits = entry.name.lstrip("0")
    is_number = entry.name.isascii() and entry.name.isdecimal() and len(digits) <= len(str(_MAX_VERSION))
    return is_number and int(digits or "0") <= _MAX_VERSION and entry.is_dir()
